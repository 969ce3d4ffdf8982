//! Through Expo: batches, tickets, receipts.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::expo::{ACCESS_TOKEN, Expo};
use super::{assert_no_leak, metric, phones, subscribe, subscribed, token};
use crate::support::api::Api;
use crate::support::bugle::{Bugle, Role, rule, webhook, with};
use crate::support::sink::Sink;
use crate::support::{LATER, SOON, ensure, eventually, steadily};

fn tries(delivery: &Value) -> Vec<(String, String, u64)> {
    let steps = delivery["timeline"].as_array().unwrap().iter();
    let word = |step: &Value, field: &str| step[field].as_str().unwrap().to_owned();
    steps.map(|step| (word(step, "state"), word(step, "reason"), step["attempt"].as_u64().unwrap())).collect()
}

#[tokio::test]
async fn all_devices_of_a_recipient_get_it_and_nobody_elses() {
    let (bugle, expo, api) = phones(&json!({})).await;
    for (name, user) in [("ann-phone", "ann"), ("ann-pad", "ann"), ("bob-phone", "bob")] {
        subscribe(&api, name, Some(user)).await;
    }
    bugle.wire().await.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    let sent = api.shows(1, "status=sent").await;
    assert_eq!((&sent[0]["recipient"], &sent[0]["detail"]), (&json!("ann"), &json!("2 of 2 devices")));
    let shown = expo.shown(&token("ann-phone")).remove(0);
    assert_eq!((expo.batches(), expo.shown_to().len()), (vec![2], 2));
    assert_eq!(
        (&shown["title"], &shown["body"], &shown["channelId"]),
        (&json!("For ann"), &json!("Hello"), &json!("approvals"))
    );
    assert_eq!((&shown["priority"], &shown["sound"]), (&json!("high"), &json!("default")));
    assert_eq!((&shown["data"]["type"], &shown["data"]["url"]), (&json!("own:ping"), &json!("/tasks/7")));
    assert_eq!(shown["data"]["deliveryId"], sent[0]["id"]);
    // Somebody without a device is told of, and nothing is sent.
    bugle.wire().await.event("own:ping", "e-2", &json!({"to": "eve"})).await;
    let held = api.shows(1, "status=suppressed").await;
    assert_eq!((&held[0]["recipient"], &held[0]["reason"]), (&json!("eve"), &json!("no_address")));
    assert_eq!(expo.batches().len(), 1);
    assert_no_leak(&bugle, &api.deliveries("").await, &["ann-phone]", "ann-pad]", "expo-access-token"]);
}

#[tokio::test]
async fn a_workspace_of_250_devices_is_three_batches_and_each_device_gets_it_once() {
    let (bugle, expo, api) = phones(&json!({})).await;
    for number in 0..250 {
        let user = format!("user-{}", number / 2);
        subscribe(&api, &format!("d-{number}"), (number % 10 != 0).then_some(user.as_str())).await;
    }
    bugle.wire().await.event("all:hands", "e-1", &json!({})).await;
    let sent = api.shows_within(LATER, 1, "status=sent").await;
    assert_eq!(sent[0]["detail"], "250 of 250 devices");
    let mut batches = expo.batches();
    batches.sort_unstable();
    assert_eq!(batches, [50, 100, 100]);
    let shown = expo.shown_to();
    assert!(shown.len() == 250 && shown.values().all(|times| *times == 1));
    assert_eq!(subscribed(&api, "limit=100").await.len(), 250);
}

/// More than fit a try, by twenty.
async fn subscribe_520(api: &Api) {
    let posts = (0..520).map(|number| {
        let api = api.clone();
        async move { subscribe(&api, &format!("d-{number}"), None).await }
    });
    let mut posts: Vec<_> = posts.map(Box::pin).collect();
    while !posts.is_empty() {
        let some = posts.split_off(posts.len().saturating_sub(20));
        futures_util::future::join_all(some).await;
    }
}

#[tokio::test]
async fn whoever_registers_anew_during_a_broadcast_gets_it_once() {
    let (bugle, expo, api) = phones(&json!({})).await;
    subscribe_520(&api).await;
    expo.holds_its_answers(true);
    bugle.wire().await.event("all:hands", "e-1", &json!({})).await;
    let asked = async || ensure(expo.batches().len() == 5, format!("{:?}", expo.batches()));
    eventually("the first 500 are on their way", SOON, asked).await;
    let all: Vec<String> = (0..520).map(|number| format!("d-{number}")).collect();
    let (first, later): (Vec<_>, Vec<_>) = all.iter().partition(|name| expo.was_asked_for(&token(name)));
    assert_eq!((first.len(), later.len()), (500, 20));
    for name in [first[0], first[250], first[499], later[0], later[7], later[19]] {
        let anew = json!({"expoPushToken": token(name), "platform": "ios", "deviceName": "opened just now"});
        api.post("/v1/push-subscriptions", &anew).await.expect(200);
    }
    subscribe(&api, "new", None).await;
    expo.holds_its_answers(false);
    let sent = api.shows_within(LATER, 1, "status=sent").await;
    assert_eq!(sent[0]["detail"], "520 of 520 devices");
    let shown = expo.shown_to();
    assert!(shown.len() == 520 && shown.values().all(|times| *times == 1), "{shown:?}");
    assert!(!shown.contains_key(&token("new")));
}

#[tokio::test]
async fn more_devices_than_fit_a_try_follow_in_the_same_attempt() {
    let (bugle, expo, api) = phones(&json!({})).await;
    subscribe_520(&api).await;
    expo.next_ticket(&token("d-3"), "MessageRateExceeded");
    // Five for the first step; the second one is too early.
    expo.lets_pass(5);
    expo.next_request(429, "TOO_MANY_REQUESTS");
    bugle.wire().await.event("all:hands", "e-1", &json!({})).await;
    let sent = api.shows_within(LATER, 1, "status=sent").await;
    assert_eq!((&sent[0]["detail"], &sent[0]["attempts"]), (&json!("520 of 520 devices"), &json!(2)));
    let shown = expo.shown_to();
    assert!(shown.len() == 520 && shown.values().all(|times| *times == 1), "{}", shown.len());
    let delivery = api.delivery(sent[0]["id"].as_str().unwrap()).await;
    let limited = ("retrying", "rate_limited", 1);
    let expected = [("retrying", "continued", 1), limited, limited, ("sent", "accepted", 2)];
    let seen = tries(&delivery);
    assert!(
        expected.iter().zip(&seen).all(|(one, other)| (one.0, one.1, one.2) == (&other.0, &other.1, other.2)),
        "{seen:?}"
    );
    // It waits as long as after any first 429: 5 to 10 seconds. A step that went well is no sign of a provider in trouble.
    let moment = |field: &str| delivery["timeline"][1][field].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(moment("nextAt").duration_since(moment("at")).as_secs() < 10, "{delivery:#}");
}

#[tokio::test]
async fn a_device_that_was_left_is_tried_again_alone() {
    let (bugle, expo, api) = phones(&json!({})).await;
    for name in ["one", "two", "three"] {
        subscribe(&api, name, Some("ann")).await;
    }
    expo.next_ticket(&token("two"), "MessageRateExceeded");
    expo.next_ticket(&token("two"), "ProviderError");
    bugle.wire().await.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    let sent = api.shows(1, "status=sent").await;
    assert_eq!(sent[0]["detail"], "3 of 3 devices");
    assert_eq!(expo.batches(), [3, 1, 1]);
    assert!(expo.shown_to().values().all(|times| *times == 1), "{:?}", expo.shown_to());
    let delivery = api.delivery(sent[0]["id"].as_str().unwrap()).await;
    assert_eq!(delivery["timeline"][0]["detail"], "2 of 3 devices; Expo answered MessageRateExceeded");
}

#[tokio::test]
async fn what_is_given_up_is_sent_again_to_whoever_did_not_get_it() {
    let (bugle, expo, api) = phones(&json!({})).await;
    for name in ["one", "two"] {
        subscribe(&api, name, Some("ann")).await;
    }
    (0..3).for_each(|_| expo.next_ticket(&token("two"), "ExpoError"));
    bugle.wire().await.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    let failed = api.shows(1, "status=failed").await;
    let detail = failed[0]["detail"].as_str().unwrap();
    assert!(detail.contains("1 of 2 devices") && detail.contains("given up after 3 attempts"), "{detail}");
    let letters = bugle.buries(1).await;
    bugle.cli(&["dead", "redrive", &letters[0]["sequence"].to_string()]).await.ok();
    api.becomes(failed[0]["id"].as_str().unwrap(), "sent").await;
    assert_eq!((expo.shown(&token("one")).len(), expo.shown(&token("two")).len()), (1, 1));
}

#[tokio::test]
async fn a_device_that_is_gone_is_removed_and_counted_and_nothing_else_is() {
    let (bugle, expo, api) = phones(&json!({})).await;
    for name in ["here", "lost"] {
        subscribe(&api, name, Some("ann")).await;
    }
    expo.is_gone(&token("lost"));
    let wire = bugle.wire().await;
    wire.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    let sent = api.shows(1, "status=sent").await;
    assert_eq!(sent[0]["detail"], "1 of 2 devices; 1 is gone and was removed");
    let left = subscribed(&api, "user=ann").await;
    assert_eq!((left.len(), &left[0]["deviceName"]), (1, &json!("here")));
    let worker = bugle.take(Role::Worker).remove(0);
    let removed = metric(&worker, "bugle_devices_removed_total{kind=\"expo\"}").await;
    assert!((removed - 1.0).abs() < f64::EPSILON, "{removed}");
    bugle.adopt(worker);
    assert_eq!(bugle.log("worker").matches("push subscriptions that are over were removed").count(), 1);
    // When the last one goes it is a failure, and then there is nobody.
    expo.is_gone(&token("here"));
    wire.event("own:ping", "e-2", &json!({"to": "ann"})).await;
    let failed = api.shows(1, "status=failed").await;
    assert_eq!(failed[0]["reason"], "gone");
    wire.event("own:ping", "e-3", &json!({"to": "ann"})).await;
    assert_eq!(api.shows(1, "status=suppressed").await[0]["reason"], "no_address");
    assert_no_leak(&bugle, &api.deliveries("").await, &["here]", "lost]"]);
}

#[tokio::test]
async fn a_request_that_is_too_much_pauses_the_channel_and_costs_no_attempt() {
    let (bugle, expo, api) = phones(&json!({})).await;
    subscribe(&api, "one", Some("ann")).await;
    expo.next_request(429, "TOO_MANY_REQUESTS");
    bugle.wire().await.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    let sent = api.shows_within(LATER, 1, "status=sent").await;
    assert_eq!((&sent[0]["attempts"], expo.batches()), (&json!(1), vec![1, 1]));
    let delivery = api.delivery(sent[0]["id"].as_str().unwrap()).await;
    assert_eq!(tries(&delivery)[0], ("retrying".to_owned(), "rate_limited".to_owned(), 1));
}

#[tokio::test]
async fn devices_of_several_projects_get_a_request_each() {
    let (bugle, expo, api) = phones(&json!({})).await;
    for name in ["one", "two", "three"] {
        subscribe(&api, name, Some("ann")).await;
    }
    expo.belongs_to(&token("two"), "@bugle/beta");
    bugle.wire().await.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    let sent = api.shows(1, "status=sent").await;
    assert_eq!((&sent[0]["detail"], expo.shown_to().len()), (&json!("3 of 3 devices"), 3));
}

#[tokio::test]
async fn receipts_are_asked_for_in_time_and_tell_who_is_gone_and_who_wants_it_again() {
    let (bugle, expo, api) = phones(&json!({"receiptsAfterMs": 700})).await;
    for name in ["fine", "lost", "busy", "slow"] {
        subscribe(&api, name, Some("ann")).await;
    }
    expo.next_receipt(&token("lost"), "DeviceNotRegistered");
    expo.next_receipt(&token("busy"), "MessageRateExceeded");
    expo.next_receipt(&token("slow"), "nothing yet");
    bugle.wire().await.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    let id = api.shows(1, "status=sent").await[0]["id"].as_str().unwrap().to_owned();
    let delivery = eventually("the receipts are in the history", LATER, async || {
        let delivery = api.delivery(&id).await;
        let confirmed = tries(&delivery).iter().filter(|step| step.1 == "confirmed").count();
        ensure(confirmed == 2, format!("{delivery:#}")).map(|()| delivery)
    })
    .await;
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("sent"), &json!("accepted")));
    let timeline = delivery["timeline"].as_array().unwrap();
    let told = timeline.iter().find(|step| {
        step["detail"].as_str().is_some_and(|detail| detail.contains("of 4")) && step["reason"] == "confirmed"
    });
    let detail = told.expect("the four are told of together")["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("confirmed for 2 of 4 devices; 1 is gone and was removed; 1 sent to again"),
        "{detail}"
    );
    let left = subscribed(&api, "user=ann").await;
    assert!(left.len() == 3 && left.iter().all(|device| device["deviceName"] != "lost"), "{left:?}");
    let shown = |name: &str| expo.shown(&token(name)).len();
    assert_eq!((shown("fine"), shown("lost"), shown("slow"), shown("busy")), (1, 1, 1, 2));
    assert_no_leak(&bugle, &api.deliveries("").await, &["fine]", "lost]", "busy]", "slow]"]);
}

#[tokio::test]
async fn receipts_that_reach_nobody_are_a_failure_in_the_timeline_and_a_dead_letter() {
    let (bugle, expo, api) = phones(&json!({"receiptsAfterMs": 500})).await;
    subscribe(&api, "one", Some("ann")).await;
    expo.next_receipt(&token("one"), "MessageTooBig");
    bugle.wire().await.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    let id = api.shows(1, "status=sent").await[0]["id"].as_str().unwrap().to_owned();
    let letters = bugle.buries(1).await;
    assert_eq!((&letters[0]["delivery"]["id"], &letters[0]["reason"]), (&json!(id), &json!("rejected")));
    eventually("the timeline tells it", SOON, async || {
        let delivery = api.delivery(&id).await;
        let failed = tries(&delivery).iter().any(|step| step.0 == "failed");
        ensure(failed && delivery["status"] == "sent", format!("{delivery:#}"))
    })
    .await;
}

#[tokio::test]
async fn receipts_are_asked_for_also_when_the_worker_was_killed_meanwhile() {
    let (bugle, expo, api) = phones(&json!({"receiptsAfterMs": 3_000})).await;
    subscribe(&api, "lost", Some("ann")).await;
    subscribe(&api, "fine", Some("ann")).await;
    expo.next_receipt(&token("lost"), "DeviceNotRegistered");
    bugle.wire().await.event("own:ping", "e-1", &json!({"to": "ann"})).await;
    api.shows(1, "status=sent").await;
    bugle.kill_9(Role::Worker);
    assert_eq!(expo.asked(), 0);
    bugle.start_roles(&[Role::Worker]).await;
    eventually("the device is removed", LATER, async || {
        let left = subscribed(&api, "user=ann").await;
        ensure(left.len() == 1 && left[0]["deviceName"] == "fine", format!("{left:?}"))
    })
    .await;
    assert_eq!((expo.asked(), expo.batches()), (1, vec![2]));
}

#[tokio::test]
async fn receipts_of_a_channel_that_is_off_are_asked_for_when_it_is_on_again() {
    let (bugle, expo) = (Bugle::new().await, Expo::start().await);
    let config = json!({"accessToken": ACCESS_TOKEN, "apiBase": expo.base, "receiptsAfterMs": 1_500});
    let stays = json!({"id": "console", "kind": "console"});
    let documents = |enabled: bool| {
        let channel = json!({"id": "phones", "kind": "expo", "config": config, "enabled": enabled});
        json!({"channels": [channel, stays], "rules": [with(rule("own", "own:*", "phones"), &json!({"recipients": ["{{to}}"]}))]})
    };
    bugle.start_with(&documents(true)).await;
    let api = bugle.api();
    let ends_with = async |id: &str, detail: &str| {
        eventually(&format!("{id} ends with {detail}"), LATER, async || {
            let delivery = api.delivery(id).await;
            let told = delivery["timeline"].as_array().unwrap().iter().any(|step| step["detail"] == detail);
            ensure(told, format!("{delivery:#}"))
        })
        .await;
    };
    let sends_to = async |user: &str| {
        subscribe(&api, user, Some(user)).await;
        bugle.wire().await.event("own:ping", user, &json!({ "to": user })).await;
        api.shows(1, &format!("recipient={user}&status=sent")).await[0]["id"].as_str().unwrap().to_owned()
    };
    let ann = sends_to("ann").await;
    bugle.apply(&documents(false)).await;
    let nobody = async || ensure(expo.asked() == 0, "Expo was asked");
    steadily("nobody is asked", Duration::from_secs(2), nobody).await;
    bugle.apply(&documents(true)).await;
    ends_with(&ann, "confirmed for 1 of 1 device").await;
    // A channel that is gone cannot be asked any more, and that is the end of it.
    let bob = sends_to("bob").await;
    bugle.apply(&json!({"channels": [stays], "rules": []})).await;
    ends_with(&bob, "confirmed for 0 of 1 device; nothing was told of 1; the channel is gone").await;
}

#[tokio::test]
async fn whoever_has_it_on_one_device_does_not_get_it_on_another_channel_too() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let expo = Expo::start().await;
    let config = json!({"accessToken": ACCESS_TOKEN, "apiBase": expo.base});
    bugle
        .start_with(&json!({
            "channels": [{"id": "phones", "kind": "expo", "config": config, "fallback": ["hook"],
                          "retry": {"scheduleMs": [2_000]}, "expiresInMs": 4_000}, webhook("hook", &sink.url("/hook"))],
            "rules": [with(rule("own", "own:*", "phones"), &json!({"recipients": ["{{to}}"]}))],
        }))
        .await;
    let api = bugle.api();
    for (name, user) in [("one", "ann"), ("two", "ann"), ("three", "bob")] {
        subscribe(&api, name, Some(user)).await;
    }
    expo.next_ticket(&token("two"), "ExpoError");
    expo.next_ticket(&token("three"), "ExpoError");
    let wire = bugle.wire().await;
    for user in ["ann", "bob"] {
        wire.event("own:ping", user, &json!({ "to": user })).await;
    }
    api.shows(2, "status=retrying").await;
    // Their time is over before the next try.
    bugle.kill_9(Role::Worker);
    steadily("nothing is sent", Duration::from_secs(4), async || {
        ensure(expo.batches().len() == 2, "it is sent")
    })
    .await;
    bugle.start_roles(&[Role::Worker]).await;
    let failed = api.shows_within(LATER, 2, "status=failed").await;
    for delivery in &failed {
        let (handed, detail) = (delivery["recipient"] == "bob", delivery["detail"].as_str().unwrap());
        assert_eq!((&delivery["reason"], detail.contains("handed to hook")), (&json!("expired"), handed));
    }
    let handed = api.shows(1, "channel=hook&status=sent").await;
    assert_eq!((handed.len(), &handed[0]["recipient"]), (1, &json!("bob")), "{handed:#?}");
}
