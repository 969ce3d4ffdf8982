//! Sources: events that come from elsewhere. Subjects and streams of others, webhooks, and what their messages become.
//!
//! Pure, but for [`intake`] and [`loops`]: a message and its source make events or faults, with no broker, clock or
//! environment. Not to be confused with an event's `source`, which is who says that it happened.

pub mod alertmanager;
pub mod book;
pub mod intake;
pub mod loops;
pub mod map;
pub mod secrets;
pub mod signature;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::secret::Lookup;
use crate::event::Severity;
use crate::ids::{SourceId, WorkspaceId};
use crate::rule::fault::Fault;
use crate::secrets::{KeyRing, seal};
use map::{Map, MapSpec};
use secrets::{Keys, Sealed};

const SUBJECTS_MAX: usize = 50;
const SUBJECT_BYTES_MAX: usize = 255;
const SECRETS_MAX: usize = 10;
const WORKSPACES_MAX: usize = 100;
const WORDS_MAX: usize = 100;
const KEEP_DAYS_MAX: u64 = 365;
/// An alert that goes on is a new event after this long, unless the source says otherwise.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);
/// Below, the broker's own memory of message ids would decide.
const REPEAT_AFTER_MS_MIN: u64 = 120_000;
const REPEAT_AFTER_MS_MAX: u64 = 365 * 24 * 3600 * 1000;

/// A source's document, as files, the API and the bucket hold it. It has one of `nats`, `http` and `events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceSpec {
    pub id: SourceId,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Messages of NATS, on subjects or a stream of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats: Option<NatsSpec>,
    /// Webhooks, at `POST /v1/sources/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// Events that are published to Bugle itself, by their CloudEvents source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventsSpec>,
    /// How what comes is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// What it becomes, where that is not what its format makes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<MapSpec>,
    /// Severities of the sender's own words, before those that are known anyway. Case does not count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = WORDS_MAX))]
    pub severities: BTreeMap<String, Severity>,
    /// The workspaces that `map.workspace` may choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = WORKSPACES_MAX))]
    pub workspaces: Vec<WorkspaceId>,
    /// For `alertmanager`: an alert that is sent again in the same state is a new event after this long. Default an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = REPEAT_AFTER_MS_MIN, max = REPEAT_AFTER_MS_MAX))]
    pub repeat_after_ms: Option<u64>,
    /// Its events may bring rules of their own, in `notifications` of their data.
    #[serde(default, skip_serializing_if = "is_false")]
    pub carries_rules: bool,
}

impl SourceSpec {
    /// True when it reaches beyond one workspace: subjects belong to none, and a list of workspaces is several.
    #[must_use]
    pub fn needs_every_workspace(&self) -> bool {
        self.nats.is_some() || !self.workspaces.is_empty()
    }
}

/// `subjects` alone: Bugle makes a stream for them. With `stream`: those of an existing stream, all where none are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NatsSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = SUBJECT_BYTES_MAX))]
    pub stream: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = SUBJECTS_MAX), inner(length(min = 1, max = SUBJECT_BYTES_MAX)))]
    pub subjects: Vec<String>,
    /// Where in an existing stream to begin, when it is attached for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Begin>,
    /// How long the stream that Bugle makes keeps messages. As long as events are kept where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = KEEP_DAYS_MAX))]
    pub keep_days: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSpec {
    /// What the sender proves to know: see [`signature`]. May hold `${VAR}` and `${VAR:-default}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Sealed>,
    /// The same, several while one takes the place of another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = SECRETS_MAX))]
    pub secrets: Vec<Sealed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventsSpec {
    /// The `source` that the events have.
    #[schemars(length(min = 1, max = 1024))]
    pub source: String,
}

crate::outcome::words! {
    /// Where in a stream to begin.
    Begin {
        /// With what comes from now on.
        New = "new",
        /// With the oldest message that it holds.
        All = "all",
    }
}

crate::outcome::words! {
    /// How a message is read.
    Format {
        /// Any JSON object.
        Json = "json",
        /// A CloudEvent in JSON, structured or with its attributes in headers.
        CloudEvents = "cloudevents",
        /// What Prometheus' Alertmanager posts, version 4.
        Alertmanager = "alertmanager",
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A source ready to be asked.
#[derive(Debug)]
pub struct Source {
    pub workspace: WorkspaceId,
    pub spec: SourceSpec,
    pub format: Format,
    pub map: Map,
    pub repeat_after: Duration,
    /// The secrets of a webhook, once they were read; why they could not be.
    pub keys: Option<Result<Keys, Fault>>,
}

impl Source {
    /// # Errors
    /// The place and the fault.
    pub fn compile(workspace: &WorkspaceId, spec: &SourceSpec) -> Result<Self, Fault> {
        check_way(spec)?;
        let map = Map::compile(spec).map_err(|fault| fault.below("/map"))?;
        if spec.workspaces.len() > WORKSPACES_MAX {
            return Err(Fault::new("/workspaces", format!("at most {WORKSPACES_MAX} are allowed")));
        }
        if spec.severities.len() > WORDS_MAX {
            return Err(Fault::new("/severities", format!("at most {WORDS_MAX} are allowed")));
        }
        Ok(Self {
            workspace: workspace.clone(),
            format: spec.format.unwrap_or(Format::Json),
            map,
            repeat_after: spec.repeat_after_ms.map_or(REPEAT_AFTER, Duration::from_millis),
            keys: None,
            spec: spec.clone(),
        })
    }

    /// The same with the secrets that its document and the environment come to.
    #[must_use]
    pub fn with_keys(self, lookup: Lookup<'_>, ring: &KeyRing) -> Self {
        let unseal = |text: &str| seal::open(ring, &self.workspace, text);
        let keys = self.spec.http.as_ref().map(|http| Keys::open(http, lookup, &unseal));
        Self { keys: keys.map(|keys| keys.map_err(|fault| fault.below("/http"))), ..self }
    }

    /// `<workspace>/<id>`: it names the source where one of all workspaces is meant.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.workspace, self.spec.id)
    }

    /// True when messages of NATS are to be read for it.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.spec.enabled && self.spec.nats.is_some()
    }
}

fn check_way(spec: &SourceSpec) -> Result<(), Fault> {
    let ways = [spec.nats.is_some(), spec.http.is_some(), spec.events.is_some()];
    if ways.into_iter().filter(|way| *way).count() != 1 {
        return Err(Fault::here("needs one of `nats`, `http` and `events`, and no second one"));
    }
    if let Some(nats) = &spec.nats {
        check_nats(nats).map_err(|fault| fault.below("/nats"))?;
    }
    if let Some(http) = &spec.http {
        secrets::check(http).map_err(|fault| fault.below("/http"))?;
    }
    if spec.events.is_some() {
        check_events(spec)?;
    }
    match (spec.repeat_after_ms, spec.format) {
        (None, _) => Ok(()),
        (Some(ms), Some(Format::Alertmanager)) => {
            range("/repeatAfterMs", ms, REPEAT_AFTER_MS_MIN, REPEAT_AFTER_MS_MAX)
        }
        (Some(_), _) => Err(Fault::new("/repeatAfterMs", "is for `format: alertmanager` alone")),
    }
}

/// Events that are there already are read and mapped by nobody.
fn check_events(spec: &SourceSpec) -> Result<(), Fault> {
    let unused = [
        ("/format", spec.format.is_some()),
        ("/map", spec.map.is_some()),
        ("/severities", !spec.severities.is_empty()),
        ("/workspaces", !spec.workspaces.is_empty()),
    ];
    if let Some((place, _)) = unused.into_iter().find(|(_, used)| *used) {
        return Err(Fault::new(place, "is not for `events`: they are published as they are to be"));
    }
    if spec.events.as_ref().is_some_and(|events| events.source.is_empty()) {
        return Err(Fault::new("/events/source", "is empty"));
    }
    if !spec.carries_rules {
        return Err(Fault::new("/carriesRules", "must be true beside `events`: it would say nothing else"));
    }
    Ok(())
}

fn check_nats(nats: &NatsSpec) -> Result<(), Fault> {
    if nats.subjects.len() > SUBJECTS_MAX {
        return Err(Fault::new("/subjects", format!("at most {SUBJECTS_MAX} are allowed")));
    }
    for (index, subject) in nats.subjects.iter().enumerate() {
        check_subject(subject).map_err(|message| Fault::new(format!("/subjects/{index}"), message))?;
    }
    match &nats.stream {
        Some(stream) if !is_stream_name(stream) => {
            Err(Fault::new("/stream", "is no name of a stream: no white space, `.`, `*`, `>`, `/` and `\\`"))
        }
        Some(_) if nats.keep_days.is_some() => Err(Fault::new(
            "/keepDays",
            "is for the stream that Bugle makes: an existing one is left as it is",
        )),
        None if nats.subjects.is_empty() => Err(Fault::here("needs `subjects`, or an existing `stream`")),
        None if nats.from.is_some() => Err(Fault::new(
            "/from",
            "is for an existing `stream`: the one that Bugle makes is read from its beginning",
        )),
        Some(_) | None => match nats.keep_days {
            Some(days) => range("/keepDays", days, 1, KEEP_DAYS_MAX),
            None => Ok(()),
        },
    }
}

fn range(place: &str, found: u64, min: u64, max: u64) -> Result<(), Fault> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(Fault::new(place, format!("{found} is out of range: {min} to {max}")))
}

fn is_stream_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
    !name.is_empty() && name.len() <= SUBJECT_BYTES_MAX && !name.contains(forbidden)
}

/// Tokens joined by dots; `*` is a token and `>` the last one.
fn check_subject(subject: &str) -> Result<(), &'static str> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let last = tokens.len() - 1;
    let legal = |(index, token): (usize, &&str)| match *token {
        "" => false,
        "*" => true,
        ">" => index == last,
        token => !token.contains(|c: char| c.is_whitespace() || c.is_control() || c == '*' || c == '>'),
    };
    if subject.len() > SUBJECT_BYTES_MAX || !tokens.iter().enumerate().all(legal) {
        return Err(
            "is no subject: tokens joined by `.`, such as `orders.created`, `orders.*` or `orders.>`",
        );
    }
    if subject.starts_with('$') || subject.starts_with("_INBOX") {
        return Err("belongs to the broker itself");
    }
    if matches!(tokens[0], ">" | "*") {
        return Err("must begin with a word: what matches every subject would take Bugle's own");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
