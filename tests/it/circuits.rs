//! Channels on which nothing works: nobody wastes tries on them, and others take their deliveries.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, Role, rule, webhook, with};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, ensure, eventually, steadily};

fn broken(id: &str, url: &str, more: &Value) -> Value {
    with(with(webhook(id, url), &json!({"retry": {"scheduleMs": vec![1_500; 40]}})), more)
}

async fn events(bugle: &Bugle, name: &str, count: usize) {
    let wire = bugle.wire().await;
    for number in 0..count {
        wire.event("a:b", &format!("{name}-{number}"), &json!({})).await;
    }
}

#[tokio::test]
async fn an_open_circuit_wastes_no_tries_and_one_probe_closes_it_for_everybody() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/dead", [Answer::Status(503)]);
    bugle
        .start_with(&json!({
            "channels": [broken("dead", &sink.url("/dead"), &json!({})), webhook("ops", &sink.url("/ops"))],
            "rules": [rule("all", "a:*", "dead"), rule("ops", "channel:*", "ops")],
        }))
        .await;
    bugle.start_roles(&[Role::Worker]).await;
    events(&bugle, "first", 6).await;
    sink.receives_within(LATER, 1, "/ops").await;
    eventually("every worker knows", LATER, async || {
        let mut all = bugle.ask_all("/metrics").await;
        all.retain(|(name, _, _)| name == Role::Worker.word());
        let know = |text: &str| text.contains(r#"bugle_circuits_open{kind="webhook"} 1"#);
        ensure(all.len() == 2 && all.iter().all(|(_, _, text)| know(text)), "not yet")
    })
    .await;
    // The probe hangs until it is let go: if others were tried beside it, they would come in too.
    sink.script("/dead", [Answer::Hold]);
    let before = sink.requests("/dead").len();
    events(&bugle, "held", 20).await;
    let waiting = bugle.api().shows_within(LATER, 20, "channel=dead&status=scheduled").await;
    let is_told =
        |one: &Value| one["reason"] == "waiting" && one["nextAt"].is_string() && one["attempts"] == 0;
    assert!(waiting.iter().all(is_told), "{waiting:?}");
    steadily("nobody tries", Duration::from_secs(12), async || {
        let found = sink.requests("/dead").len();
        ensure(found == before, format!("{found} requests instead of {before}"))
    })
    .await;
    sink.receives_within(LATER, before + 1, "/dead").await;
    steadily("one probe alone", Duration::from_secs(4), async || {
        let found = sink.requests("/dead").len();
        ensure(found == before + 1, format!("{found} requests instead of {}", before + 1))
    })
    .await;
    sink.release();
    bugle.api().shows_within(LATER, 26, "channel=dead&status=sent").await;
    let said = sink.receives_within(LATER, 2, "/ops").await;
    let types: Vec<Value> = said.iter().map(|request| request.json()["type"].clone()).collect();
    assert_eq!(types, ["channel:unhealthy", "channel:recovered"]);
    // Being held back cost no attempt.
    let sent = bugle.api().deliveries("channel=dead&status=sent").await;
    let held = sent.iter().filter(|delivery| delivery["event"].as_str().unwrap().starts_with("held"));
    assert!(held.clone().count() == 20 && held.clone().all(|delivery| delivery["attempts"] == 1), "{sent:?}");
}

#[tokio::test]
async fn other_settings_of_its_connection_are_worth_a_try_at_once() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/dead", [Answer::Status(503)]);
    let documents = |path: &str| {
        json!({
            "connections": [{ "id": "hooks", "kind": "webhook", "config": { "url": sink.url(path) } }],
            "channels": [{ "id": "ops", "kind": "webhook", "connection": "hooks" }],
            "rules": [rule("all", "a:*", "ops")],
        })
    };
    bugle.start_with(&documents("/dead")).await;
    events(&bugle, "first", 6).await;
    let api = bugle.api();
    eventually("its circuit is open", LATER, async || {
        let circuit = api.get("/v1/notification-channels/ops").await.expect(200)["circuit"].clone();
        ensure(circuit["state"] == "open", circuit.to_string())
    })
    .await;
    let tried = sink.requests("/dead").len();
    bugle.apply(&documents("/mended")).await;
    let began = std::time::Instant::now();
    events(&bugle, "mended", 1).await;
    sink.receives_within(LATER, 1, "/mended").await;
    assert!(began.elapsed() < Duration::from_secs(15), "it waited for its probe");
    assert_eq!(sink.requests("/dead").len(), tried);
}

#[tokio::test]
async fn what_is_given_up_goes_down_the_chain_once_and_the_history_shows_it() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/first", [Answer::Status(302)]);
    sink.script("/second", [Answer::Status(500)]);
    let channel = |id: &str, more: Value| with(webhook(id, &sink.url(&format!("/{id}"))), &more);
    let off = with(webhook("off", &sink.url("/off")), &json!({"enabled": false}));
    bugle
        .start_with(&json!({
            "channels": [channel("first", json!({"fallback": ["off", "second"]})),
                         channel("second", json!({"fallback": ["first", "third"], "retry": {"scheduleMs": [100]}})),
                         channel("third", json!({"fallback": ["first"]})), off],
            "rules": [rule("all", "a:*", "first")],
        }))
        .await;
    events(&bugle, "e", 1).await;
    let api = bugle.api();
    let third = &api.shows_within(LATER, 1, "channel=third&status=sent").await[0];
    let second = api.delivery(third["fallbackOf"].as_str().unwrap()).await;
    let first = api.delivery(second["fallbackOf"].as_str().unwrap()).await;
    assert_eq!((&first["status"], &first["reason"]), (&json!("failed"), &json!("rejected")));
    assert_eq!((&second["status"], &second["reason"]), (&json!("failed"), &json!("provider_error")));
    assert_eq!(first["fallbackOf"], Value::Null);
    assert!(first["detail"].as_str().unwrap().ends_with("; handed to second"), "{first}");
    assert!(second["detail"].as_str().unwrap().ends_with("; handed to third"), "{second}");
    let id = first["id"].as_str().unwrap();
    let down = api.deliveries(&format!("fallbackOf={id}")).await;
    assert_eq!((down.len(), &down[0]["id"]), (1, &second["id"]));
    assert_eq!((sink.requests("/third").len(), sink.requests("/first").len()), (1, 1));
    assert!(sink.requests("/off").is_empty());
    // What was given up is kept, and says where it went. Sent again it fails again, and stands for itself.
    let letters = bugle.buries(2).await;
    let letter = letters.iter().find(|letter| letter["delivery"]["channel"] == "first").unwrap();
    assert!(letter["detail"].as_str().unwrap().contains("handed to second"), "{letter}");
    bugle.cli(&["dead", "redrive", &letter["sequence"].to_string()]).await.ok();
    api.shows_within(LATER, 2, "channel=third&status=sent").await;
    // The end of a chain stays given up.
    sink.script("/third", [Answer::Status(302)]);
    events(&bugle, "again", 1).await;
    let ended = &api.shows_within(LATER, 1, "channel=third&status=failed").await[0];
    assert!(!ended["detail"].as_str().unwrap().contains("handed"), "{ended}");
}

#[tokio::test]
async fn who_waited_long_enough_for_an_open_circuit_goes_to_the_fallback() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/dead", [Answer::Status(503)]);
    let fallback = json!({"fallback": ["other"], "fallbackAfterMs": 3_000});
    bugle
        .start_with(&json!({
            "channels": [broken("dead", &sink.url("/dead"), &fallback), webhook("other", &sink.url("/other"))],
            "rules": [rule("all", "a:*", "dead")],
        }))
        .await;
    events(&bugle, "e", 5).await;
    let api = bugle.api();
    let gone = api.shows_within(LATER, 5, "channel=dead&status=suppressed").await;
    assert!(gone.iter().all(|delivery| delivery["reason"] == "failed_over"), "{gone:?}");
    assert!(gone[0]["detail"].as_str().unwrap().contains("handed to other"), "{gone:?}");
    let tried = sink.requests("/dead").len();
    // One that comes now waits as long as it may, and is not tried.
    events(&bugle, "later", 1).await;
    api.shows_within(LATER, 6, "channel=other&status=sent").await;
    assert!(sink.requests("/dead").len() <= tried + 1, "at most a probe");
    assert_eq!(sink.counts("/other").values().copied().collect::<Vec<_>>(), [1; 6]);
    assert!(bugle.dead_letters().await.is_empty());
    // Somebody mended it: the next one is tried at once, and not when the next probe would be due.
    sink.script("/dead", [Answer::Status(200)]);
    bugle
        .apply(&json!({
            "channels": [broken("dead", &sink.url("/dead"), &with(fallback, &json!({"timeoutMs": 5_000}))),
                         webhook("other", &sink.url("/other"))],
            "rules": [rule("all", "a:*", "dead")],
        }))
        .await;
    events(&bugle, "mended", 1).await;
    let mended = &api.shows_within(LATER, 1, "channel=dead&status=sent").await[0];
    assert_eq!((&mended["event"], &mended["attempts"]), (&json!("mended-0"), &json!(1)));
}

#[tokio::test]
async fn a_test_that_arrives_closes_the_circuit() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/dead", [Answer::Status(503)]);
    let documents = json!({"channels": [broken("dead", &sink.url("/dead"), &json!({}))], "rules": [rule("all", "a:*", "dead")]});
    bugle.start_with(&documents).await;
    events(&bugle, "e", 5).await;
    let api = bugle.api();
    let becomes = async |state: &str| {
        eventually(&format!("its circuit is {state}"), LATER, async || {
            let shown = api.get("/v1/notification-channels/dead").await.expect(200);
            ensure(shown["circuit"]["state"] == state, format!("{shown:#}"))
        })
        .await;
    };
    becomes("open").await;
    // One that fails is no reason to close it.
    api.post("/v1/notification-channels/dead/test", &json!({})).await.expect_problem(502);
    becomes("open").await;
    sink.script("/dead", [Answer::Status(200)]);
    assert_eq!(api.post("/v1/notification-channels/dead/test", &json!({})).await.expect(200)["ok"], true);
    // The next probe is half a minute away.
    let shown = api.get("/v1/notification-channels/dead").await.expect(200);
    assert_eq!(shown["circuit"]["state"], "closed", "{shown:#}");
    events(&bugle, "later", 1).await;
    api.shows(1, "channel=dead&status=sent&event=later-0").await;
}

#[tokio::test]
async fn a_fallback_that_does_not_exist_is_refused() {
    let bugle = Bugle::new().await;
    bugle.start().await;
    let documents = json!({"channels": [{"id": "a", "kind": "console", "fallback": ["b"]}, {"id": "bb", "kind": "console"}]});
    let said = bugle.apply_as("f", &documents).await;
    assert_ne!(said.code, 0, "{said:?}");
    assert!(format!("{said:?}").contains("/channels/0/fallback/0: there is no channel b"), "{said:?}");
}
