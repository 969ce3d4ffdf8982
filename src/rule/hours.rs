//! The hours in which a rule is awake: days and times of day by the clocks of one time zone.
//!
//! Only the clock on the wall counts: on the day on which clocks are put forward or back, a window from 09:00 to 17:00
//! still begins when they show nine.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, nearest};

const WINDOWS_MAX: usize = 50;
const DAY_MINUTES: u32 = 24 * 60;

/// As a rule's document has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoursSpec {
    /// An IANA name, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The rule is awake in any of them.
    #[schemars(length(min = 1, max = WINDOWS_MAX))]
    pub windows: Vec<WindowSpec>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// The days on which it begins; all of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(pattern("^(mon|tue|wed|thu|fri|sat|sun)$")))]
    pub days: Option<Vec<String>>,
    /// `HH:MM`.
    #[serde(default = "midnight")]
    pub from: String,
    /// `HH:MM`, up to 24:00. Not later than `from`: it ends on the next day.
    #[serde(default = "next_midnight")]
    pub to: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn midnight() -> String {
    "00:00".to_owned()
}

fn next_midnight() -> String {
    "24:00".to_owned()
}

/// Ready to be asked.
#[derive(Debug)]
pub struct Hours {
    zone: TimeZone,
    windows: Vec<Window>,
}

#[derive(Debug)]
struct Window {
    days: Vec<Weekday>,
    /// Minutes since midnight.
    from: u32,
    to: u32,
}

impl Hours {
    /// # Errors
    /// The place and the fault.
    pub fn compile(spec: &HoursSpec) -> Result<Self, Fault> {
        if spec.windows.is_empty() || spec.windows.len() > WINDOWS_MAX {
            let message = format!("has {} entries: 1 to {WINDOWS_MAX} are allowed", spec.windows.len());
            return Err(Fault::new("/windows", message));
        }
        let unknown = |_| {
            let message = format!(
                "{:?} is no time zone: IANA names such as `Europe/Berlin` or `UTC` are",
                spec.time_zone
            );
            Fault::new("/timeZone", message)
        };
        let zone = TimeZone::get(&spec.time_zone).map_err(unknown)?;
        let windows = spec.windows.iter().enumerate().map(|(index, window)| {
            Window::compile(window).map_err(|fault| fault.below(&format!("/windows/{index}")))
        });
        Ok(Self { zone, windows: windows.collect::<Result<_, _>>()? })
    }

    #[must_use]
    pub fn contain(&self, at: Timestamp) -> bool {
        let local = at.to_zoned(self.zone.clone());
        let (hour, minute) =
            (u32::from(local.hour().unsigned_abs()), u32::from(local.minute().unsigned_abs()));
        let now = hour * 60 + minute;
        self.windows.iter().any(|window| window.contains(local.weekday(), now))
    }
}

impl Window {
    fn compile(spec: &WindowSpec) -> Result<Self, Fault> {
        let days = spec.days.as_deref().map_or_else(|| Ok(DAYS.map(|(_, day)| day).to_vec()), days);
        let days = days.map_err(|fault| fault.below("/days"))?;
        let from = minutes(&spec.from).filter(|minutes| *minutes < DAY_MINUTES);
        let from = from.ok_or_else(|| no_time("/from", &spec.from, "23:59"))?;
        let to = minutes(&spec.to).ok_or_else(|| no_time("/to", &spec.to, "24:00"))?;
        Ok(Self { days, from, to })
    }

    fn contains(&self, today: Weekday, now: u32) -> bool {
        if self.from < self.to {
            return self.days.contains(&today) && (self.from..self.to).contains(&now);
        }
        (self.days.contains(&today) && now >= self.from)
            || (self.days.contains(&today.previous()) && now < self.to)
    }
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// An empty list reads like never, and would have to mean always: it is neither.
fn days(words: &[String]) -> Result<Vec<Weekday>, Fault> {
    if words.is_empty() {
        return Err(Fault::here("is empty: name a day, or leave `days` out for all of them"));
    }
    let days = words.iter().enumerate();
    days.map(|(index, word)| day(word).map_err(|fault| fault.below(&format!("/{index}")))).collect()
}

fn day(word: &str) -> Result<Weekday, Fault> {
    if let Some((_, day)) = DAYS.iter().find(|(name, _)| *name == word) {
        return Ok(*day);
    }
    let names = DAYS.map(|(name, _)| name);
    let meant = nearest(&word.chars().take(3).collect::<String>(), &names);
    let guess = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    Err(Fault::here(format!("{word:?} is no day: {} are{guess}", names.join(", "))))
}

/// From `09:30`; 24:00 is one.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |part: &str| (part.len() == 2).then(|| part.parse::<u32>().ok()).flatten();
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= DAY_MINUTES).then_some(hours * 60 + minutes)
}

fn no_time(place: &str, found: &str, last: &str) -> Fault {
    Fault::new(place, format!("{found:?} is no time of day: 00:00 to {last} are"))
}

#[cfg(test)]
mod tests {
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
}
