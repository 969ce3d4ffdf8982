//! Every subject, stream, bucket and durable name, built in this one file and all behind the installation's prefix.
//!
//! Recipients and other free text never enter a subject as they are: they are encoded here.

mod asked;
mod devices;
mod inbox;
mod pace;

use crate::channel::Kind;
use crate::delivery::{Delivery, Lane};
use crate::ids::{ChannelId, ConnectionId, DeliveryId, Recipient, SourceId, WorkspaceId, digest};
use crate::outcome::Outcome;

/// The token that stands where a workspace, kind or channel is not known.
const UNKNOWN: &str = "_";

/// The names of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// # Errors
    /// When the prefix is not `[a-z0-9_-]{1,32}`.
    pub fn new(prefix: &str) -> Result<Self, String> {
        let legal =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        if prefix.is_empty() || prefix.len() > 32 || !prefix.bytes().all(legal) {
            return Err(format!("nats.prefix {prefix:?} is not valid: 1 to 32 of a-z, 0-9, _ and -"));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    // === streams and buckets ===

    #[must_use]
    pub fn stream(&self, stream: StreamName) -> String {
        format!("{}_{}", self.prefix.to_uppercase(), stream.as_str())
    }

    #[must_use]
    pub fn config_bucket(&self) -> String {
        format!("{}_CONFIG", self.prefix.to_uppercase())
    }

    #[must_use]
    pub fn people_bucket(&self) -> String {
        format!("{}_PEOPLE", self.prefix.to_uppercase())
    }

    #[must_use]
    pub fn jobs_bucket(&self) -> String {
        format!("{}_JOBS", self.prefix.to_uppercase())
    }

    /// The key of a job in its bucket.
    #[must_use]
    pub fn job(workspace: Option<&WorkspaceId>, id: &str) -> String {
        format!("{}.{id}", workspace.map_or(UNKNOWN, WorkspaceId::as_str))
    }

    /// The stream that Bugle makes for the subjects of a source. Neither part of its name can hold the `=` between them.
    #[must_use]
    pub fn source_stream(&self, workspace: &WorkspaceId, source: &SourceId) -> String {
        format!("{}_SOURCE_{workspace}={source}", self.prefix.to_uppercase())
    }

    /// The durable consumer of a source, on whatever stream.
    #[must_use]
    pub fn source_durable(&self, workspace: &WorkspaceId, source: &SourceId) -> String {
        format!("{}-source-{workspace}={source}", self.prefix)
    }

    /// True for the streams and buckets of this installation: reading them as a source would feed Bugle with itself.
    #[must_use]
    pub fn is_own_stream(&self, stream: &str) -> bool {
        let head = format!("{}_", self.prefix.to_uppercase());
        stream.strip_prefix("KV_").unwrap_or(stream).starts_with(&head)
    }

    #[must_use]
    pub fn is_own_subject(&self, subject: &str) -> bool {
        subject.split('.').next() == Some(self.prefix.as_str())
    }

    /// Where nobody ever listens: a request there is answered by the server, as soon as it has read so far.
    #[must_use]
    pub fn nobody(&self) -> String {
        format!("{}.nobody", self.prefix)
    }

    /// The stream's subjects.
    #[must_use]
    pub fn subjects_of(&self, stream: StreamName) -> Vec<String> {
        let heads: &[&str] = match stream {
            StreamName::Events => &["events"],
            StreamName::Deliveries => &["deliveries", "later"],
            StreamName::Records => &["outcomes", "inbox"],
            StreamName::Dead => &["dead"],
            StreamName::Throttle => &["throttle"],
            StreamName::Counts => &["counts"],
            StreamName::Pace => &["pace"],
            StreamName::Receipts => &["receipts"],
        };
        heads.iter().map(|head| format!("{}.{head}.>", self.prefix)).collect()
    }

    // === events ===

    /// Where events of a type are published.
    #[must_use]
    pub fn event(&self, workspace: &WorkspaceId, event_type: &str) -> String {
        format!("{}.events.{workspace}.{}", self.prefix, event_type.replace(':', "."))
    }

    /// Events of one workspace or of all, on the subject of one type or on all. A producer of CloudEvents may publish a type on
    /// another subject than its own.
    #[must_use]
    pub fn event_filter(&self, workspace: Option<&WorkspaceId>, event_type: Option<&str>) -> String {
        let workspace = workspace.map_or("*", WorkspaceId::as_str);
        let event_type = event_type.map_or_else(|| ">".to_owned(), |text| text.replace(':', "."));
        format!("{}.events.{workspace}.{event_type}", self.prefix)
    }

    /// The workspace and the type that an event's subject says, both unchecked.
    #[must_use]
    pub fn event_parts<'a>(&self, subject: &'a str) -> Option<(&'a str, Option<&'a str>)> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix(".events.")?;
        Some(
            rest.split_once('.')
                .map_or((rest, None), |(workspace, event_type)| (workspace, Some(event_type))),
        )
    }

    // === deliveries ===

    /// The queue that a delivery belongs in now.
    #[must_use]
    pub fn delivery(&self, delivery: &Delivery) -> String {
        let Delivery { workspace, channel, .. } = delivery;
        let kind = delivery.kind.map_or(UNKNOWN, Kind::as_str);
        format!("{}.deliveries.{kind}.{}.{workspace}.{channel}", self.prefix, delivery.lane().as_str())
    }

    #[must_use]
    pub fn delivery_filter(&self, kind: Kind, lane: Lane) -> String {
        format!("{}.deliveries.{kind}.{}.>", self.prefix, lane.as_str())
    }

    /// All deliveries that are to be sent now.
    #[must_use]
    pub fn queued_filter(&self) -> String {
        format!("{}.deliveries.>", self.prefix)
    }

    /// The kind of what lies under this subject.
    #[must_use]
    pub fn queued_kind<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.prefix)?.strip_prefix(".deliveries.")?.split('.').next()
    }

    /// Where the one pending timer of a delivery lives.
    #[must_use]
    pub fn later(&self, delivery: &DeliveryId) -> String {
        format!("{}.later.{delivery}", self.prefix)
    }

    /// Where a timer of a delivery lives that its others must not replace.
    #[must_use]
    pub fn later_beside(&self, delivery: &DeliveryId, step: &str) -> String {
        format!("{}.later.{delivery}.{step}", self.prefix)
    }

    // === records ===

    #[must_use]
    pub fn outcome(&self, outcome: &Outcome) -> String {
        let Outcome { state, workspace, channel, .. } = outcome;
        format!("{}.outcomes.{state}.{workspace}.{channel}", self.prefix)
    }

    /// Outcomes of one workspace, or of all.
    #[must_use]
    pub fn outcome_filter(&self, workspace: Option<&WorkspaceId>) -> String {
        match workspace {
            Some(workspace) => format!("{}.outcomes.*.{workspace}.>", self.prefix),
            None => format!("{}.outcomes.>", self.prefix),
        }
    }

    // === dead letters ===

    /// Where a delivery that was given up is kept. The kind is unknown when the channel is.
    #[must_use]
    pub fn dead(&self, delivery: &Delivery) -> String {
        let Delivery { workspace, channel, .. } = delivery;
        format!("{}.dead.{}.{workspace}.{channel}", self.prefix, delivery.kind.map_or(UNKNOWN, Kind::as_str))
    }

    /// Where a message that is no event is kept.
    #[must_use]
    pub fn dead_event(&self, workspace: Option<&WorkspaceId>) -> String {
        format!("{}.dead.event.{}.{UNKNOWN}", self.prefix, workspace.map_or(UNKNOWN, WorkspaceId::as_str))
    }

    /// Where a source's message that made no event is kept.
    #[must_use]
    pub fn dead_source(&self, workspace: &WorkspaceId, source: &SourceId) -> String {
        format!("{}.dead.source.{workspace}.{source}", self.prefix)
    }

    /// Where an event is kept that brought a rule which is not valid; it was routed by the others.
    #[must_use]
    pub fn dead_rule(&self, workspace: &WorkspaceId) -> String {
        format!("{}.dead.rule.{workspace}.{UNKNOWN}", self.prefix)
    }

    /// The workspace of what lies under this subject.
    #[must_use]
    pub fn dead_workspace(&self, subject: &str) -> Option<WorkspaceId> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix(".dead.")?;
        WorkspaceId::parse(rest.split('.').nth(1)?).ok().filter(|found| found.as_str() != UNKNOWN)
    }

    /// The source whose message lies under this subject.
    #[must_use]
    pub fn dead_source_of(&self, subject: &str) -> Option<(WorkspaceId, SourceId)> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix(".dead.source.")?;
        let (workspace, source) = rest.split_once('.')?;
        Some((WorkspaceId::parse(workspace).ok()?, SourceId::parse(source).ok()?))
    }

    /// Where a message of our own that cannot be read is kept.
    #[must_use]
    pub fn dead_message(&self) -> String {
        format!("{}.dead.message.{UNKNOWN}.{UNKNOWN}", self.prefix)
    }

    /// Dead letters of a kind, a workspace and a channel, as far as they are named.
    #[must_use]
    pub fn dead_filter(
        &self,
        kind: Option<Kind>,
        workspace: Option<&WorkspaceId>,
        channel: Option<&ChannelId>,
    ) -> String {
        let kind = kind.map_or("*", Kind::as_str);
        let workspace = workspace.map_or("*", WorkspaceId::as_str);
        format!("{}.dead.{kind}.{workspace}.{}", self.prefix, channel.map_or("*", ChannelId::as_str))
    }

    #[must_use]
    pub fn is_dead_event(&self, subject: &str) -> bool {
        subject.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with(".dead.event."))
    }

    /// True for a message kept as bytes: whatever could not be read, and what brought a rule that is not valid.
    #[must_use]
    pub fn is_dead_message(&self, subject: &str) -> bool {
        let kept = [".dead.message.", ".dead.event.", ".dead.source.", ".dead.rule."];
        let rest = subject.strip_prefix(&self.prefix).unwrap_or_default();
        kept.iter().any(|head| rest.starts_with(head))
    }

    // === windows and pauses ===

    #[must_use]
    pub fn throttle(&self, workspace: &WorkspaceId, key: &[&str]) -> String {
        format!("{}.throttle.{workspace}.{}", self.prefix, digest(key))
    }

    /// Where it is counted what a cooldown held back since it let something through.
    #[must_use]
    pub fn held_back(&self, workspace: &WorkspaceId, key: &[&str]) -> String {
        format!("{}.counts.{workspace}.{}", self.prefix, digest(key))
    }

    /// Where it is written that a source's event was published not long ago.
    #[must_use]
    pub fn once(&self, workspace: &WorkspaceId, source: &SourceId, key: &str) -> String {
        format!("{}.throttle.{workspace}.{}", self.prefix, digest(&["source-once", source.as_str(), key]))
    }

    #[must_use]
    pub fn idempotency(&self, workspace: &WorkspaceId, key: &str) -> String {
        format!("{}.throttle.{workspace}.{}", self.prefix, digest(&["idempotency-key", key]))
    }

    /// Where it is written whether a send with a time fired or was cancelled.
    #[must_use]
    pub fn fate(&self, workspace: &WorkspaceId, delivery: &DeliveryId) -> String {
        format!("{}.throttle.{workspace}.{}", self.prefix, digest(&["fate", delivery.as_str()]))
    }

    /// Where it is written whose a ticket for a stream is, and whether it was used.
    #[must_use]
    pub fn stream_ticket(&self, hash: &str) -> String {
        format!("{}.throttle.{UNKNOWN}.{}", self.prefix, digest(&["stream-ticket", hash]))
    }

    /// Where it is written how a connection stands.
    #[must_use]
    pub fn connection_health(&self, workspace: &WorkspaceId, connection: &ConnectionId) -> String {
        format!(
            "{}.throttle.{workspace}.{}",
            self.prefix,
            digest(&["connection-health", connection.as_str()])
        )
    }

    /// Where it is written that somebody asks about a connection this time.
    #[must_use]
    pub fn connection_turn(&self, workspace: &WorkspaceId, connection: &ConnectionId) -> String {
        format!("{}.throttle.{workspace}.{}", self.prefix, digest(&["connection-turn", connection.as_str()]))
    }

    /// Where it is written how far a durable consumer of a stream has come.
    #[must_use]
    pub fn floor(&self, stream: &str, durable: &str) -> String {
        let head = format!("{}.throttle.{UNKNOWN}", self.prefix);
        if self.is_own_stream(stream) {
            return format!("{head}.{durable}");
        }
        format!("{head}.{}", digest(&["floor", stream, durable]))
    }

    /// Where it is kept what shows a thing on a channel, to a recipient where there is one.
    #[must_use]
    pub fn receipt(&self, delivery: &Delivery, collapse_id: &str) -> String {
        let Delivery { workspace, channel, recipient, .. } = delivery;
        let of = digest(&[recipient.as_ref().map_or("", Recipient::as_str), collapse_id]);
        format!("{}.receipts.{workspace}.{channel}.{of}", self.prefix)
    }
}

/// The streams there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamName {
    Events,
    Deliveries,
    Records,
    Dead,
    Throttle,
    Counts,
    Pace,
    Receipts,
}

impl StreamName {
    pub const ALL: [Self; 8] = [
        Self::Events,
        Self::Deliveries,
        Self::Records,
        Self::Dead,
        Self::Throttle,
        Self::Counts,
        Self::Pace,
        Self::Receipts,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Events => "EVENTS",
            Self::Deliveries => "DELIVERIES",
            Self::Records => "RECORDS",
            Self::Dead => "DEAD",
            Self::Throttle => "THROTTLE",
            Self::Counts => "COUNTS",
            Self::Pace => "PACE",
            Self::Receipts => "RECEIPTS",
        }
    }
}

/// The durable consumer that all routers share.
pub const ROUTER_DURABLE: &str = "router";

/// The durable consumer that makes events of records.
pub const OWN_EVENTS_DURABLE: &str = "own-events";

/// True for the durables that Bugle makes on streams of its own.
#[must_use]
pub fn is_own_durable(durable: &str) -> bool {
    let is_workers = |kind: &Kind| Lane::ALL.iter().any(|lane| worker_durable(*kind, *lane) == durable);
    durable == ROUTER_DURABLE || durable == OWN_EVENTS_DURABLE || Kind::ALL.iter().any(is_workers)
}

/// The durable consumer that all workers of a kind share for a lane.
#[must_use]
pub fn worker_durable(kind: Kind, lane: Lane) -> String {
    format!("worker-{kind}-{}", lane.as_str())
}

#[cfg(test)]
mod tests;
