//! How far a delivery has come among the devices it is for: who is to be tried next, who was reached, who is left.
//!
//! An attempt is one pass over all of them, in steps that fit a try. Whoever was reached is never tried again; whoever was
//! left is who the next attempt is for.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Device, DeviceKey};
use crate::channel::tally::{Tally, Ticket};
use crate::channel::{Failure, Receipt, SendError};
use crate::outcome::Reason;

/// Devices of one try: five batches of Expo's, within its limit of a second, and quick enough for browsers one by one.
pub const DEVICES_PER_TRY_MAX: usize = 500;
/// When the names of those who are left are so long together, the pass stops: they travel with the delivery. With those of
/// one more try (at most 190 kB), an event's data, its files and its texts that is within the broker's usual 1 MiB.
const LEFT_BYTES_MAX: usize = 128 * 1024;

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reach {
    /// Tried next, before anybody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub todo: Vec<DeviceKey>,
    /// After those: the devices that lie behind this place of the bucket. None: there are no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Those others lie up to this place, where the bucket ended when the first of them were looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Up to this place it is known who moved since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<u64>,
    /// Tried in this attempt, and not reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<DeviceKey>,
    /// Why the last of them was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Reason>,
    #[serde(default)]
    pub reached: u32,
    #[serde(default)]
    pub gone: u32,
    #[serde(default)]
    pub refused: u32,
    /// It had its end already: a provider asked for these devices to be sent to once more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Nothing is to be sent: the provider is to be asked what became of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts: Option<Receipts>,
}

impl Default for Reach {
    /// All devices there are.
    fn default() -> Self {
        Self {
            todo: Vec::new(),
            after: Some(0),
            until: None,
            heard: None,
            left: Vec::new(),
            why: None,
            reached: 0,
            gone: 0,
            refused: 0,
            again: false,
            receipts: None,
        }
    }
}

/// Tickets of a try, and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipts {
    pub tickets: Vec<Ticket>,
    pub sent_at: Timestamp,
    pub after_ms: u64,
    /// How often they were asked for.
    pub asked: u32,
    /// The delivery had its end with this try.
    pub settled: bool,
    /// These are all devices that it reached.
    pub whole: bool,
    pub confirmed: u32,
    pub gone: u32,
    pub refused: u32,
    pub again: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Receipts {
    /// Not asked for, and why: the provider's own words stand, where there are some.
    #[must_use]
    pub fn with_reason(&self, why: &str) -> Self {
        Self { why: self.why.clone().or_else(|| Some(why.to_owned())), ..self.clone() }
    }
}

/// The devices of one try, and what is to be done after them.
pub struct Audience {
    pub devices: Vec<Device>,
    /// Without the devices of the try.
    pub rest: Reach,
}

/// What a try made of it.
pub struct Concluded {
    pub reach: Reach,
    pub result: Result<Receipt, SendError>,
    pub tally: Tally,
    /// The attempt is not over: there are more devices to try, at once.
    pub goes_on: bool,
}

impl Audience {
    /// True when there is nobody at all, and never was.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        let Reach { reached, gone, refused, left, .. } = &self.rest;
        self.devices.is_empty() && !self.rest.has_more() && left.is_empty() && reached + gone + refused == 0
    }

    #[must_use]
    pub fn conclude(&self, result: Result<Receipt, SendError>) -> Concluded {
        let tally = self.tally(&result);
        let mut reach = self.rest.clone();
        reach.reached += tally.reached;
        reach.gone += u32::try_from(tally.gone.len()).unwrap_or(u32::MAX);
        reach.refused += tally.refused;
        let nobody_reached = tally.reached == 0 && !tally.left.is_empty();
        let stops = nobody_reached
            || matches!(result, Err(SendError::RateLimited { .. } | SendError::Ours(_)))
            || written_bytes(reach.left.iter().chain(&tally.left)) > LEFT_BYTES_MAX;
        if let (Err(error), false) = (&result, tally.left.is_empty()) {
            reach.why = Some(error.failure().reason);
        }
        reach.left.extend_from_slice(&tally.left);
        if reach.has_more() && !stops {
            return Concluded { reach, result, tally, goes_on: true };
        }
        let left = std::mem::take(&mut reach.left);
        reach.todo.splice(0..0, left);
        let result = reach.end(result);
        Concluded { reach, result, tally, goes_on: false }
    }

    /// What the adapter says of each device; what it says of none of them, it says of all.
    fn tally(&self, result: &Result<Receipt, SendError>) -> Tally {
        let told = match result {
            Ok(receipt) => receipt.tally.as_deref(),
            Err(error) => error.failure().tally.as_deref(),
        };
        if let Some(told) = told {
            return told.clone();
        }
        let all = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
        match result {
            Ok(_) => Tally { reached: all, ..Tally::default() },
            Err(SendError::Permanent(_)) => Tally { refused: all, ..Tally::default() },
            Err(SendError::Transient { .. } | SendError::RateLimited { .. } | SendError::Ours(_)) => {
                Tally { left: self.devices.iter().map(Device::key).collect(), ..Tally::default() }
            }
        }
    }
}

/// In a message, with quotes and comma.
fn written_bytes<'a>(keys: impl Iterator<Item = &'a DeviceKey>) -> usize {
    keys.map(|key| key.to_string().len() + 3).sum()
}

impl Reach {
    /// Without the names of those who are left: they will never get it.
    #[must_use]
    pub fn without_names(&self) -> Self {
        let lost = u32::try_from(self.todo.len() + self.left.len()).unwrap_or(u32::MAX);
        let refused = self.refused.saturating_add(lost);
        Self { todo: Vec::new(), left: Vec::new(), refused, ..self.clone() }
    }

    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.todo.is_empty() || self.after.is_some()
    }

    /// What the end of an attempt comes to, for all devices together.
    fn end(&self, result: Result<Receipt, SendError>) -> Result<Receipt, SendError> {
        let summary = self.summary();
        if self.has_more() {
            // Of those that are left nobody may have been in the last step.
            let error = match result {
                Err(SendError::Permanent(_)) | Ok(_) => {
                    let detail = "some devices could not be reached";
                    let failure = Failure::new(self.why.unwrap_or(Reason::ProviderError), detail);
                    SendError::Transient { failure, retry_after: None }
                }
                Err(error) => error,
            };
            return Err(error.with_failure(|failure| {
                let detail = match &summary {
                    Some(summary) if self.reached + self.gone + self.refused > 0 => {
                        format!("{summary}; {}", failure.detail)
                    }
                    Some(_) | None => failure.detail.clone(),
                };
                Failure { detail, ..failure }
            }));
        }
        match result {
            _ if self.reached > 0 => {
                let receipt = result.unwrap_or_default();
                Ok(Receipt { note: summary, ..receipt })
            }
            Err(error) => Err(error.with_failure(|failure| {
                let detail = match &summary {
                    Some(summary) if self.gone > 0 => format!("{summary}; {}", failure.detail),
                    Some(_) | None => failure.detail.clone(),
                };
                Failure { detail, ..failure }
            })),
            Ok(_) => {
                let detail = summary.unwrap_or_else(|| "no device is left".to_owned());
                Err(SendError::Permanent(Failure::new(Reason::Gone, detail)))
            }
        }
    }

    /// In words; None when there was one device and it was reached.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let Self { reached, gone, refused, .. } = *self;
        let waiting = u32::try_from(self.todo.len() + self.left.len()).unwrap_or(u32::MAX);
        let all = reached.saturating_add(gone).saturating_add(refused).saturating_add(waiting);
        if all == 0 || (all == 1 && reached == 1) {
            return None;
        }
        Some(counted(reached, all, gone, refused))
    }
}

/// "2 of 3 devices; 1 is gone and was removed".
#[must_use]
pub fn counted(reached: u32, all: u32, gone: u32, refused: u32) -> String {
    let mut text = format!("{reached} of {all} {}", if all == 1 { "device" } else { "devices" });
    // Writing to a String cannot fail.
    match gone {
        0 => {}
        1 => text.push_str("; 1 is gone and was removed"),
        gone => drop(write!(text, "; {gone} are gone and were removed")),
    }
    if refused > 0 {
        write!(text, "; {refused} refused").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Keys, Way};
    use crate::ids::{DeviceId, Recipient};

    fn device(name: &str) -> Device {
        let keys = Keys { p256dh: String::new(), auth: String::new() };
        let way = Way::WebPush { endpoint: name.to_owned(), keys };
        let at = Timestamp::UNIX_EPOCH;
        Device {
            v: 1,
            id: DeviceId::of(name),
            way,
            platform: None,
            device_name: None,
            user: None,
            created_at: at,
            last_seen_at: at,
            moved_from: None,
            revision: 1,
        }
    }

    fn audience(names: &[&str], rest: Reach) -> Audience {
        Audience { devices: names.iter().map(|name| device(name)).collect(), rest }
    }

    fn last() -> Reach {
        Reach { after: None, ..Reach::default() }
    }

    fn transient(tally: Option<Tally>) -> Result<Receipt, SendError> {
        let failure = Failure { tally: tally.map(Box::new), ..Failure::new(Reason::ProviderError, "broken") };
        Err(SendError::Transient { failure, retry_after: None })
    }

    fn keys(names: &[&str]) -> Vec<DeviceKey> {
        names.iter().map(|name| device(name).key()).collect()
    }

    #[test]
    fn the_next_attempt_is_for_those_who_are_left() {
        let tally = Tally { reached: 1, left: keys(&["b"]), gone: keys(&["c"]), ..Tally::default() };
        let concluded = audience(&["a", "b", "c"], last()).conclude(transient(Some(tally)));
        assert!(!concluded.goes_on);
        assert_eq!(concluded.reach.todo, keys(&["b"]));
        let error = concluded.result.unwrap_err();
        assert_eq!(error.failure().detail, "1 of 3 devices; 1 is gone and was removed; broken");
        // And when that one has it, all is told.
        let rest = Reach { todo: Vec::new(), ..concluded.reach };
        let concluded = audience(&["b"], rest).conclude(Ok(Receipt::default()));
        assert_eq!(
            concluded.result.unwrap().note.as_deref(),
            Some("2 of 3 devices; 1 is gone and was removed")
        );
    }

    #[test]
    fn a_step_is_followed_by_the_next_one_and_those_who_are_left_wait_for_the_end_of_the_pass() {
        let rest = Reach { after: Some(7), ..Reach::default() };
        let tally = Tally { reached: 1, left: keys(&["b"]), ..Tally::default() };
        let concluded = audience(&["a", "b"], rest).conclude(transient(Some(tally)));
        assert!(concluded.goes_on);
        assert_eq!((&concluded.reach.left, concluded.reach.after), (&keys(&["b"]), Some(7)));
        let rest = Reach { after: None, ..concluded.reach };
        let concluded = audience(&["c"], rest).conclude(Ok(Receipt::default()));
        assert!(!concluded.goes_on && concluded.reach.todo == keys(&["b"]));
        assert!(matches!(concluded.result, Err(SendError::Transient { .. })));
    }

    #[test]
    fn a_step_that_reached_nobody_ends_the_attempt_where_it_stands() {
        let rest = Reach { after: Some(7), ..Reach::default() };
        let concluded = audience(&["a", "b"], rest).conclude(transient(None));
        assert!(!concluded.goes_on);
        assert_eq!((&concluded.reach.todo, concluded.reach.after), (&keys(&["a", "b"]), Some(7)));
    }

    #[test]
    fn the_pass_stops_before_the_names_of_those_who_are_left_are_too_long_to_travel() {
        let long = |number: usize| DeviceKey {
            user: Some(Recipient::parse(&format!("{number:0>256}")).unwrap()),
            id: DeviceId::of(&number.to_string()),
        };
        let (mut reach, mut steps) = (Reach { after: Some(7), ..Reach::default() }, 0);
        loop {
            let left = (0..DEVICES_PER_TRY_MAX - 1).map(|number| long(steps * 1_000 + number)).collect();
            let tally = Tally { reached: 1, left, ..Tally::default() };
            let concluded = audience(&["a"], reach).conclude(transient(Some(tally)));
            reach = concluded.reach;
            steps += 1;
            if !concluded.goes_on {
                break;
            }
        }
        let bytes = serde_json::to_vec(&reach).unwrap().len();
        assert!((LEFT_BYTES_MAX..330_000).contains(&bytes), "{bytes} bytes after {steps} steps");
        let cut = reach.without_names();
        assert_eq!(
            (cut.summary(), cut.after),
            (reach.summary().map(|all| format!("{all}; 499 refused")), Some(7))
        );
    }

    #[test]
    fn a_device_that_is_gone_after_others_were_reached_does_not_make_a_failure_of_it() {
        let rest = Reach { reached: 2, ..last() };
        let gone = Tally { gone: keys(&["c"]), ..Tally::default() };
        let failure = Failure { tally: Some(Box::new(gone)), ..Failure::new(Reason::Gone, "gone") };
        let concluded = audience(&["c"], rest).conclude(Err(SendError::Permanent(failure)));
        assert!(concluded.result.is_ok());
    }

    #[test]
    fn one_device_needs_no_words() {
        let concluded = audience(&["a"], last()).conclude(Ok(Receipt::default()));
        assert_eq!(concluded.result.unwrap().note, None);
        assert!(audience(&[], last()).is_nobody());
        assert!(!audience(&[], Reach { reached: 1, ..last() }).is_nobody());
    }
}
