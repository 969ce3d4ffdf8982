//! Rules that an event brings along.

use serde_json::{Value, json};

use super::{fleet, put};
use crate::support::bugle::{rule, webhook, with};
use crate::support::sink::Sink;
use crate::support::wire::Wire;
use crate::support::{SOON, ensure, eventually};

async fn publish(wire: &Wire, source: &str, id: &str, data: &Value) {
    let event =
        json!({ "specversion": "1.0", "type": "task:transition", "source": source, "id": id, "data": data });
    let id = format!("default/{source}/{id}");
    wire.put(&wire.subject("events.default.task.transition"), &[("Nats-Msg-Id", &id)], event.to_string())
        .await;
}

/// Channels `hook` and `own`, a rule for all events to `hook`, and the opt-in of the events of `polpo`.
async fn carrying() -> (crate::support::bugle::Bugle, Sink, Wire) {
    let (bugle, sink, wire) = fleet(&json!([])).await;
    bugle.apply_as("own", &json!({ "channels": [webhook("own", &sink.url("/own"))] })).await.ok();
    put(&bugle.api(), "polpo", &json!({ "events": { "source": "polpo" }, "carriesRules": true })).await;
    let mut number = 0;
    let probe = json!({ "notifications": { "rules": [rule("probe", "task:*", "own")] } });
    eventually("the router follows", SOON, async || {
        number += 1;
        publish(&wire, "polpo", &format!("probe-{number}"), &probe).await;
        crate::support::pause(std::time::Duration::from_millis(100)).await;
        ensure(!sink.requests("/own").is_empty(), "not yet")
    })
    .await;
    (bugle, sink, wire)
}

fn of(sink: &Sink, path: &str, event: &str) -> usize {
    sink.requests(path).iter().filter(|request| request.json()["event"]["id"] == event).count()
}

#[tokio::test]
async fn rules_of_an_event_take_the_place_of_all_others_or_add_to_them_where_its_source_may_bring_some() {
    let (bugle, sink, wire) = carrying().await;
    let own = |inherit: bool| json!({ "notifications": { "rules": [rule("mine", "task:*", "own")], "inherit": inherit } });
    let other = json!({ "notifications": { "rules": [rule("mine", "mission:*", "own")] } });
    publish(&wire, "polpo", "alone", &own(false)).await;
    publish(&wire, "polpo", "both", &own(true)).await;
    publish(&wire, "polpo", "unmatched", &other).await;
    publish(&wire, "elsewhere", "plain", &own(false)).await;
    eventually("each went its way", SOON, async || {
        let found: Vec<(usize, usize)> = ["alone", "both", "unmatched", "plain"]
            .iter()
            .map(|event| (of(&sink, "/own", event), of(&sink, "/hook", event)))
            .collect();
        ensure(found == [(1, 0), (1, 1), (0, 1), (0, 1)], format!("{found:?}"))
    })
    .await;
    let shown = bugle.api().shows(1, "event=alone").await;
    assert_eq!((&shown[0]["scope"], &shown[0]["rule"]), (&json!("event"), &json!("mine")), "{shown:#?}");

    let ask = async |source: &str| {
        let event = json!({ "type": "task:transition", "source": source, "data": own(false) });
        bugle.api().post("/v1/rules/evaluate", &json!({ "event": event })).await.expect(200)
    };
    let judged = ask("polpo").await;
    assert_eq!(
        (&judged["scopes"], &judged["rules"][0]["scope"]),
        (&json!(["event"]), &json!("event")),
        "{judged:#}"
    );
    assert_eq!(judged["rules"][1]["decidedBy"], "event", "{judged:#}");
    assert_eq!(ask("elsewhere").await["scopes"], json!([]));
}

#[tokio::test]
async fn a_brought_rule_that_is_not_valid_is_kept_with_its_place_and_the_others_count() {
    let (bugle, sink, wire) = carrying().await;
    let broken = with(
        rule("broken", "task:*", "own"),
        &json!({ "condition": { "field": "a", "op": "near", "value": 1 } }),
    );
    let data = json!({ "notifications": { "rules": [broken, rule("mine", "task:*", "own")] } });
    publish(&wire, "polpo", "mixed", &data).await;
    let letters = bugle.buries(1).await;
    assert_eq!(letters[0]["reason"], "invalid_rule", "{letters:#?}");
    assert!(
        letters[0]["detail"].as_str().unwrap().contains("at /data/notifications/rules/0/condition/op"),
        "{letters:#?}"
    );
    eventually("the other rule counts", SOON, async || {
        ensure((of(&sink, "/own", "mixed"), of(&sink, "/hook", "mixed")) == (1, 0), "not yet")
    })
    .await;
    let said = bugle.cli(&["explain", "mixed"]).await.ok();
    assert!(said.contains("does not count: at /data/notifications/rules/0/condition/op: "), "{said}");
    let said: Value = serde_json::from_str(&bugle.cli(&["explain", "mixed", "--json"]).await.ok()).unwrap();
    assert_eq!(said["invalid"][0]["pointer"], "/data/notifications/rules/0/condition/op", "{said:#}");
    let event = json!({ "type": "task:transition", "source": "polpo", "data": { "notifications": { "rules": [1] } } });
    let said = bugle.api().post("/v1/rules/evaluate", &json!({ "event": event })).await.expect(200);
    assert_eq!(said["invalid"][0]["pointer"], "/data/notifications/rules/0", "{said:#}");
    let refused = bugle.cli(&["dead", "redrive", &letters[0]["sequence"].to_string()]).await;
    assert!(refused.code == 1 && refused.stdout.contains("its other rules"), "{refused:?}");

    let many: Vec<Value> = (0..21).map(|number| rule(&format!("r{number}"), "task:*", "own")).collect();
    publish(&wire, "polpo", "many", &json!({ "notifications": { "rules": many } })).await;
    eventually("the workspace's rules count", SOON, async || {
        ensure(of(&sink, "/hook", "many") == 1, "not yet")
    })
    .await;
    assert_eq!(of(&sink, "/own", "many"), 0);
    bugle.buries(2).await;
}

#[tokio::test]
async fn what_comes_through_a_source_brings_rules_by_that_source_alone() {
    let (bugle, sink, _) = carrying().await;
    let api = bugle.api();
    let secret = "a-secret-of-the-tests";
    for (id, carries) in [("may", true), ("maynot", false)] {
        let source =
            json!({ "format": "cloudevents", "http": { "secret": secret }, "carriesRules": carries });
        put(&api, id, &source).await;
    }
    for (to, event) in [("may", "through"), ("maynot", "forged")] {
        let body = json!({ "specversion": "1.0", "type": "task:transition", "source": "polpo", "id": event,
            "data": { "notifications": { "rules": [rule("mine", "task:*", "own")] } } });
        eventually("it arrives", SOON, async || {
            let request =
                bugle.api_as(secret).request("POST", &format!("/v1/sources/{to}")).body(body.to_string());
            crate::support::api::reply(request).await.expect(202);
            ensure(of(&sink, "/own", event) + of(&sink, "/hook", event) > 0, "not yet")
        })
        .await;
    }
    assert_eq!((of(&sink, "/own", "through"), of(&sink, "/hook", "through")), (1, 0));
    assert_eq!((of(&sink, "/own", "forged"), of(&sink, "/hook", "forged")), (0, 1));
}
