//! Which dead letters are meant: one filter for the API, the command line, lists, redrives and their dry runs.
//!
//! Every part is set by its name and a text, in all three places, so that all three refuse the same.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::letters::Letter;
use crate::channel::Kind;
use crate::documents::kinds;
use crate::ids::{ChannelId, Recipient, RuleId, WorkspaceId};
use crate::jobs::moment;
use crate::outcome::{Fault, Reason};
use crate::rule::fault::unknown_word;
use crate::rule::pattern::Pattern;

/// What the parts are called, but for `workspace`, which is a matter of who asks.
pub const PARTS: [&str; 9] =
    ["channel", "kind", "reason", "fault", "rule", "eventType", "recipient", "since", "until"];

/// Everything that is set must hold. What asks of a delivery holds for no message that is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
    /// A pattern, as rules have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    /// Given up at or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Given up before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Only these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<u64>,
}

impl Filter {
    /// Sets one of [`PARTS`].
    ///
    /// # Errors
    /// A sentence about the text, or that there is no such part.
    pub fn set(&mut self, part: &str, text: &str, now: Timestamp) -> Result<(), String> {
        let id = |error: crate::ids::IdError| error.to_string();
        match part {
            "channel" => self.channel = Some(ChannelId::parse(text).map_err(id)?),
            "kind" => {
                let unknown = || format!("{text:?} is none of {}", kinds());
                self.kind = Some(Kind::parse(text).ok_or_else(unknown)?);
            }
            "reason" => {
                let known: Vec<&str> = failures().map(Reason::as_str).collect();
                let found = failures().find(|reason| reason.as_str() == text);
                self.reason = Some(found.ok_or_else(|| unknown_word(text, &known))?);
            }
            "fault" => {
                let known: Vec<&str> = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
                self.fault = Some(Fault::parse(text).ok_or_else(|| unknown_word(text, &known))?);
            }
            "rule" => self.rule = Some(RuleId::parse(text).map_err(id)?),
            "eventType" => {
                let pattern = Pattern::parse(text).map_err(|error| error.to_string())?;
                self.event_type = Some(pattern.as_str().to_owned());
            }
            "recipient" => self.recipient = Some(Recipient::parse(text).map_err(id)?),
            "since" => self.since = Some(moment::parse(text, now)?),
            "until" => self.until = Some(moment::parse(text, now)?),
            other => return Err(format!("unknown filter {other}: known are {}", PARTS.join(", "))),
        }
        Ok(())
    }

    /// A filter to hold letters against.
    #[must_use]
    pub fn compiled(&self) -> Compiled<'_> {
        // What was parsed once parses again.
        let pattern = self.event_type.as_deref().and_then(|text| Pattern::parse(text).ok());
        Compiled { filter: self, pattern }
    }
}

fn failures() -> impl Iterator<Item = Reason> {
    Reason::ALL.iter().copied().filter(|reason| reason.fault().is_some())
}

/// A filter with its pattern.
#[derive(Debug)]
pub struct Compiled<'a> {
    filter: &'a Filter,
    pattern: Option<Pattern>,
}

impl Compiled<'_> {
    #[must_use]
    pub fn holds(&self, letter: &Letter) -> bool {
        let Filter {
            workspace, channel, kind, reason, fault, rule, recipient, since, until, numbers, ..
        } = self.filter;
        let of_letter = workspace.as_ref().is_none_or(|wanted| letter.workspace.as_ref() == Some(wanted))
            && reason.is_none_or(|wanted| letter.reason == wanted.as_str())
            && fault.is_none_or(|wanted| letter.fault == Some(wanted))
            && since.is_none_or(|since| letter.at >= since)
            && until.is_none_or(|until| letter.at < until)
            && (numbers.is_empty() || numbers.contains(&letter.sequence));
        let asks_of_delivery = channel.is_some()
            || kind.is_some()
            || rule.is_some()
            || self.pattern.is_some()
            || recipient.is_some();
        let Some(delivery) = letter.delivery.as_ref() else { return of_letter && !asks_of_delivery };
        of_letter
            && channel.as_ref().is_none_or(|wanted| delivery.channel == *wanted)
            && kind.is_none_or(|wanted| delivery.kind == Some(wanted))
            && rule.as_ref().is_none_or(|wanted| delivery.rule.as_ref() == Some(wanted))
            && recipient.as_ref().is_none_or(|wanted| delivery.recipient.as_ref() == Some(wanted))
            && self.pattern.as_ref().is_none_or(|wanted| wanted.matches(delivery.event.event_type.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_set_by_its_name_and_a_bad_text_is_refused() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let good = ["hook", "webhook", "rejected", "recipient", "r1", "task.*", "ann", "2h", "now"];
        let mut filter = Filter::default();
        for (part, text) in PARTS.iter().zip(good) {
            filter.set(part, text, now).unwrap_or_else(|error| panic!("{part}: {error}"));
        }
        assert_eq!(filter.event_type.as_deref(), Some("task:*"));
        assert_eq!(filter.since.unwrap().to_string(), "2026-01-01T22:00:00Z");
        let bad = ["a b", "fax", "accepted", "nobody", "a.b", "a::b", "", "yesterday", "-"];
        for (part, text) in PARTS.iter().zip(bad) {
            assert!(Filter::default().set(part, text, now).is_err(), "{part} took {text:?}");
        }
        assert!(Filter::default().set("colour", "red", now).is_err());
        let stored = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&stored).unwrap(), filter);
    }
}
