//! Who reads and writes whose preferences, on condition or not, whole or in part.

use serde_json::{Value, json};

use super::{PREFERENCES, fleet, in_seconds, write};
use crate::support::api::{Api, Reply, json as with_body, reply, token};

async fn of(api: &Api, recipient: &str) -> Reply {
    api.get(&format!("{PREFERENCES}?recipient={recipient}")).await
}

#[tokio::test]
async fn preferences_are_written_whole_by_row_and_by_patch_and_taken_back() {
    let (_bugle, _sink, _wire, api) = fleet(&json!({})).await;
    let nobody = of(&api, "ann").await.expect(200);
    assert_eq!(nobody, json!({"recipient": "ann", "preferences": []}));
    // One row makes the document, the next one joins it, the same one takes its place.
    let row = json!({"type": "a.b", "channel": "webhook", "enabled": false});
    write(&api, "PUT", "ann", &row).await.expect(201);
    write(&api, "PUT", "ann", &json!({"project": "p", "enabled": false})).await.expect(200);
    let row = json!({"type": "a:b", "channel": "webhook", "enabled": true});
    let written = write(&api, "PUT", "ann", &row).await;
    let tag = written.header("etag");
    let rows = json!([
        {"type": "a:b", "channel": "webhook", "enabled": true},
        {"type": "*", "project": "p", "channel": "*", "enabled": false},
    ]);
    assert_eq!(written.expect(200)["preferences"], rows);
    // A patch leaves the rest as it is; null takes a field away.
    let until = in_seconds(3_600);
    let patched = write(&api, "PATCH", "ann", &json!({"snoozedUntil": until})).await.expect(200);
    assert_eq!((&patched["preferences"], &patched["snoozedUntil"]), (&rows, &json!(until)));
    let hours = json!({"quietHours": {"windows": [{"from": "22:00", "to": "07:00"}]}, "snoozedUntil": null});
    let patched = write(&api, "PATCH", "ann", &hours).await.expect(200);
    assert!(
        patched.get("snoozedUntil").is_none() && patched["quietHours"]["allowCritical"] == true,
        "{patched}"
    );
    // What was read may be sent back; what somebody else has changed meanwhile is not written over.
    let read = of(&api, "ann").await;
    let now = read.header("etag");
    let read = read.expect(200);
    assert_eq!(
        write(&api, "PUT", "ann", &read).await.expect(200)["meta"]["version"],
        read["meta"]["version"]
    );
    let on_condition = async |tag: &str, body: &Value| {
        let request = with_body(api.request("PUT", &format!("{PREFERENCES}?recipient=ann")), body);
        reply(request.header("If-Match", tag)).await.status
    };
    assert_eq!(on_condition(&tag, &read).await, 412);
    assert_eq!(on_condition(&now, &json!({"preferences": []})).await, 200);
    assert!(of(&api, "ann").await.expect(200).get("quietHours").is_none());
    // To take them back is to have none, however often.
    for _ in 0..2 {
        assert_eq!(write(&api, "DELETE", "ann", &json!({})).await.status, 204);
    }
    assert_eq!(of(&api, "ann").await.expect(200), nobody);
    write(&api, "PATCH", "ann", &json!({"snoozedUntil": in_seconds(60)})).await.expect(201);
}

#[tokio::test]
async fn a_bound_token_manages_its_own_and_others_as_their_role_has_it() {
    let (bugle, _sink, _wire, api) = fleet(&json!({})).await;
    let row = json!({"type": "a:b", "enabled": false});
    for role in ["agent", "viewer", "publisher", "operator"] {
        let own = token(&bugle, role, &json!({"recipient": "ann"})).await;
        let put = reply(with_body(own.request("PUT", PREFERENCES), &row)).await;
        assert!([200, 201].contains(&put.status), "{role} {:#}", put.body);
        assert_eq!(own.get(PREFERENCES).await.expect(200)["recipient"], "ann");
        of(&own, "ann").await.expect(200);
        of(&own, "bob").await.expect_problem(403);
        write(&own, "PUT", "bob", &row).await.expect_problem(403);
        write(&own, "PATCH", "bob", &row).await.expect_problem(403);
        write(&own, "DELETE", "bob", &json!({})).await.expect_problem(403);
    }
    for (role, reads, writes) in [("viewer", 200, 403), ("operator", 200, 201), ("publisher", 403, 403)] {
        let other = token(&bugle, role, &json!({})).await;
        assert_eq!(of(&other, "ann").await.status, reads, "{role}");
        assert_eq!(write(&other, "PUT", "bob", &row).await.status, writes, "{role}");
    }
    let elsewhere = token(&bugle, "operator", &json!({"workspace": "other"})).await;
    assert_eq!(of(&elsewhere, "ann").await.expect(200)["preferences"], json!([]));
    api.get(PREFERENCES).await.expect_problem(400);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_its_place() {
    let (_bugle, _sink, _wire, api) = fleet(&json!({})).await;
    for (body, pointer) in [
        (json!({"preferences": [{"type": "a:*", "enabled": false}]}), "/preferences/0/type"),
        (json!({"type": "a:*", "enabled": false}), "/type"),
        (json!({"type": "a:b"}), "/enabled"),
        (json!({"channel": "pigeon", "enabled": false}), "/channel"),
        (json!({"quietHours": {"windows": [{}]}}), "/quietHours/windows"),
        (json!({"quietHour": {}}), "/quietHour"),
        (json!({"snoozedUntil": "2999-01-01T00:00:00Z"}), "/snoozedUntil"),
        (json!({"recipient": "eve", "preferences": []}), "/recipient"),
    ] {
        let problem = write(&api, "PUT", "ann", &body).await.expect_problem(400);
        assert_eq!(problem["pointer"], pointer, "{problem:#}");
    }
    write(&api, "PUT", "*", &json!({"enabled": false})).await.expect_problem(400);
    api.get(&format!("{PREFERENCES}?recipient=ann&user=bob")).await.expect_problem(400);
}
