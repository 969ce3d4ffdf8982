//! The dashboards and the alerts, by a real Prometheus that scrapes a real fleet.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::api::token;
use crate::support::bugle::{Bugle, Role, rule, webhook, with};
use crate::support::prometheus::{Prometheus, programs};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, eventually};

/// Find nothing while all is well, whatever they are compared with.
const EMPTY: &[&str] = &[
    // It asks for what is absent.
    "BugleRoleGone",
];

fn config(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(path)
}

/// Every query of a dashboard, with the title of its panel.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let mut found = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let variables = [("$__rate_interval", "15s"), ("$__range", "5m"), ("$kind", ".*")];
            let query = variables
                .iter()
                .fold(expression.to_owned(), |query, (variable, value)| query.replace(variable, value));
            assert!(!query.contains('$'), "a variable that the test does not know: {query}");
            found.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    found
}

fn dashboards() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(config("grafana/dashboards")).unwrap();
    let mut found: Vec<(String, Value)> = files
        .map(|file| {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap())
        })
        .collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

/// A comparison finds only what it holds for; with `bool` it finds everything, and says 0 or 1.
fn whatever_it_says(expression: &str) -> String {
    [" > ", " < ", " == "].iter().fold(expression.to_owned(), |expression, comparison| {
        expression.replace(comparison, &format!("{comparison}bool "))
    })
}

/// A fleet through which something has gone: sent, suppressed, given up, put into an inbox that is followed.
async fn fleet(sink: &Sink) -> Bugle {
    let bugle = Bugle::new().await;
    sink.script("/broken", [Answer::Status(500)]);
    let cooled = with(rule("cooled", "a:b", "hook"), &json!({ "cooldownMs": 600_000 }));
    let urgent = with(rule("urgent", "a:b", "hook"), &json!({ "severity": "critical" }));
    let inbox = with(rule("inbox", "a:b", "in_app"), &json!({ "recipients": ["ada"] }));
    bugle
        .start_with(&json!({
            "channels": [webhook("hook", &sink.url("/hook")), webhook("broken", &sink.url("/broken")),
                { "id": "in_app", "kind": "in_app", "config": {} }],
            "rules": [cooled, urgent, inbox, rule("broken", "a:b", "broken")],
        }))
        .await;
    bugle
}

#[tokio::test]
async fn every_query_of_the_dashboards_and_of_the_alerts_finds_something_in_a_fleet_and_wakes_nobody() {
    let Some(programs) = programs() else { return };
    let sink = Sink::start().await;
    let bugle = fleet(&sink).await;
    let members: Vec<_> = Role::ALL.iter().flat_map(|role| bugle.take(*role)).collect();
    let targets: Vec<String> =
        members.iter().map(|member| format!("127.0.0.1:{}", member.admin_port)).collect();
    members.into_iter().for_each(|member| bugle.adopt(member));
    let prometheus = Prometheus::start(&programs, &targets, &config("prometheus/alerts.yml")).await;

    let ada = token(&bugle, "agent", &json!({ "recipient": "ada" })).await;
    let mut followed = ada.stream("/v1/notifications/stream", None).await;
    let wire = bugle.wire().await;
    for number in 0..5 {
        wire.event("a:b", &number.to_string(), &json!({})).await;
    }
    followed.next(LATER).await.expect("the inbox is told");
    bugle.buries(5).await;
    bugle.api().shows(4, "status=suppressed").await;

    for (name, dashboard) in dashboards() {
        for (panel, query) in queries(&dashboard) {
            finds(&prometheus, &format!("{name}: {panel}"), &query).await;
        }
    }
    let known = [
        "sum(bugle_outcomes_total{state=\"sent\"}) == 11",
        "sum(bugle_events_matched_total) == 5",
        "sum(bugle_outcomes_total{state=\"suppressed\", reason=\"cooldown\"}) == 4",
        "sum(bugle_dead_letters_total{reason=\"provider_error\"}) == 5",
        "sum(bugle_streams_open{stream=\"inbox\"}) == 1",
        "sum(bugle_ready) == 4",
    ];
    for query in known {
        finds(&prometheus, "what happened", query).await;
    }

    let rules = eventually("every alert was evaluated", LATER, async || {
        let answer = prometheus.get("rules").await?;
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        let unknown = rules.iter().any(|rule| rule["health"] == "unknown");
        if unknown || rules.is_empty() { Err(format!("{rules:?}")) } else { Ok(rules) }
    })
    .await;
    for rule in &rules {
        let name = rule["name"].as_str().unwrap();
        assert_eq!(rule["health"], "ok", "{rule:#}");
        let wakes = rule["labels"]["severity"] == "page" && rule["state"] == "firing";
        assert!(!wakes, "{name} wakes somebody while all is well: {rule:#}");
        if !EMPTY.contains(&name) {
            finds(&prometheus, name, &whatever_it_says(rule["query"].as_str().unwrap())).await;
        }
    }
}

async fn finds(prometheus: &Prometheus, what: &str, query: &str) {
    eventually(&format!("{what}: {query}"), LATER, async || {
        let found = prometheus.query(query).await?;
        if found.is_empty() { Err("it finds nothing".to_owned()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn the_alerts_fire_when_they_should_and_are_quiet_when_they_should() {
    let Some(programs) = programs() else { return };
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ] {
        let mut command = tokio::process::Command::new(programs.join("promtool"));
        let output = command.args(arguments).current_dir(config("prometheus")).output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn the_dashboards_have_fixed_names_and_say_what_their_panels_show() {
    let dashboards = dashboards();
    let mut uids: Vec<&str> = dashboards.iter().map(|(_, board)| board["uid"].as_str().unwrap()).collect();
    uids.sort_unstable();
    assert_eq!(uids, ["bugle-channel", "bugle-fleet", "bugle-inbox", "bugle-overview"]);
    for (name, dashboard) in &dashboards {
        for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().unwrap();
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {title}");
            let unit = &panel["fieldConfig"]["defaults"]["unit"];
            assert!(panel["type"] == "table" || unit.is_string(), "{name}: {title} has no unit");
        }
    }
}
