//! What documents are called in the buckets: their type, their workspace, their id. Ids that people choose freely are
//! encoded there.

use data_encoding::BASE64URL_NOPAD;

use crate::ids::{ChannelId, ConnectionId, Recipient, RuleId, ScopedId, SourceId, WorkspaceId};
use crate::rule::scope::{Level, ScopeId};
use crate::secrets::Purpose;

/// The key of a document in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Channel(WorkspaceId, ChannelId),
    Connection(WorkspaceId, ConnectionId),
    Rule(WorkspaceId, RuleId),
    Scope(WorkspaceId, ScopeId),
    Source(WorkspaceId, SourceId),
    Recipient(WorkspaceId, Recipient),
    /// What a recipient wants to hear of, and when.
    Preferences(WorkspaceId, Recipient),
    /// By the hash of the secret, in hexadecimal.
    Token(String),
    /// What secrets are sealed to, by what they are for.
    SealingKey(Purpose),
    /// How a channel stands: nobody's document, written by Bugle itself.
    Standing(WorkspaceId, ChannelId),
}

impl Key {
    /// None for what belongs to no workspace.
    #[must_use]
    pub fn workspace(&self) -> Option<&WorkspaceId> {
        match self {
            Self::Channel(workspace, _)
            | Self::Connection(workspace, _)
            | Self::Rule(workspace, _)
            | Self::Scope(workspace, _)
            | Self::Source(workspace, _)
            | Self::Recipient(workspace, _)
            | Self::Preferences(workspace, _)
            | Self::Standing(workspace, _) => Some(workspace),
            Self::Token(_) | Self::SealingKey(_) => None,
        }
    }

    /// For people: as it is called in the bucket, with an id that is encoded there as it was written.
    #[must_use]
    pub fn as_written(&self) -> String {
        match self {
            Self::Scope(workspace, id) => format!("scopes.{workspace}.{id}"),
            Self::Recipient(workspace, id) => format!("recipients.{workspace}.{id}"),
            Self::Preferences(workspace, id) => format!("preferences.{workspace}.{id}"),
            Self::Channel(..)
            | Self::Connection(..)
            | Self::Rule(..)
            | Self::Source(..)
            | Self::Token(_)
            | Self::SealingKey(_)
            | Self::Standing(..) => self.to_string(),
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (head, second, third) = (parts.next()?, parts.next()?, parts.next());
        match (head, third) {
            ("channels", Some(id)) => {
                Some(Self::Channel(WorkspaceId::parse(second).ok()?, ChannelId::parse(id).ok()?))
            }
            ("connections", Some(id)) => {
                Some(Self::Connection(WorkspaceId::parse(second).ok()?, ConnectionId::parse(id).ok()?))
            }
            ("rules", Some(id)) => {
                Some(Self::Rule(WorkspaceId::parse(second).ok()?, RuleId::parse(id).ok()?))
            }
            ("scopes", Some(id)) => {
                let (level, id) = id.split_once('.')?;
                let id = ScopedId::parse(&decoded(id)?).ok()?;
                let scope = ScopeId { level: Level::parse(level)?, id };
                Some(Self::Scope(WorkspaceId::parse(second).ok()?, scope))
            }
            ("sources", Some(id)) => {
                Some(Self::Source(WorkspaceId::parse(second).ok()?, SourceId::parse(id).ok()?))
            }
            ("recipients", Some(id)) => {
                Some(Self::Recipient(WorkspaceId::parse(second).ok()?, Recipient::parse(&decoded(id)?).ok()?))
            }
            ("preferences", Some(id)) => Some(Self::Preferences(
                WorkspaceId::parse(second).ok()?,
                Recipient::parse(&decoded(id)?).ok()?,
            )),
            ("standing", Some(id)) => {
                Some(Self::Standing(WorkspaceId::parse(second).ok()?, ChannelId::parse(id).ok()?))
            }
            ("tokens", None) => Some(Self::Token(second.to_owned())),
            ("keys", None) => Purpose::parse(second).map(Self::SealingKey),
            _ => None,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channel(workspace, id) => write!(f, "channels.{workspace}.{id}"),
            Self::Connection(workspace, id) => write!(f, "connections.{workspace}.{id}"),
            Self::Rule(workspace, id) => write!(f, "rules.{workspace}.{id}"),
            Self::Scope(workspace, ScopeId { level, id }) => {
                write!(f, "scopes.{workspace}.{}.{}", level.as_str(), encoded(id.as_str()))
            }
            Self::Source(workspace, id) => write!(f, "sources.{workspace}.{id}"),
            Self::Recipient(workspace, id) => write!(f, "recipients.{workspace}.{}", encoded(id.as_str())),
            Self::Preferences(workspace, id) => write!(f, "preferences.{workspace}.{}", encoded(id.as_str())),
            Self::Token(hash) => write!(f, "tokens.{hash}"),
            Self::Standing(workspace, id) => write!(f, "standing.{workspace}.{id}"),
            Self::SealingKey(purpose) => write!(f, "keys.{purpose}"),
        }
    }
}

/// As one token of a key.
fn encoded(id: &str) -> String {
    BASE64URL_NOPAD.encode(id.as_bytes())
}

fn decoded(token: &str) -> Option<String> {
    String::from_utf8(BASE64URL_NOPAD.decode(token.as_bytes()).ok()?).ok()
}
