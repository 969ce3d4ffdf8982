//! The subjects: every way of every kind that calls somebody, each kind's in a file of its own.

use serde_json::Value;

use super::{email, expo, slack, telegram, urls, webhook, webpush, whatsapp};
use crate::channel::Kind;
use crate::outcome::Reason;

/// One way of a kind: how it is configured, what its provider answers, and the errors that it documents.
pub(super) struct Subject {
    pub(super) kind: Kind,
    /// Of several ways of a kind this one.
    pub(super) way: &'static str,
    /// At a server of ours.
    pub(super) config: fn(&str) -> Value,
    /// The provider's answer to a success.
    pub(super) success: &'static str,
    pub(super) provider_id: Option<&'static str>,
    /// Whether it was accepted is in the answer's body; else the status says it all.
    pub(super) body_decides: bool,
    pub(super) documented: Vec<Documented>,
}

/// An error that a provider documents: status and body, and the class and reason that it must have.
pub(super) type Documented = (u16, &'static str, &'static str, Reason);

impl Subject {
    /// For messages of tests.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kind, self.way).trim().to_owned()
    }
}

/// Nothing for kinds that call nobody by HTTP.
fn of(kind: Kind) -> Vec<Subject> {
    match kind {
        Kind::Console | Kind::InApp | Kind::Nats => vec![],
        Kind::Url => urls::subjects(),
        Kind::Webhook => webhook::subjects(),
        Kind::Slack => slack::subjects(),
        Kind::Telegram => telegram::subjects(),
        Kind::WhatsApp => whatsapp::subjects(),
        Kind::Email => email::subjects(),
        Kind::Expo => expo::subjects(),
        Kind::WebPush => webpush::subjects(),
    }
}

pub(super) fn subjects() -> impl Iterator<Item = Subject> {
    Kind::ALL.iter().flat_map(|&kind| of(kind))
}
