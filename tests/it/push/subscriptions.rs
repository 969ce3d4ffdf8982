//! Who may subscribe which device, and what is shown of it.

use serde_json::{Value, json};

use super::{phones, subscribe, subscribed, token};
use crate::support::api::{json as with_body, reply};

const P256DH: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

#[tokio::test]
async fn a_device_is_known_by_its_token_and_moves_with_it() {
    let (_bugle, expo, api) = phones(&json!({})).await;
    let made = subscribe(&api, "one", Some("ann")).await;
    assert_eq!(
        (&made["kind"], &made["platform"], &made["user"]),
        (&json!("expo"), &json!("ios"), &json!("ann"))
    );
    assert_eq!(made["address"], "ExponentPushToken[…]");
    let body = |name: &str, user: &str| json!({"expoPushToken": token("one"), "platform": "ios", "deviceName": name, "user": user});
    // The same again, and with another name.
    let again = api.post("/v1/push-subscriptions", &body("one", "ann")).await.expect(200);
    assert_eq!(again, made);
    let renamed = api.post("/v1/push-subscriptions", &body("Ann's", "ann")).await.expect(200);
    assert_eq!((&renamed["deviceName"], &renamed["createdAt"]), (&json!("Ann's"), &made["createdAt"]));
    // Somebody else signs in on it.
    let moved = api.post("/v1/push-subscriptions", &body("Bob's", "bob")).await.expect(200);
    assert_eq!((&moved["id"], &moved["user"]), (&made["id"], &json!("bob")));
    assert!(subscribed(&api, "user=ann").await.is_empty());
    assert_eq!(subscribed(&api, "").await.len(), 1);
    let path = format!("/v1/push-subscriptions/{}", made["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.expect(200)["user"], "bob");
    assert_eq!(api.delete(&path).await.status, 204);
    api.get(&path).await.expect_problem(404);
    api.delete(&path).await.expect_problem(404);
    api.get("/v1/push-subscriptions/nonsense").await.expect_problem(404);
    // And back again, as a page does that knows its address alone.
    subscribe(&api, "one", Some("ann")).await;
    let gone =
        with_body(api.request("DELETE", "/v1/push-subscriptions"), &json!({"expoPushToken": token("one")}));
    assert_eq!(reply(gone).await.status, 204);
    assert!(subscribed(&api, "").await.is_empty());
    drop(expo);
}

#[tokio::test]
async fn a_token_of_a_recipient_manages_that_recipients_devices_and_no_others() {
    let (bugle, _expo, api) = phones(&json!({})).await;
    let bob = subscribe(&api, "bob", Some("bob")).await;
    let bobs = format!("/v1/push-subscriptions/{}", bob["id"].as_str().unwrap());
    let as_one = async |body: Value| {
        let made = api.post("/v1/tokens", &body).await.expect(201);
        bugle.api_as(made["token"].as_str().unwrap())
    };
    let ann = as_one(json!({"name": "a", "role": "agent", "recipient": "ann"})).await;
    let body = |user: &Value| json!({"expoPushToken": token("ann"), "platform": "android", "user": user});
    // Whose it is goes without saying.
    let own = ann.post("/v1/push-subscriptions", &body(&Value::Null)).await.expect(201);
    assert_eq!(own["user"], "ann");
    ann.post("/v1/push-subscriptions", &body(&json!("ann"))).await.expect(200);
    ann.post("/v1/push-subscriptions", &body(&json!("bob"))).await.expect_problem(403);
    assert_eq!(subscribed(&ann, "").await.len(), 1);
    ann.get("/v1/push-subscriptions?user=bob").await.expect_problem(403);
    ann.get(&bobs).await.expect_problem(404);
    assert_eq!(ann.delete(&bobs).await.status, 404);
    let operator = as_one(json!({"name": "o", "role": "operator"})).await;
    assert_eq!(subscribed(&operator, "").await.len(), 2);
    for role in ["viewer", "publisher"] {
        let other = as_one(json!({"name": "x", "role": role})).await;
        other.get("/v1/push-subscriptions").await.expect_problem(403);
        other.post("/v1/push-subscriptions", &body(&json!("ann"))).await.expect_problem(403);
        assert_eq!(other.delete(&bobs).await.status, 403, "{role}");
    }
    // Another workspace sees none of it.
    let elsewhere = as_one(json!({"name": "w", "role": "operator", "workspace": "other"})).await;
    assert!(subscribed(&elsewhere, "").await.is_empty());
    elsewhere.get(&bobs).await.expect_problem(404);
    assert_eq!(subscribed(&api, "kind=expo&limit=1").await.len(), 2);
    api.get("/v1/push-subscriptions?kind=slack").await.expect_problem(400);
    api.get("/v1/push-subscriptions?cursor=nonsense").await.expect_problem(400);
}

#[tokio::test]
async fn a_user_has_twenty_devices_and_the_oldest_goes() {
    let (_bugle, _expo, api) = phones(&json!({})).await;
    for number in 0..22 {
        subscribe(&api, &format!("d-{number}"), Some("ann")).await;
    }
    let left = subscribed(&api, "user=ann").await;
    let names: Vec<&str> = left.iter().map(|device| device["deviceName"].as_str().unwrap()).collect();
    assert!(names.len() == 20 && !names.contains(&"d-0") && !names.contains(&"d-1"), "{names:?}");
}

#[tokio::test]
async fn a_fault_names_its_place_and_repeats_no_address() {
    let (bugle, _expo, api) = phones(&json!({})).await;
    let web = |endpoint: &str| {
        json!({"subscription": {"endpoint": endpoint, "expirationTime": null,
                                      "keys": {"p256dh": P256DH, "auth": "BTBZMqHH6r4Tts7J_aSIgg"}}})
    };
    for (body, pointer) in [
        (json!({"expoPushToken": "hunter2"}), "/expoPushToken"),
        (web("https://192.168.1.1/hunter2"), "/subscription/endpoint"),
        (web("ftp://push.example/hunter2"), "/subscription/endpoint"),
        (json!({"expoPushToken": token("a"), "platfrom": "ios"}), "/platfrom"),
    ] {
        let problem = api.post("/v1/push-subscriptions", &body).await.expect_problem(400);
        assert_eq!(problem["pointer"], pointer, "{problem}");
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }
    assert!(!bugle.log("api").contains("hunter2"));
}
