//! Sends to somebody: what they prefer counts for these, too, at once or when their time comes.

use serde_json::{Value, json};

use super::{fleet, in_seconds, prefers, write};
use crate::support::bugle::with;

const SEND: &str = "/v1/notifications/send";

fn message(more: &Value) -> Value {
    with(json!({"channel": "hook", "title": "Hello", "body": "there", "recipient": "ann"}), more)
}

#[tokio::test]
async fn a_send_to_who_muted_it_is_answered_and_recorded_as_suppressed() {
    let (_bugle, sink, _wire, api) = fleet(&json!({})).await;
    let rows = json!({"preferences": [{"type": "direct:send", "project": "p", "enabled": false}]});
    prefers(&api, "ann", &rows).await;
    let of_project = message(&json!({"data": {"projectId": "p"}}));
    let answer = api.post_once(SEND, "key", &of_project).await.expect(202);
    assert_eq!((&answer["status"], &answer["reason"]), (&json!("suppressed"), &json!("muted")), "{answer:#}");
    let delivery = api.becomes(answer["id"].as_str().unwrap(), "suppressed").await;
    assert_eq!(delivery["reason"], "muted", "{delivery:#}");
    // A repeat is answered as the first was, also when the recipient is of another mind by now.
    assert_eq!(write(&api, "DELETE", "ann", &json!({})).await.status, 204);
    let again = api.post_once(SEND, "key", &of_project).await.expect(202);
    assert_eq!((&again["id"], &again["status"]), (&answer["id"], &json!("suppressed")));
    let waited = api.post(&format!("{SEND}?wait=true"), &of_project).await.expect(202);
    assert_eq!(waited["status"], "sent", "{waited:#}");
    assert_eq!(sink.requests("/hook").len(), 1);
}

#[tokio::test]
async fn a_send_to_who_snoozes_waits_can_be_cancelled_and_goes_out() {
    let (_bugle, sink, _wire, api) = fleet(&json!({})).await;
    let until = in_seconds(6);
    prefers(&api, "ann", &json!({"snoozedUntil": until})).await;
    let first = api.post_once(SEND, "key", &message(&json!({}))).await.expect(202);
    assert_eq!((&first["status"], &first["reason"]), (&json!("scheduled"), &json!("snoozed")), "{first:#}");
    assert_eq!(first["firesAt"], json!(until));
    let other = api.post(SEND, &message(&json!({}))).await.expect(202);
    let critical = api.post(SEND, &message(&json!({"severity": "critical"}))).await.expect(202);
    api.becomes(critical["id"].as_str().unwrap(), "sent").await;
    api.delete(&format!("{SEND}/{}", other["id"].as_str().unwrap())).await.expect(200);
    let sent = api.becomes(first["id"].as_str().unwrap(), "sent").await;
    assert_eq!(sent["timeline"][0]["reason"], "snoozed", "{sent:#}");
    assert!(jiff::Timestamp::now() >= until.parse().unwrap());
    assert_eq!(sink.requests("/hook").len(), 2);
}

#[tokio::test]
async fn a_send_for_later_is_asked_about_when_its_time_has_come() {
    let (_bugle, sink, _wire, api) = fleet(&json!({})).await;
    let answer = api.post(SEND, &message(&json!({"delayMs": 3_000}))).await.expect(202);
    assert_eq!((&answer["status"], answer.get("reason")), (&json!("scheduled"), None), "{answer:#}");
    prefers(&api, "ann", &json!({"preferences": [{"channel": "webhook", "enabled": false}]})).await;
    let delivery = api.becomes(answer["id"].as_str().unwrap(), "suppressed").await;
    assert_eq!(delivery["reason"], "muted", "{delivery:#}");
    assert!(sink.requests("/hook").is_empty());
}
