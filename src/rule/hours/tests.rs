//! When windows are open, and when they end, on the days on which clocks change too.

use serde_json::json;

use super::*;

fn hours(spec: serde_json::Value) -> Result<Hours, Fault> {
    Hours::compile(&serde_json::from_value(spec).unwrap())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_working_day_begins_when_the_clock_on_the_wall_says_so_in_winter_and_in_summer() {
    let office = json!({"timeZone": "Europe/Berlin", "windows":
        [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:30"}]});
    let office = hours(office).unwrap();
    // Friday and Monday around the last Sunday of March 2026, when an hour is left out.
    assert!(office.contain(at("2026-03-27T08:00:00Z")) && !office.contain(at("2026-03-27T07:59:59Z")));
    assert!(office.contain(at("2026-03-30T07:00:00Z")) && !office.contain(at("2026-03-30T06:59:59Z")));
    assert!(office.contain(at("2026-03-30T15:29:59Z")) && !office.contain(at("2026-03-30T15:30:00Z")));
    assert!(!office.contain(at("2026-03-28T10:00:00Z")), "a Saturday");
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins() {
    let night = hours(json!({"windows": [{"days": ["fri"], "from": "22:00", "to": "06:00"}]})).unwrap();
    for (moment, awake) in [
        ("2026-11-20T21:59:00Z", false),
        ("2026-11-20T22:00:00Z", true),
        ("2026-11-21T05:59:00Z", true),
        ("2026-11-21T06:00:00Z", false),
        ("2026-11-21T22:30:00Z", false),
    ] {
        assert_eq!(night.contain(at(moment)), awake, "{moment}");
    }
}

#[test]
fn an_hour_that_comes_twice_is_twice_in_its_window() {
    let hour = json!({"timeZone": "Europe/Berlin", "windows": [{"from": "02:00", "to": "03:00"}]});
    let hour = hours(hour).unwrap();
    assert!(hour.contain(at("2026-10-25T00:30:00Z")) && hour.contain(at("2026-10-25T01:30:00Z")));
    assert!(!hour.contain(at("2026-10-25T02:30:00Z")));
}

#[test]
fn whole_days_need_no_times() {
    let weekend = hours(json!({"windows": [{"days": ["sat", "sun"]}]})).unwrap();
    assert!(weekend.contain(at("2026-11-21T23:59:59Z")) && weekend.contain(at("2026-11-22T00:00:00Z")));
    assert!(!weekend.contain(at("2026-11-23T00:00:00Z")));
}

#[test]
fn faults_name_their_place_and_what_was_meant() {
    for (spec, place, word) in [
        (json!({"windows": []}), "/windows", "0 entries"),
        (json!({"timeZone": "Berlin", "windows": [{}]}), "/timeZone", "Berlin"),
        (json!({"windows": [{"days": []}]}), "/windows/0/days", "leave `days` out"),
        (json!({"windows": [{"days": ["Monday"]}]}), "/windows/0/days/0", "did you mean mon?"),
        (json!({"windows": [{"from": "24:00"}]}), "/windows/0/from", "23:59"),
        (json!({"windows": [{"from": "9:00"}]}), "/windows/0/from", "9:00"),
        (json!({"windows": [{"to": "24:01"}]}), "/windows/0/to", "24:00"),
    ] {
        let fault = hours(spec).unwrap_err();
        assert_eq!(fault.pointer, place, "{fault}");
        assert!(fault.message.contains(word), "{fault}");
    }
}

fn windows(spec: serde_json::Value) -> Windows {
    let specs: Vec<WindowSpec> = serde_json::from_value(spec).unwrap();
    Windows::compile(&specs).unwrap()
}

/// Zone, windows, moment, and when they end after it.
fn ends(cases: &[(&str, &serde_json::Value, &str, &str)]) {
    for (name, spec, from, end) in cases {
        let (zone, windows) = (zone(name).unwrap(), windows((*spec).clone()));
        assert!(windows.contain(at(from), &zone), "{name} {spec} {from}");
        assert_eq!(windows.end(at(from), &zone), Some(at(end)), "{name} {spec} {from}");
    }
}

#[test]
fn a_night_ends_when_the_clock_on_the_wall_says_so_whatever_was_done_to_it_meanwhile() {
    let night = json!([{"from": "22:00", "to": "07:00"}]);
    ends(&[
        ("Europe/Berlin", &night, "2026-11-27T22:00:00Z", "2026-11-28T06:00:00Z"),
        ("Europe/Berlin", &night, "2026-11-28T05:59:59.999Z", "2026-11-28T06:00:00Z"),
        // An hour shorter, and an hour longer.
        ("Europe/Berlin", &night, "2026-03-28T21:30:00Z", "2026-03-29T05:00:00Z"),
        ("Europe/Berlin", &night, "2026-10-24T20:30:00Z", "2026-10-25T06:00:00Z"),
        ("America/New_York", &night, "2026-03-08T04:00:00Z", "2026-03-08T11:00:00Z"),
        ("America/New_York", &night, "2026-11-01T03:00:00Z", "2026-11-01T12:00:00Z"),
        // Half an hour.
        ("Australia/Lord_Howe", &night, "2026-10-03T12:00:00Z", "2026-10-03T20:00:00Z"),
        ("Australia/Lord_Howe", &night, "2026-04-04T12:00:00Z", "2026-04-04T20:30:00Z"),
        ("UTC", &night, "2026-11-27T23:00:00Z", "2026-11-28T07:00:00Z"),
    ]);
}

#[test]
fn an_end_that_the_clock_skips_is_when_it_is_put_forward_and_one_that_it_shows_twice_the_first() {
    ends(&[
        // 02:30 does not come: at 02:00 it is 03:00.
        (
            "Europe/Berlin",
            &json!([{"from": "22:00", "to": "02:30"}]),
            "2026-03-29T00:10:00Z",
            "2026-03-29T01:00:00Z",
        ),
        (
            "America/New_York",
            &json!([{"from": "22:00", "to": "02:30"}]),
            "2026-03-08T06:10:00Z",
            "2026-03-08T07:00:00Z",
        ),
        (
            "Australia/Lord_Howe",
            &json!([{"from": "22:00", "to": "02:15"}]),
            "2026-10-03T15:00:00Z",
            "2026-10-03T15:30:00Z",
        ),
        // 02:30 comes at 00:30 and at 01:30: quiet until the first, and once more from 02:00 to the second.
        (
            "Europe/Berlin",
            &json!([{"from": "22:00", "to": "02:30"}]),
            "2026-10-24T23:00:00Z",
            "2026-10-25T00:30:00Z",
        ),
        (
            "Europe/Berlin",
            &json!([{"from": "22:00", "to": "02:30"}]),
            "2026-10-25T01:10:00Z",
            "2026-10-25T01:30:00Z",
        ),
        (
            "America/New_York",
            &json!([{"from": "22:00", "to": "01:30"}]),
            "2026-11-01T05:10:00Z",
            "2026-11-01T05:30:00Z",
        ),
        (
            "America/New_York",
            &json!([{"from": "22:00", "to": "01:30"}]),
            "2026-11-01T06:10:00Z",
            "2026-11-01T06:30:00Z",
        ),
        (
            "Australia/Lord_Howe",
            &json!([{"from": "22:00", "to": "01:45"}]),
            "2026-04-04T14:00:00Z",
            "2026-04-04T14:45:00Z",
        ),
        (
            "Australia/Lord_Howe",
            &json!([{"from": "22:00", "to": "01:45"}]),
            "2026-04-04T15:10:00Z",
            "2026-04-04T15:15:00Z",
        ),
        // An hour that comes twice is quiet twice, without a break.
        (
            "Europe/Berlin",
            &json!([{"from": "02:00", "to": "03:00"}]),
            "2026-10-25T00:10:00Z",
            "2026-10-25T02:00:00Z",
        ),
    ]);
}

#[test]
fn windows_that_overlap_or_touch_end_together() {
    let week = json!([
        {"days": ["sat", "sun"]},
        {"days": ["fri"], "from": "17:00", "to": "24:00"},
        {"from": "22:00", "to": "07:00"},
        {"days": ["mon"], "from": "06:30", "to": "08:00"},
    ]);
    ends(&[
        ("UTC", &week, "2026-11-27T17:00:00Z", "2026-11-30T08:00:00Z"),
        ("UTC", &week, "2026-11-26T23:00:00Z", "2026-11-27T07:00:00Z"),
        (
            "UTC",
            &json!([{"from": "10:00", "to": "12:00"}, {"from": "12:00", "to": "13:00"}]),
            "2026-11-27T10:30:00Z",
            "2026-11-27T13:00:00Z",
        ),
    ]);
}

#[test]
fn windows_without_a_minute_outside_never_end() {
    for all in [
        json!([{}]),
        json!([{"from": "08:00", "to": "08:00"}]),
        json!([{"from": "08:00", "to": "20:00"}, {"from": "19:00", "to": "08:00"}]),
        json!([{"days": ["mon", "tue", "wed", "thu", "fri"]}, {"days": ["sat", "sun"]}]),
    ] {
        let windows = windows(all.clone());
        assert!(windows.never_end(), "{all}");
        assert_eq!(windows.end(at("2026-11-27T10:00:00Z"), &TimeZone::UTC), None);
    }
    let but_a_minute = windows(json!([{"from": "00:01", "to": "24:00"}]));
    assert!(!but_a_minute.never_end());
    assert_eq!(
        but_a_minute.end(at("2026-11-27T10:00:00Z"), &TimeZone::UTC),
        Some(at("2026-11-28T00:00:00Z"))
    );
}

#[test]
fn an_only_pause_that_the_clock_skips_is_the_one_of_the_next_week() {
    let but_an_hour = json!([
        {"days": ["mon", "tue", "wed", "thu", "fri", "sat"]},
        {"days": ["sun"], "to": "02:00"},
        {"days": ["sun"], "from": "03:00"},
    ]);
    ends(&[("Europe/Berlin", &but_an_hour, "2026-03-28T12:00:00Z", "2026-04-05T00:00:00Z")]);
}
