//! What processes say in figures: every series is documented and there from the start, and what waits is seen.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Member, Role, everything_to, rule, webhook, with};
use crate::support::database::Database;
use crate::support::sink::{Answer, Sink};
use crate::support::wire::Cable;
use crate::support::{LATER, SOON, ensure, eventually};

/// The value of a series; labels as they are written.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until a member says what is asked of these series.
async fn says(member: &Member, what: &str, series: &[&str], holds: impl Fn(&[f64]) -> bool) {
    eventually(what, LATER, async || {
        let (_, text) = member.admin("/metrics").await;
        let found: Vec<Option<f64>> = series.iter().map(|series| value(&text, series)).collect();
        let all: Option<Vec<f64>> = found.iter().copied().collect();
        ensure(all.is_some_and(|all| holds(&all)), format!("{series:?} are {found:?}"))
    })
    .await;
}

fn member(bugle: &Bugle, role: Role) -> Member {
    bugle.take(role).remove(0)
}

/// The series of a scrape: its name and its labels. Of a histogram, that of its count.
fn series(text: &str) -> BTreeSet<String> {
    let plain = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let names = plain.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    names.filter(|name| ![",le=\"", "{le=\"", "_sum"].iter().any(|part| name.contains(part))).collect()
}

fn name_and_labels(series: &str) -> (String, BTreeSet<String>) {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\""));
    (
        name.strip_suffix("_count").unwrap_or(name).to_owned(),
        labels.map(|(label, _)| label.to_owned()).collect(),
    )
}

/// A row of docs/metrics.md.
struct Documented {
    labels: BTreeSet<String>,
    roles: String,
}

fn documented() -> BTreeMap<String, Documented> {
    let page = format!("{}/docs/metrics.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        // What stands in parentheses are values.
        let mut depth = 0;
        let mut outside = String::new();
        for letter in cells[3].chars() {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            if depth == 0 {
                outside.push(letter);
            }
        }
        let labels = outside.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells[1].trim_matches('`').to_owned(), Documented { labels, roles: cells[4].to_owned() })
    })
    .collect()
}

async fn scrapes(bugle: &Bugle) -> Vec<(String, String)> {
    let all = bugle.ask_all("/metrics").await;
    all.into_iter().map(|(name, _, text)| (name, text)).collect()
}

#[tokio::test]
async fn every_series_is_documented_and_there_before_anything_happens() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    sink.script("/broken", [Answer::Status(500)]);
    let muted = with(rule("cooled", "a:b", "hook"), &json!({ "cooldownMs": 600_000 }));
    let inbox = with(rule("inbox", "a:b", "in_app"), &json!({ "recipients": ["ada"] }));
    bugle
        .start_with(&json!({
            "channels": [webhook("hook", &sink.url("/hook")), webhook("broken", &sink.url("/broken")),
                { "id": "in_app", "kind": "in_app", "config": {} }],
            "rules": [muted, inbox, rule("broken", "a:b", "broken")],
        }))
        .await;
    // What others have to be asked for comes with the first answer.
    let before = eventually("everything is there", SOON, async || {
        let scrapes = scrapes(&bugle).await;
        let has = |name: &str| scrapes.iter().any(|(_, text)| text.contains(name));
        let looked_up = [
            "bugle_lane_oldest_seconds{kind=\"webpush\",lane=\"retry\"}",
            "bugle_events_oldest_seconds",
            "bugle_record_lag_seconds",
            "bugle_database_up",
            "bugle_queue_bytes_max",
        ];
        let missing: Vec<_> = looked_up.into_iter().filter(|name| !has(name)).collect();
        if missing.is_empty() { Ok(scrapes) } else { Err(format!("{missing:?}")) }
    })
    .await;

    let documented = documented();
    let mut found = BTreeSet::new();
    for (role, text) in &before {
        for series in series(text) {
            let (name, labels) = name_and_labels(&series);
            let row = documented.get(&name).unwrap_or_else(|| panic!("docs/metrics.md does not name {name}"));
            assert_eq!(labels, row.labels, "labels of {name}, served by the {role}, and in docs/metrics.md");
            found.insert(name);
        }
    }
    let names: BTreeSet<String> = documented.keys().cloned().collect();
    assert_eq!(names, found, "docs/metrics.md, and what is served");
    for (name, row) in &documented {
        for (role, text) in &before {
            let by = row.roles == "every role" || row.roles.to_lowercase().split(", ").any(|by| by == role);
            assert!(!by || text.contains(name.as_str()), "the {role} does not serve {name}");
        }
    }

    let wire = bugle.wire().await;
    for number in 0..3 {
        wire.event("a:b", &number.to_string(), &json!({})).await;
    }
    bugle.buries(3).await;
    bugle.api().shows(2, "status=suppressed").await;
    bugle.api().get("/v1/nothing").await.expect_problem(404);
    for ((role, text), (_, earlier)) in scrapes(&bugle).await.iter().zip(&before) {
        let new: Vec<String> = series(text).difference(&series(earlier)).cloned().collect();
        assert!(new.is_empty(), "series of the {role} that were not there from the start: {new:?}");
    }
    let router = member(&bugle, Role::Router);
    let counted = ["bugle_events_routed_total", "bugle_events_matched_total", "bugle_rules_fired_total"];
    says(&router, "three events, three rules", &counted, |counted| counted == [3.0, 3.0, 9.0]).await;
}

#[tokio::test]
async fn what_lies_in_a_lane_is_seen_with_the_age_of_its_oldest() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set("WORKER__SLOTS", "2");
    bugle.set("WORKER__CHANNEL_SHARE", "1.0");
    sink.script("/hook", [Answer::Hold]);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    for number in 0..6 {
        wire.event("a:b", &number.to_string(), &json!({})).await;
    }
    let worker = member(&bugle, Role::Worker);
    let lane = [
        r#"bugle_lane_pending_messages{kind="webhook",lane="normal"}"#,
        r#"bugle_lane_in_hand_messages{kind="webhook",lane="normal"}"#,
        r#"bugle_lane_oldest_seconds{kind="webhook",lane="normal"}"#,
    ];
    says(&worker, "two in hand, four behind them", &lane, |seen| seen[..2] == [4.0, 2.0] && seen[2] > 0.0)
        .await;
    says(&worker, "it gets older", &lane[2..], |seen| seen[0] > 6.0).await;
    sink.release();
    says(&worker, "nothing waits", &lane, |seen| seen == [0.0, 0.0, 0.0]).await;
}

#[tokio::test]
async fn events_that_cannot_be_routed_are_seen_with_the_age_of_the_oldest() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let (wire, router) = (bugle.wire().await, member(&bugle, Role::Router));
    wire.refuses("DELIVERIES", true).await;
    wire.event("a:b", "1", &json!({})).await;
    wire.event("a:b", "2", &json!({})).await;
    let waiting = ["bugle_events_pending_messages", "bugle_events_oldest_seconds"];
    says(&router, "two wait", &waiting, |seen| seen[..1] == [2.0] && seen[1] > 0.0).await;
    wire.refuses("DELIVERIES", false).await;
    says(&router, "nothing waits", &waiting, |seen| seen == [0.0, 0.0]).await;
}

#[tokio::test]
async fn a_database_that_is_away_is_seen_and_so_is_what_waits_for_it() {
    let Some(database) = Database::postgres().await else { return };
    let (cable, sink) = (Cable::to(database.address()).await, Sink::start().await);
    let bugle = Bugle::on(NatsServer::shared().await, database);
    bugle.set("DATABASE__URL", &bugle.database.url_through(cable.port));
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let recorder = member(&bugle, Role::Recorder);
    let standing = ["bugle_database_up", "bugle_database_outages_total", "bugle_ready"];
    let lag = ["bugle_record_lag_messages", "bugle_record_lag_seconds"];
    says(&recorder, "all is well", &standing, |seen| seen == [1.0, 0.0, 1.0]).await;
    cable.cut();
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    sink.receives(1, "/hook").await;
    says(&recorder, "the database is away", &standing[..2], |seen| seen == [0.0, 1.0]).await;
    says(&recorder, "a record waits", &lag, |seen| seen[..1] == [1.0] && seen[1] > 0.0).await;
    says(&recorder, "it is not ready", &standing[2..], |seen| seen == [0.0]).await;
    cable.mend();
    says(&recorder, "the database is back", &standing, |seen| seen == [1.0, 1.0, 1.0]).await;
    says(&recorder, "nothing waits", &lag, |seen| seen == [0.0, 0.0]).await;
}
