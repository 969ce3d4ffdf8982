//! What types say of inboxes: a repeat that is not shown, progress that takes the place of the progress before, by rules and for
//! whoever makes notifications without one. And what recipients want, asked of those too.

use serde_json::{Value, json};

use super::{INBOX, act, fleet, holds, list, titles, unread};
use crate::support::api::{Api, json as with_body, reply};
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, with};
use crate::support::database::{Database, on_both_databases};
use crate::support::wire::Wire;
use crate::support::{SOON, ensure, eventually};

/// Whatever comes goes into the inboxes that it names.
async fn routed(database: Database) -> (Bugle, Api, Wire) {
    let bugle = Bugle::on(NatsServer::shared().await, database);
    let rule = json!({ "id": "all", "events": ["**"], "channels": ["in_app"], "recipients": ["{{to}}"] });
    bugle.start_with(&json!({ "rules": [rule] })).await;
    let (api, wire) = (bugle.api(), bugle.wire().await);
    (bugle, api, wire)
}

async fn say(wire: &Wire, kind: &str, id: &str, task: &str, to: &str) {
    wire.event(kind, id, &json!({ "taskId": task, "title": id, "to": to })).await;
}

async fn make(api: &Api, kind: &str, task: &str, more: &Value) -> Value {
    let body = json!({ "recipient": "ann", "type": kind, "title": task, "metadata": { "taskId": task } });
    let made = api.post(INBOX, &with(body, more)).await;
    assert!([200, 201, 202].contains(&made.status), "{:#}", made.body);
    made.body["notifications"][0].clone()
}

async fn one(api: &Api, id: &Value) -> Value {
    api.get(&format!("{INBOX}/{}", id.as_str().unwrap())).await.expect(200)
}

async fn prefers(api: &Api, of: &str, preferences: &Value) {
    let request = api.request("PUT", &format!("{INBOX}/preferences?recipient={of}"));
    reply(with_body(request, preferences)).await.expect(201);
}

on_both_databases! {
    async fn a_task_that_completes_twice_within_a_minute_is_told_once(database: Database) {
        let (_bugle, api, wire) = routed(database).await;
        for (id, task, to) in [("c1", "7", "ann"), ("c2", "7", "ann"), ("c3", "8", "ann"), ("c4", "7", "bob")] {
            say(&wire, "task_complete", id, task, to).await;
        }
        let dropped = api.shows(1, "status=suppressed").await;
        // Routed side by side, either may be the first.
        assert!(["c1", "c2"].contains(&dropped[0]["event"].as_str().unwrap()), "{dropped:#?}");
        assert_eq!(dropped[0]["reason"], "duplicate", "{dropped:#?}");
        holds(&api, "bob", 1).await;
        assert_eq!(titles(&holds(&api, "ann", 2).await).len(), 2);
        // Without a task there is nothing to tell them apart by.
        for id in ["c5", "c6"] {
            wire.event("task_complete", id, &json!({ "title": id, "to": "eve" })).await;
        }
        holds(&api, "eve", 2).await;
    }

    async fn progress_of_a_task_is_one_notification_that_says_what_was_said_last(database: Database) {
        let (_bugle, api, wire) = routed(database).await;
        say(&wire, "progress", "p1", "7", "ann").await;
        let first = holds(&api, "ann", 1).await["notifications"][0].clone();
        act(&api, &format!("/{}/read?recipient=ann", first["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(unread(&api, "ann").await, 0);
        let mut last = Value::Null;
        // One after the other: sent side by side, either may be the last.
        for id in ["p2", "p3"] {
            say(&wire, "progress", id, "7", "ann").await;
            last = eventually("it says the last", SOON, async || {
                let page = list(&api, "recipient=ann").await;
                let shown = page["notifications"][0].clone();
                ensure(shown["title"].as_str().unwrap().contains(id), format!("{page:#}"))?;
                Ok(shown)
            })
            .await;
        }
        assert_eq!((&last["id"], &last["createdAt"]), (&first["id"], &first["createdAt"]));
        assert_eq!((&last["read"], &last["metadata"]["taskId"]), (&json!(false), &json!("7")));
        assert_eq!((list(&api, "recipient=ann").await["total"].clone(), unread(&api, "ann").await), (json!(1), 1));
        say(&wire, "progress", "q1", "8", "ann").await;
        holds(&api, "ann", 2).await;
        // Whoever has dismissed it is told anew.
        act(&api, &format!("/{}/dismiss?recipient=ann", first["id"].as_str().unwrap())).await.expect(200);
        say(&wire, "progress", "p4", "7", "ann").await;
        let page = holds(&api, "ann", 2).await;
        assert!(titles(&page)[0].contains("p4"), "{page:#}");
    }

    async fn types_hold_for_notifications_without_a_rule_too(database: Database) {
        let (_bugle, api) = fleet(database).await;
        let first = make(&api, "task_complete", "7", &json!({})).await;
        assert_eq!(first["status"], "sent");
        let again = make(&api, "task_complete", "7", &json!({})).await;
        assert_eq!((&again["status"], &again["reason"]), (&json!("suppressed"), &json!("duplicate")), "{again:#}");
        assert_eq!(again.get("id"), None);
        let other = make(&api, "task_complete", "8", &json!({})).await;
        assert_eq!(other["status"], "sent");

        let first = make(&api, "progress", "7", &json!({ "title": "10 %" })).await;
        let second = make(&api, "progress", "7", &json!({ "title": "20 %" })).await;
        assert_eq!(first["id"], second["id"], "it is the same notification");
        assert_ne!(first["deliveryId"], second["deliveryId"]);
        assert_eq!(one(&api, &second["id"]).await["title"], "20 %");
        assert_eq!(list(&api, "recipient=ann&type=progress").await["total"], 1);
        // What the request says of its source serves as the key as well.
        let about = |title: &str| json!({ "title": title, "metadata": {}, "source": { "type": "task", "id": "9" } });
        let first = make(&api, "progress", "9", &about("a")).await;
        let second = make(&api, "progress", "9", &about("b")).await;
        assert_eq!(first["id"], second["id"]);
    }
}

#[tokio::test]
async fn who_muted_a_type_gets_none_of_it_and_who_makes_it_is_told_why() {
    let (_bugle, api) = fleet(Database::sqlite()).await;
    prefers(&api, "ann", &json!({ "preferences": [{ "type": "progress", "enabled": false }] })).await;
    let muted = make(&api, "progress", "7", &json!({})).await;
    assert_eq!((&muted["status"], &muted["reason"]), (&json!("suppressed"), &json!("muted")), "{muted:#}");
    assert!(muted["detail"].as_str().unwrap().contains("progress"), "{muted:#}");
    assert_eq!(muted.get("id"), None);
    let told = api.delivery(muted["deliveryId"].as_str().unwrap()).await;
    assert_eq!((&told["status"], &told["reason"]), (&json!("suppressed"), &json!("muted")));
    assert_eq!(make(&api, "error", "7", &json!({})).await["status"], "sent");
    // What nobody can mute.
    prefers_all_off(&api, "bob").await;
    let alert = json!({ "recipient": "bob", "type": "security_alert", "title": "Look" });
    let made = api.post(INBOX, &alert).await.expect(201);
    assert_eq!(made["notifications"][0]["status"], "sent");
}

async fn prefers_all_off(api: &Api, of: &str) {
    prefers(api, of, &json!({ "preferences": [{ "enabled": false }] })).await;
}

#[tokio::test]
async fn what_a_snooze_holds_back_is_answered_and_comes_when_it_is_over() {
    let (_bugle, api) = fleet(Database::sqlite()).await;
    let until = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4)).to_string();
    prefers(&api, "ann", &json!({ "snoozedUntil": until })).await;
    let body = json!({ "recipient": "ann", "type": "a:b", "title": "later" });
    let made = api.post(INBOX, &body).await.expect(202);
    let held = &made["notifications"][0];
    assert_eq!((&held["status"], &held["reason"]), (&json!("scheduled"), &json!("snoozed")), "{held:#}");
    assert_eq!(list(&api, "recipient=ann").await["total"], 0);
    let page = holds(&api, "ann", 1).await;
    assert_eq!(page["notifications"][0]["id"], held["id"]);
}
