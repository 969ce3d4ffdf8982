//! Which row counts, until when it is quiet, and what passes all the same.

use serde_json::{Value, json};

use super::*;
use crate::documents::strict;

const NOON: &str = "2026-11-27T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn read(more: &Value) -> Result<PreferencesSpec, Fault> {
    let mut value = json!({"recipient": "ann"});
    for (name, field) in more.as_object().unwrap() {
        value[name] = field.clone();
    }
    checked(strict(value)?, at(NOON))
}

fn preferences(more: &Value) -> Preferences {
    Preferences::of(&read(more).unwrap())
}

fn facts(event_type: &str) -> Facts<'_> {
    let (kind, severity) = (Kind::Email, Severity::Info);
    Facts { event_type, project: Some("p"), kind, severity, mandatory: false }
}

fn hold(until: &str, reason: Reason) -> Judgement {
    Judgement::Hold(Hold { until: at(until), reason })
}

#[test]
fn of_the_rows_that_fit_the_most_specific_one_counts() {
    // From the least specific to the most: each one is put beside those before it and turns them round.
    let ladder = [
        json!({}),
        json!({"channel": "email"}),
        json!({"project": "p"}),
        json!({"project": "p", "channel": "email"}),
        json!({"type": "a.b"}),
        json!({"type": "a:b", "channel": "email"}),
        json!({"type": "a:b", "project": "p"}),
        json!({"type": "a:b", "project": "p", "channel": "email"}),
    ];
    let mut rows: Vec<Value> = Vec::new();
    for (step, row) in ladder.iter().enumerate() {
        let mut row = row.clone();
        row["enabled"] = json!(step % 2 == 1);
        rows.insert(step / 2, row);
        let judged =
            preferences(&json!({ "preferences": rows })).judge(&TimeZone::UTC, &facts("a:b"), at(NOON));
        assert_eq!(matches!(judged, Judgement::Muted(_)), step % 2 == 0, "{rows:?}: {judged:?}");
    }
}

#[test]
fn a_row_for_others_mutes_nothing() {
    for row in [
        json!({"type": "a:c", "enabled": false}),
        json!({"project": "q", "enabled": false}),
        json!({"channel": "slack", "enabled": false}),
        json!({"type": "a:b", "project": "q", "channel": "email", "enabled": false}),
    ] {
        let preferences = preferences(&json!({ "preferences": [row] }));
        assert_eq!(preferences.judge(&TimeZone::UTC, &facts("a:b"), at(NOON)), Judgement::Pass, "{row}");
    }
    let of_a_project = preferences(&json!({"preferences": [{"project": "p", "enabled": false}]}));
    let without = Facts { project: None, ..facts("a:b") };
    assert_eq!(of_a_project.judge(&TimeZone::UTC, &without, at(NOON)), Judgement::Pass);
    let all = preferences(&json!({"preferences": [{"enabled": false}]}));
    let Judgement::Muted(row) = all.judge(&TimeZone::UTC, &without, at(NOON)) else { panic!() };
    assert_eq!(row.to_string(), "muted by the recipient: type *, project all, channel *");
}

#[test]
fn quiet_hours_hold_until_they_end_by_the_clock_of_their_own_zone_or_the_recipients() {
    let night = json!({"windows": [{"from": "22:00", "to": "07:00"}]});
    let mut in_tokyo = night.clone();
    in_tokyo["timeZone"] = json!("Asia/Tokyo");
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let judge = |hours: &Value, now: &str| {
        preferences(&json!({ "quietHours": hours })).judge(&berlin, &facts("a:b"), at(now))
    };
    assert_eq!(judge(&night, "2026-11-27T22:30:00Z"), hold("2026-11-28T06:00:00Z", Reason::QuietHours));
    assert_eq!(judge(&night, NOON), Judgement::Pass);
    assert_eq!(judge(&in_tokyo, "2026-11-27T13:00:00Z"), hold("2026-11-27T22:00:00Z", Reason::QuietHours));
    assert_eq!(judge(&in_tokyo, "2026-11-27T22:30:00Z"), Judgement::Pass);
    assert!(preferences(&json!({ "quietHours": night })).needs_zone());
    assert!(!preferences(&json!({ "quietHours": in_tokyo })).needs_zone());
}

#[test]
fn quiet_are_the_kinds_that_it_names_and_what_is_critical_passes_unless_it_says_otherwise() {
    let hours = |more: Value| {
        let mut hours = json!({"windows": [{"from": "11:00", "to": "13:00"}]});
        for (name, value) in more.as_object().unwrap() {
            hours[name] = value.clone();
        }
        preferences(&json!({ "quietHours": hours }))
    };
    let quiet = hold("2026-11-27T13:00:00Z", Reason::QuietHours);
    let critical = Facts { severity: Severity::Critical, ..facts("a:b") };
    let judge =
        |preferences: &Preferences, facts: &Facts<'_>| preferences.judge(&TimeZone::UTC, facts, at(NOON));
    assert_eq!(judge(&hours(json!({})), &facts("a:b")), quiet);
    assert_eq!(judge(&hours(json!({})), &critical), Judgement::Pass);
    assert_eq!(judge(&hours(json!({"allowCritical": false})), &critical), quiet);
    assert_eq!(judge(&hours(json!({"channels": ["slack"]})), &facts("a:b")), Judgement::Pass);
    assert_eq!(judge(&hours(json!({"channels": ["slack", "email"]})), &facts("a:b")), quiet);
}

#[test]
fn a_snooze_holds_until_its_moment_and_into_the_quiet_hours_behind_it() {
    let judge = |more: Value, now: &str| preferences(&more).judge(&TimeZone::UTC, &facts("a:b"), at(now));
    let snoozed = json!({"snoozedUntil": "2026-11-27T13:00:00Z"});
    assert_eq!(judge(snoozed.clone(), NOON), hold("2026-11-27T13:00:00Z", Reason::Snoozed));
    assert_eq!(judge(snoozed, "2026-11-27T13:00:00Z"), Judgement::Pass);
    let both = json!({
        "snoozedUntil": "2026-11-27T23:00:00Z", "quietHours": {"windows": [{"from": "22:00", "to": "07:00"}]},
    });
    assert_eq!(judge(both, NOON), hold("2026-11-28T07:00:00Z", Reason::Snoozed));
    let only_mail = json!({"snoozedUntil": "2026-11-27T13:00:00Z", "snooze": {"channels": ["slack"]}});
    assert_eq!(judge(only_mail, NOON), Judgement::Pass);
    let critical = Facts { severity: Severity::Critical, ..facts("a:b") };
    for (snooze, passes) in [(json!({}), true), (json!({"allowCritical": false}), false)] {
        let preferences = preferences(&json!({"snoozedUntil": "2026-11-27T13:00:00Z", "snooze": snooze}));
        let judged = preferences.judge(&TimeZone::UTC, &critical, at(NOON));
        assert_eq!(judged == Judgement::Pass, passes, "{judged:?}");
    }
}

#[test]
fn what_is_mandatory_passes_everything() {
    let deaf = preferences(&json!({
        "preferences": [{"enabled": false}],
        "quietHours": {"windows": [{"from": "11:00", "to": "13:00"}], "allowCritical": false},
        "snoozedUntil": "2026-11-28T00:00:00Z",
    }));
    let mandatory = Facts { mandatory: true, ..facts("a:b") };
    assert_eq!(deaf.judge(&TimeZone::UTC, &mandatory, at(NOON)), Judgement::Pass);
    assert!(matches!(deaf.judge(&TimeZone::UTC, &facts("a:b"), at(NOON)), Judgement::Muted(_)));
}

#[test]
fn one_row_is_set_beside_the_others_or_in_the_place_of_the_one_for_the_same() {
    let row = |row: Value| strict::<PreferenceSpec>(row).unwrap();
    let spec = read(&json!({"preferences": [{"type": "a:b", "enabled": false}]})).unwrap();
    let spec = with_row(spec, row(json!({"type": "a.b", "enabled": true}))).unwrap();
    let spec = with_row(spec, row(json!({"type": "a.b", "channel": "email", "enabled": false}))).unwrap();
    let rows = serde_json::to_value(&spec.preferences).unwrap();
    let expected = json!([
        {"type": "a:b", "channel": "*", "enabled": true}, {"type": "a:b", "channel": "email", "enabled": false}
    ]);
    assert_eq!(rows, expected);
    let fault = with_row(spec, row(json!({"channel": "pigeon", "enabled": false}))).unwrap_err();
    assert_eq!(fault.pointer, "/channel");
}

#[test]
fn faults_name_their_place() {
    let many: Vec<Value> =
        (0..=ROWS_MAX).map(|index| json!({"type": format!("t{index}"), "enabled": true})).collect();
    for (more, place, word) in [
        (json!({"recipient": "*"}), "/recipient", "everybody"),
        (json!({"preferences": [{"type": "a:*", "enabled": true}]}), "/preferences/0/type", "* for all"),
        (
            json!({"preferences": [{"project": "", "enabled": true}]}),
            "/preferences/0/project",
            "leave it out",
        ),
        (json!({"preferences": [{"channel": "pigeon", "enabled": true}]}), "/preferences/0/channel", "slack"),
        (json!({"preferences": [{"type": "a:b"}]}), "/preferences/0/enabled", "missing"),
        (json!({"preferences": [{"enabled": true, "kind": "email"}]}), "/preferences/0/kind", "kind"),
        (
            json!({"preferences": [{"type": "a:b", "enabled": true}, {"type": "a.b", "enabled": false}]}),
            "/preferences/1",
            "twice",
        ),
        (json!({"preferences": many}), "/preferences", "500"),
        (json!({"quietHours": {"windows": []}}), "/quietHours/windows", "0 entries"),
        (json!({"quietHours": {"windows": [{}]}}), "/quietHours/windows", "never end"),
        (json!({"quietHours": {"windows": [{"from": "9:00"}]}}), "/quietHours/windows/0/from", "9:00"),
        (
            json!({"quietHours": {"timeZone": "Berlin", "windows": [{"to": "07:00"}]}}),
            "/quietHours/timeZone",
            "Europe/Berlin",
        ),
        (
            json!({"quietHours": {"windows": [{"to": "07:00"}], "channels": []}}),
            "/quietHours/channels",
            "leave it out",
        ),
        (
            json!({"quietHours": {"windows": [{"to": "07:00"}], "channels": ["fax"]}}),
            "/quietHours/channels/0",
            "fax",
        ),
        (json!({"snooze": {"channels": ["fax"]}}), "/snooze/channels/0", "fax"),
        (json!({"snoozedUntil": "2028-01-01T00:00:00Z"}), "/snoozedUntil", "a year"),
    ] {
        let fault = read(&more).unwrap_err();
        assert_eq!(fault.pointer, place, "{fault}");
        assert!(fault.message.contains(word), "{fault}");
    }
}

#[test]
fn what_a_newer_version_wrote_counts_as_far_as_it_is_known() {
    let spec: PreferencesSpec = serde_json::from_value(json!({
        "recipient": "ann", "beyond": 1,
        "preferences": [{"channel": "hologram", "enabled": false}, {"type": "a:b", "enabled": false}],
        "quietHours": {"timeZone": "Moon/Base", "windows": [{"from": "11:00", "to": "13:00"}]},
    }))
    .unwrap();
    let preferences = Preferences::of(&spec);
    assert!(matches!(preferences.judge(&TimeZone::UTC, &facts("a:b"), at(NOON)), Judgement::Muted(_)));
    assert_eq!(preferences.judge(&TimeZone::UTC, &facts("a:c"), at(NOON)), Judgement::Pass);
}

#[test]
fn every_example_of_the_page_is_one() {
    let page = include_str!("../../docs/preferences.md");
    let bodies: Vec<Value> = page
        .split(" -d '")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split_once('\'').unwrap().0).unwrap())
        .collect();
    assert_eq!(bodies.len(), 4, "{bodies:?}");
    for body in bodies {
        let is_row = body.get("enabled").is_some();
        let row = || with_row(read(&json!({})).unwrap(), strict(body.clone()).unwrap());
        let fault = if is_row { row().err() } else { read(&body).err() };
        // Null takes a field away, in a patch.
        assert!(fault.is_none() || body["snoozedUntil"].is_null(), "{body}: {fault:?}");
    }
}
