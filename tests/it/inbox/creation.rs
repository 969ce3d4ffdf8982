//! Notifications that somebody makes without an event: checked, once, through the same pipeline as rules.

use serde_json::{Value, json};

use super::{INBOX, fleet, holds, list, make, titles, unread};
use crate::support::api::token;
use crate::support::bugle::{Role, with};
use crate::support::database::{Database, on_both_databases};

fn to(recipient: &Value) -> Value {
    let name = if recipient.is_array() { "recipients" } else { "recipient" };
    json!({ name: recipient, "type": "review.asked", "title": "Look" })
}

on_both_databases! {
    async fn what_is_made_lies_in_the_inboxes_with_all_that_was_said(database: Database) {
        let (_bugle, api) = fleet(database).await;
        let more = json!({
            "body": "Is it **right**?", "urgency": "medium", "link": "/reviews/7", "project": "p",
            "metadata": { "deep": { "n": 1 } }, "source": { "type": "review", "id": "7", "title": "Seven" },
            "actions": [{ "label": "Open", "url": "https://a.example/7" }],
        });
        let made = api.post(INBOX, &with(to(&json!(["ann", "bob", "*"])), &more)).await.expect(201);
        let made = made["notifications"].as_array().unwrap();
        assert_eq!(made.iter().map(|one| one["recipient"].as_str().unwrap()).collect::<Vec<_>>(), ["ann", "bob", "*"]);
        let found = api.get(&format!("{INBOX}/{}", made[0]["id"].as_str().unwrap())).await.expect(200);
        for (name, value) in [
            ("type", json!("review:asked")), ("severity", json!("warning")), ("urgency", json!("medium")),
            ("body", json!("Is it **right**?")), ("link", json!("/reviews/7")), ("project", json!("p")),
            ("metadata", json!({ "deep": { "n": 1 } })), ("deliveryId", made[0]["deliveryId"].clone()),
            ("source", json!({ "type": "review", "id": "7", "title": "Seven" })),
            ("actions", json!([{ "label": "Open", "url": "https://a.example/7" }])),
        ] {
            assert_eq!(found[name], value, "{name}: {found:#}");
        }
        assert_eq!((unread(&api, "ann").await, unread(&api, "eve").await), (2, 1));
        // It has its history like anything else.
        let delivery = api.delivery(made[1]["deliveryId"].as_str().unwrap()).await;
        for (name, value) in [
            ("status", json!("sent")), ("channel", json!("in_app")), ("rule", Value::Null), ("recipient", json!("bob")),
            ("eventType", json!("review:asked")), ("scope", json!("global")),
        ] {
            assert_eq!(delivery[name], value, "{name}: {delivery:#}");
        }
        // Without anything but what it must have.
        let id = make(&api, "eve", &json!({})).await;
        let plain = api.get(&format!("{INBOX}/{id}")).await.expect(200);
        assert_eq!((&plain["metadata"], &plain["link"], &plain["urgency"]), (&json!({}), &Value::Null, &json!("info")));
        assert_eq!(plain["source"]["type"], "event");
    }

    async fn a_repeat_under_the_same_key_makes_nothing_new(database: Database) {
        let (_bugle, api) = fleet(database).await;
        let body = to(&json!(["ann", "bob"]));
        let first = api.post_once(INBOX, "key-1", &body).await.expect(201);
        assert_eq!(api.post_once(INBOX, "key-1", &body).await.expect(201), first);
        api.post_once(INBOX, "key-1", &to(&json!("ann"))).await.expect_problem(422);
        api.post_once(INBOX, "", &body).await.expect_problem(400);
        // The same key of a send is another one.
        let send = json!({ "channel": "in_app", "title": "sent", "body": "b", "recipient": "ann" });
        api.post_once("/v1/notifications/send?wait=true", "key-1", &send).await.expect(202);
        let all = futures_util::future::join_all((0..6).map(|_| api.post_once(INBOX, "race", &body))).await;
        let all: Vec<Value> = all.into_iter().map(|reply| reply.expect(201)).collect();
        assert!(all.iter().all(|answer| *answer == all[0]), "{all:#?}");
        assert_eq!(titles(&holds(&api, "ann", 3).await), ["Look", "sent", "Look"]);
        assert_eq!(list(&api, "recipient=bob").await["total"], 2);
    }
}

#[tokio::test]
async fn what_is_no_notification_is_refused_with_the_place() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let many: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    for (body, pointer) in [
        (json!({ "type": "a:b", "title": "t" }), "/recipient"),
        (with(to(&json!("ann")), &json!({ "recipients": ["bob"] })), "/recipients"),
        (to(&json!([])), "/recipients"),
        (to(&json!(many)), "/recipients"),
        (json!({ "recipient": "ann", "title": "t" }), "/type"),
        (json!({ "recipient": "ann", "type": "a:b" }), "/title"),
        (with(to(&json!("ann")), &json!({ "urgency": "urgent" })), "/urgency"),
        (with(to(&json!("ann")), &json!({ "priority": "p1" })), "/priority"),
        (with(to(&json!("ann")), &json!({ "severity": "info", "urgency": "low" })), "/urgency"),
        (with(to(&json!("ann")), &json!({ "link": "javascript:alert(1)" })), "/link"),
        (with(to(&json!("ann")), &json!({ "link": "http://a.example" })), "/link"),
        (with(to(&json!("ann")), &json!({ "body": "x".repeat(10_001) })), "/body"),
        (with(to(&json!("ann")), &json!({ "title": "x".repeat(513) })), "/title"),
        (with(to(&json!("ann")), &json!({ "link": "https://bank.example@evil.example/" })), "/link"),
        (with(to(&json!("ann")), &json!({ "message": "x" })), "/message"),
    ] {
        let problem = api.post(INBOX, &body).await.expect_problem(400);
        assert_eq!(problem["pointer"].as_str().unwrap_or_default(), pointer, "{body}: {problem}");
    }
    for role in ["viewer", "publisher", "agent"] {
        let more = if role == "agent" { json!({ "recipient": "bot" }) } else { json!({}) };
        let other = token(&bugle, role, &more).await;
        other.post(INBOX, &to(&json!("ann"))).await.expect_problem(403);
    }
    // Bound to ann: to her alone.
    let ann = token(&bugle, "operator", &json!({ "recipient": "ann" })).await;
    for other in [json!("bob"), json!("*"), json!(["ann", "bob"])] {
        ann.post(INBOX, &to(&other)).await.expect_problem(403);
    }
    let own = ann.post(INBOX, &json!({ "type": "a:b", "title": "to myself" })).await.expect(201);
    assert_eq!(own["notifications"][0]["recipient"], "ann");
    assert_eq!(list(&api, "recipient=bob").await["total"], 0);
}

#[tokio::test]
async fn what_the_inboxes_do_not_have_in_time_is_accepted_and_comes_later() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    bugle.kill_9(Role::Worker);
    let made = api.post(INBOX, &to(&json!("ann"))).await.expect(202);
    assert_eq!(made["notifications"][0]["status"], "scheduled", "{made:#}");
    bugle.start_roles(&[Role::Worker]).await;
    let page = holds(&api, "ann", 1).await;
    assert_eq!(page["notifications"][0]["id"], made["notifications"][0]["id"]);
}

#[tokio::test]
async fn what_a_switched_off_channel_holds_back_says_so() {
    let (_bugle, api) = fleet(Database::sqlite()).await;
    let off = json!({ "kind": "in_app", "enabled": false });
    let put = api.request("PUT", "/v1/notification-channels/in_app");
    crate::support::api::reply(crate::support::api::json(put, &off)).await.expect(201);
    let made = api.post(INBOX, &to(&json!("ann"))).await.expect(200);
    let one = &made["notifications"][0];
    assert_eq!((&one["status"], &one["reason"]), (&json!("suppressed"), &json!("channel_disabled")));
    assert_eq!(one.get("id"), None);
    assert_eq!(list(&api, "recipient=ann").await["total"], 0);
}
