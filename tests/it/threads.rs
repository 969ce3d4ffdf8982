//! One incident is one message: whatever comes at once, comes late, dies in between, or was deleted by a person.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, Role, rule, with};
use crate::support::slack::{Instead, Slack};
use crate::support::wire::Wire;
use crate::support::{LATER, SOON, ensure, eventually, steadily};

/// A fleet whose events of one incident are one thing in Slack; the channel's settings are these, too.
async fn fleet(slack: &Slack, settings: &Value) -> Bugle {
    let bugle = Bugle::new().await;
    bugle.start_with(&documents(slack, settings)).await;
    bugle
}

fn documents(slack: &Slack, settings: &Value) -> Value {
    // Faster than Slack allows: what is waited for here is another delivery, not the rate.
    let quick = json!({ "timeoutMs": 2_000, "rateLimit": { "perSecond": 100, "burst": 10 } });
    let mut channel = with(slack.channel("team"), &quick);
    channel["config"] = with(channel["config"].clone(), settings);
    let collapse = json!({
        "collapse": { "key": "{{incident}}" },
        "attachments": "files",
        "template": { "title": "{{incident}}", "body": "step {{n}}." }
    });
    json!({ "channels": [channel], "rules": [with(rule("incidents", "incident:*", "team"), &collapse)] })
}

async fn tells(wire: &Wire, incident: &str, n: usize) {
    let id = format!("{incident}-{n}");
    wire.event("incident:step", &id, &json!({ "incident": incident, "n": n })).await;
}

/// What became of a delivery, by its event.
async fn outcome(bugle: &Bugle, event: &str) -> Value {
    let found = bugle.api().deliveries("").await;
    found.into_iter().find(|delivery| delivery["event"] == event).unwrap_or_default()
}

async fn becomes(bugle: &Bugle, event: &str, status: &str) -> Value {
    eventually(&format!("{event} becomes {status}"), LATER, async || {
        let found = outcome(bugle, event).await;
        if found["status"] == status { Ok(found) } else { Err(format!("{found:#}")) }
    })
    .await
}

async fn until_all_are_final(bugle: &Bugle, count: usize) -> Vec<Value> {
    eventually(&format!("{count} deliveries are final"), LATER, async || {
        let found = bugle.api().deliveries("").await;
        let ends = ["sent", "suppressed", "failed"];
        let last = found.iter().filter(|one| ends.contains(&one["status"].as_str().unwrap_or_default()));
        if last.count() == count { Ok(found) } else { Err(format!("{} so far", found.len())) }
    })
    .await
}

#[tokio::test]
async fn twenty_events_of_one_incident_at_once_are_one_message_with_the_newest_text() {
    let slack = Slack::start().await;
    let bugle = fleet(&slack, &json!({})).await;
    let wire = bugle.wire().await;
    bugle.kill_9(Role::Worker);
    for n in 0..20 {
        tells(&wire, "i-7", n).await;
    }
    tells(&wire, "i-8", 0).await;
    bugle.start_roles(&[Role::Worker, Role::Worker]).await;
    let all = until_all_are_final(&bugle, 21).await;
    let messages = slack.messages();
    let of = |incident: &str| {
        messages.iter().filter(|message| message.text.contains(incident)).collect::<Vec<_>>()
    };
    assert_eq!((of("i-7").len(), of("i-8").len()), (1, 1), "{messages:#?}");
    assert!(of("i-7")[0].text.contains("step 19."), "{messages:#?}");
    assert_eq!(slack.calls("chat.postMessage"), 2);
    for one in all.iter().filter(|one| one["status"] != "sent") {
        assert_eq!((&one["status"], &one["reason"]), (&json!("suppressed"), &json!("superseded")), "{one:#}");
    }
    assert_eq!(outcome(&bugle, "i-7-19").await["status"], "sent");
}

#[tokio::test]
async fn a_message_that_a_person_deleted_is_posted_anew_and_edited_from_then_on() {
    let slack = Slack::start().await;
    let bugle = fleet(&slack, &json!({})).await;
    let wire = bugle.wire().await;
    tells(&wire, "i-7", 1).await;
    slack.shows("step 1.").await;
    becomes(&bugle, "i-7-1", "sent").await;
    slack.delete_all();
    tells(&wire, "i-7", 2).await;
    let second = slack.shows("step 2.").await;
    becomes(&bugle, "i-7-2", "sent").await;
    tells(&wire, "i-7", 3).await;
    let third = slack.shows("step 3.").await;
    assert_eq!((second.ts, third.edits), (third.ts, 1));
    assert_eq!(slack.messages().len(), 1);
}

#[tokio::test]
async fn an_older_event_that_is_tried_again_does_not_take_the_place_of_a_newer_one() {
    let slack = Slack::start().await;
    slack.script("chat.postMessage", [Instead::Refuse("internal_error")]);
    let bugle = fleet(&slack, &json!({})).await;
    let wire = bugle.wire().await;
    tells(&wire, "i-7", 1).await;
    becomes(&bugle, "i-7-1", "retrying").await;
    tells(&wire, "i-7", 2).await;
    slack.shows("step 2.").await;
    let late = becomes(&bugle, "i-7-1", "suppressed").await;
    assert_eq!(late["reason"], "superseded");
    let messages = slack.messages();
    assert!(messages.len() == 1 && messages[0].text.contains("step 2."), "{messages:#?}");
    assert_eq!(messages[0].edits, 0);
}

#[tokio::test]
async fn who_waits_long_for_another_of_the_same_thing_is_put_off_and_comes_back() {
    let slack = Slack::start().await;
    slack.script("chat.postMessage", [Instead::Hang]);
    let bugle = fleet(&slack, &json!({})).await;
    let wire = bugle.wire().await;
    tells(&wire, "i-7", 1).await;
    eventually("it posts", SOON, async || ensure(slack.calls("chat.postMessage") == 1, "not yet")).await;
    tells(&wire, "i-7", 2).await;
    becomes(&bugle, "i-7-2", "sent").await;
    let worker = bugle.take(Role::Worker).remove(0);
    let (_, metrics) = worker.admin("/metrics").await;
    let postponed = metrics.lines().find(|line| line.contains("postponed_total{why=\"thread\"}"));
    assert!(postponed.is_some_and(|line| !line.ends_with(" 0")), "{postponed:?}");
    assert_eq!(becomes(&bugle, "i-7-1", "suppressed").await["reason"], "superseded");
    assert_eq!(slack.messages().len(), 1);
}

#[tokio::test]
async fn a_worker_killed_before_it_posted_does_not_block_its_incident() {
    let slack = Slack::start().await;
    slack.script("chat.postMessage", [Instead::Hang]);
    let bugle = fleet(&slack, &json!({})).await;
    let wire = bugle.wire().await;
    tells(&wire, "i-7", 1).await;
    eventually("it posts", SOON, async || ensure(slack.calls("chat.postMessage") == 1, "not yet")).await;
    bugle.kill_9(Role::Worker);
    bugle.start_roles(&[Role::Worker]).await;
    tells(&wire, "i-7", 2).await;
    becomes(&bugle, "i-7-2", "sent").await;
    becomes(&bugle, "i-7-1", "suppressed").await;
    let messages = slack.messages();
    assert!(messages.len() == 1 && messages[0].text.contains("step 2."), "{messages:#?}");
}

#[tokio::test]
async fn a_worker_killed_after_it_posted_loses_nothing_and_the_newest_text_is_shown() {
    let slack = Slack::start().await;
    slack.script("chat.postMessage", [Instead::DoAndHang]);
    let bugle = fleet(&slack, &json!({})).await;
    let wire = bugle.wire().await;
    tells(&wire, "i-7", 1).await;
    slack.shows("step 1.").await;
    bugle.kill_9(Role::Worker);
    bugle.start_roles(&[Role::Worker]).await;
    becomes(&bugle, "i-7-1", "sent").await;
    tells(&wire, "i-7", 2).await;
    becomes(&bugle, "i-7-2", "sent").await;
    let messages = slack.messages();
    assert_eq!(messages.len(), 2, "the handle of the first one died with its worker: {messages:#?}");
    assert!(messages[1].text.contains("step 2.") && messages[1].edits == 1, "{messages:#?}");
}

#[tokio::test]
async fn a_dead_letter_that_is_sent_again_takes_its_place_in_the_message() {
    let slack = Slack::start().await;
    let bugle = fleet(&slack, &json!({})).await;
    let wire = bugle.wire().await;
    tells(&wire, "i-7", 1).await;
    becomes(&bugle, "i-7-1", "sent").await;
    slack.script("chat.update", [Instead::Refuse("msg_too_long")]);
    tells(&wire, "i-7", 2).await;
    becomes(&bugle, "i-7-2", "failed").await;
    let number = bugle.buries(1).await[0]["sequence"].to_string();
    bugle.cli(&["dead", "redrive", &number]).await.ok();
    becomes(&bugle, "i-7-2", "sent").await;
    let messages = slack.messages();
    assert!(messages.len() == 1 && messages[0].text.contains("step 2."), "{messages:#?}");
}

#[tokio::test]
async fn in_a_thread_all_is_said_below_one_first_message() {
    let slack = Slack::start().await;
    let bugle = fleet(&slack, &json!({ "updates": "thread" })).await;
    let wire = bugle.wire().await;
    bugle.kill_9(Role::Worker);
    for n in 0..8 {
        tells(&wire, "i-7", n).await;
    }
    bugle.start_roles(&[Role::Worker, Role::Worker]).await;
    until_all_are_final(&bugle, 8).await;
    let messages = slack.messages();
    let first: Vec<_> = messages.iter().filter(|message| message.thread.is_none()).collect();
    assert_eq!((first.len(), messages.len()), (1, 8), "{messages:#?}");
    assert!(
        messages[1..].iter().all(|message| message.thread.as_ref() == Some(&first[0].ts)),
        "{messages:#?}"
    );
    assert_eq!(bugle.api().deliveries("status=sent").await.len(), 8, "an answer supersedes nothing");
}

#[tokio::test]
async fn a_limit_makes_the_incident_wait_and_not_be_said_twice() {
    let slack = Slack::start().await;
    slack.script("chat.postMessage", [Instead::Limit(1)]);
    let bugle = fleet(&slack, &json!({})).await;
    tells(&bugle.wire().await, "i-7", 1).await;
    let sent = becomes(&bugle, "i-7-1", "sent").await;
    assert_eq!(sent["attempts"], 1, "a limit costs no attempt: {sent:#}");
    assert_eq!((slack.messages().len(), slack.calls("chat.postMessage")), (1, 2));
}

#[tokio::test]
async fn files_lie_in_the_thread_and_what_fails_of_them_is_in_the_history() {
    let slack = Slack::start().await;
    let bugle = fleet(&slack, &json!({})).await;
    let wire = bugle.wire().await;
    let files = json!([{ "name": "run.log", "text": "all went well" }]);
    let event = |n: usize| json!({ "incident": "i-7", "n": n, "files": files });
    wire.event("incident:step", "i-7-1", &event(1)).await;
    becomes(&bugle, "i-7-1", "sent").await;
    let (messages, sent) = (slack.messages(), slack.files());
    assert_eq!((sent[0].name.as_str(), sent[0].bytes.as_slice()), ("run.log", b"all went well".as_slice()));
    assert_eq!(sent[0].thread.as_ref(), Some(&messages[0].ts));

    slack.script("files.getUploadURLExternal", [Instead::Refuse("missing_scope")]);
    wire.event("incident:step", "i-7-2", &event(2)).await;
    let noted = becomes(&bugle, "i-7-2", "sent").await;
    let detail = bugle.api().delivery(noted["id"].as_str().unwrap()).await.to_string();
    assert!(detail.contains("1 of 1 files were not sent: Slack answered missing_scope"), "{detail}");

    // Whatever the upload takes, the try ends as sent and is not made again.
    slack.script("files.getUploadURLExternal", [Instead::Hang]);
    wire.event("incident:step", "i-7-3", &event(3)).await;
    becomes(&bugle, "i-7-3", "sent").await;
    steadily("it is sent once", Duration::from_secs(3), async || {
        ensure(slack.calls("chat.update") == 2, "sent again")
    })
    .await;
}
