//! What a run leaves behind, as plain facts: what was acknowledged, received, recorded, kept, and what struck when. All times
//! are milliseconds of the Unix clock of this one machine.

use std::time::{SystemTime, UNIX_EPOCH};

pub fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// What kind of event it is, and so what must become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Case {
    Plain,
    /// Its condition holds.
    Wanted,
    /// The same rule's condition does not hold.
    Unwanted,
    /// One window of this key's cooldown lets one through.
    Cool(String),
    /// Its receiver fails at first.
    Flaky,
    /// Its receiver refuses it for good.
    Refused,
    /// Its receiver never recovers.
    Broken,
    /// Its rule names a channel that does not exist.
    Orphan,
    /// Three channels.
    Fan,
    /// No event at all.
    Unreadable,
}

impl Case {
    /// The rule that fires for it.
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Plain => Some("plain"),
            Self::Wanted => Some("wanted"),
            Self::Cool(_) => Some("cool"),
            Self::Flaky => Some("flaky"),
            Self::Refused => Some("refused"),
            Self::Broken => Some("broken"),
            Self::Orphan => Some("orphan"),
            Self::Fan => Some("fan"),
            Self::Unwanted | Self::Unreadable => None,
        }
    }

    /// The channels that its deliveries go to.
    pub fn channels(&self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Wanted | Self::Cool(_) => &["steady"],
            Self::Flaky => &["flaky"],
            Self::Refused => &["refusing"],
            Self::Broken => &["broken"],
            Self::Orphan => &["nowhere"],
            Self::Fan => &["steady", "other", "flaky"],
            Self::Unwanted | Self::Unreadable => &[],
        }
    }

    /// The states and reasons that a delivery of it may end in; no reason means any.
    pub fn ends(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Plain | Self::Wanted | Self::Flaky | Self::Fan => &[("sent", "")],
            Self::Cool(_) => &[("sent", ""), ("suppressed", "cooldown")],
            Self::Refused => &[("failed", "rejected")],
            // The last of its tries says why, and that one may have met a fault of its own.
            Self::Broken => &[("failed", "rejected"), ("failed", "timeout"), ("failed", "unreachable")],
            Self::Orphan => &[("failed", "unknown_channel")],
            Self::Unwanted | Self::Unreadable => &[],
        }
    }
}

/// An event and what its producer knows of it.
#[derive(Debug, Clone)]
pub struct Published {
    pub id: String,
    pub case: Case,
    pub begun: u64,
    /// None: the broker never said that it has it. It may be there all the same.
    pub acknowledged: Option<u64>,
    pub tries: u32,
}

/// A send and what its caller knows of it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its idempotency key, and its title.
    pub key: String,
    /// The answer of the API; None when none came.
    pub delivery: Option<String>,
    pub cancel: Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    No,
    /// No answer came: both ends are right.
    Asked,
    /// 200: it must not arrive.
    Confirmed,
    /// 409: it must arrive.
    TooLate,
}

/// A request that a receiver read to its end.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub delivery: String,
    pub channel: String,
    pub at: u64,
    /// It was answered with success.
    pub accepted: bool,
}

/// An outcome in the record stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub delivery: String,
    pub state: String,
    pub reason: String,
    pub redrive: u64,
    pub attempt: u64,
    pub postponed: u64,
    /// When the broker stored it.
    pub stored: u64,
}

/// A delivery in the history.
#[derive(Debug, Clone)]
pub struct Row {
    pub delivery: String,
    pub event: String,
    /// None for sends.
    pub rule: Option<String>,
    pub channel: String,
    pub title: String,
    pub status: String,
    pub reason: String,
    pub attempts: u64,
    pub redrive: u64,
}

/// One step of a delivery in the history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub delivery: String,
    pub redrive: u64,
    pub attempt: u64,
    pub postponed: u64,
    pub state: String,
}

/// A dead letter.
#[derive(Debug, Clone)]
pub struct Letter {
    pub reason: String,
    /// The delivery, where it is one.
    pub delivery: Option<String>,
    /// The message's text, where it is none.
    pub text: String,
}

/// A fault that struck.
#[derive(Debug, Clone)]
pub struct Struck {
    pub name: String,
    pub from: u64,
    pub to: u64,
    pub explains: Explains,
}

/// Which repeats a fault may lead to: at-least-once has its reasons, and each repeat must have one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explains {
    Nothing,
    /// Of what was in flight when it struck.
    Moment,
    /// Of what was in flight while it lasted.
    Span,
    /// Of what was in flight while it lasted; and its files may still hold what was taken from the queue in the two minutes
    /// before it (`sync_interval`): a timer fires once more when the server is back, and a message that its consumer no longer
    /// knows is handed out to the next consumer.
    Restart,
    /// Of what was in flight while it lasted, or had been routed in the last half minute before: a consumer knows of each
    /// message whether it was acknowledged, what is kept beside it only up to where all were. A router that was killed
    /// leaves a hole for that long; the broker's memory of ids covers it, unless its servers were started again meanwhile.
    SpanAndRouted,
}

/// Everything that the checker looks at.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub events: Vec<Published>,
    pub sends: Vec<Asked>,
    pub receipts: Vec<Receipt>,
    pub records: Vec<Record>,
    pub rows: Vec<Row>,
    pub steps: Vec<Step>,
    pub letters: Vec<Letter>,
    pub faults: Vec<Struck>,
    /// What was still queued when the patience was over.
    pub pending: Vec<String>,
}
