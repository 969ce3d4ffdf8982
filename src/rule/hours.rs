//! The hours in which a rule is awake: days and times of day by the clocks of one time zone.
//!
//! Only the clock on the wall counts: on the day on which clocks are put forward or back, a window from 09:00 to 17:00
//! still begins when they show nine.

use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, nearest};

const WINDOWS_MAX: usize = 50;
const DAY_MINUTES: u32 = 24 * 60;
/// Windows repeat each week. One week's end may be skipped, with the hour in which a clock is put forward; not that of two.
const LOOK_AHEAD_DAYS: i64 = 21;
const LOOK_AHEAD: SignedDuration = SignedDuration::from_hours(LOOK_AHEAD_DAYS * 24);

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
    windows: Windows,
}

/// Windows on the wall, whatever zone's clock hangs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

#[derive(Debug, Clone, PartialEq, Eq)]
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
        let windows = Windows::compile(&spec.windows)?;
        Ok(Self { zone: zone(&spec.time_zone).map_err(|fault| fault.below("/timeZone"))?, windows })
    }

    #[must_use]
    pub fn contain(&self, at: Timestamp) -> bool {
        self.windows.contain(at, &self.zone)
    }
}

/// The zone of an IANA name.
///
/// # Errors
/// When there is none.
pub fn zone(name: &str) -> Result<TimeZone, Fault> {
    let unknown =
        |_| Fault::here(format!("{name:?} is no time zone: IANA names such as `Europe/Berlin` or `UTC` are"));
    TimeZone::get(name).map_err(unknown)
}

impl Windows {
    /// # Errors
    /// The place and the fault, relative to what holds the windows.
    pub fn compile(specs: &[WindowSpec]) -> Result<Self, Fault> {
        if specs.is_empty() || specs.len() > WINDOWS_MAX {
            let message = format!("has {} entries: 1 to {WINDOWS_MAX} are allowed", specs.len());
            return Err(Fault::new("/windows", message));
        }
        let windows = specs.iter().enumerate().map(|(index, window)| {
            Window::compile(window).map_err(|fault| fault.below(&format!("/windows/{index}")))
        });
        windows.collect::<Result<_, _>>().map(Self)
    }

    #[must_use]
    pub fn contain(&self, at: Timestamp, zone: &TimeZone) -> bool {
        let local = at.to_zoned(zone.clone());
        let (hour, minute) =
            (u32::from(local.hour().unsigned_abs()), u32::from(local.minute().unsigned_abs()));
        let now = hour * 60 + minute;
        self.0.iter().any(|window| window.contains(local.weekday(), now))
    }

    /// True when no minute of a week lies outside of them.
    #[must_use]
    pub fn never_end(&self) -> bool {
        let outside = |day: Weekday| {
            (0..DAY_MINUTES).any(|minute| !self.0.iter().any(|window| window.contains(day, minute)))
        };
        !DAYS.iter().any(|(_, day)| outside(*day))
    }

    /// The first moment behind this one that lies in none of them. Only the ends of windows and the changes of clocks can be
    /// one. None: there is none within three weeks, so that they [never end](Self::never_end).
    #[must_use]
    pub fn end(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let last = at.checked_add(LOOK_AHEAD).ok()?;
        let changes =
            zone.following(at).map(|change| change.timestamp()).take_while(|change| *change <= last);
        let mut moments: Vec<Timestamp> = changes.collect();
        let mut ends: Vec<u32> = self.0.iter().map(|window| window.to % DAY_MINUTES).collect();
        ends.sort_unstable();
        ends.dedup();
        let mut day = at.to_zoned(zone.clone()).date();
        for _ in 0..=LOOK_AHEAD_DAYS {
            moments.extend(ends.iter().flat_map(|minutes| on_the_wall(day, *minutes, zone)));
            day = day.tomorrow().ok()?;
        }
        moments.retain(|moment| *moment > at);
        moments.sort_unstable();
        moments.into_iter().find(|moment| !self.contain(*moment, zone))
    }
}

/// The moments at which the clock shows that: none when it is put forward over it, two when it is put back.
fn on_the_wall(day: Date, minutes: u32, zone: &TimeZone) -> impl Iterator<Item = Timestamp> + use<> {
    let (hour, minute) = (i8::try_from(minutes / 60), i8::try_from(minutes % 60));
    let time = hour.ok().zip(minute.ok()).map(|(hour, minute)| day.at(hour, minute, 0, 0));
    let offsets = time.map(|time| match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
        AmbiguousOffset::Gap { .. } => [None, None],
        AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
    });
    let offsets = offsets.into_iter().flatten().flatten();
    offsets.filter_map(move |offset| offset.to_timestamp(time?).ok())
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
mod tests;
