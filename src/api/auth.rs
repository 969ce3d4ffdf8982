//! Who asks, and what they may: bearer tokens, kept as hashes, each with a role, a workspace and perhaps a recipient.
//!
//! A handler that takes a [`Principal`] has one that was counted against its token's limit: nobody can forget it.

pub mod credential;

pub mod agents;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use self::credential::Credential;
use super::limits::strangers::Strangers;
use super::limits::{self, Rates, Told};
use super::problem::Problem;
use super::{Api, Shared, tickets};
use crate::bus::{BusError, topology};
use crate::clock;
use crate::config::Secret;
use crate::documents::{Document, Key, Role, TokenSpec};
use crate::ids::{Recipient, WorkspaceId};
use crate::installation::Installation;

/// Every token starts with it, so that scanners for leaked secrets can tell what it is.
const PREFIX: &str = "bgl_";

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    PublishEvents,
    ReadEvents,
    ReadDeliveries,
    Send,
    RedriveDeadLetters,
    ReadDocuments,
    WriteDocuments,
    ManageSources,
    ManageTokens,
    TestChannels,
    ManageChannels,
    /// Of recipients whose token it is not, where it is bound to none.
    ReadInbox,
    MarkInbox,
    DeleteNotifications,
}

impl Permission {
    pub const ALL: [Self; 14] = [
        Self::PublishEvents,
        Self::ReadEvents,
        Self::ReadDeliveries,
        Self::Send,
        Self::RedriveDeadLetters,
        Self::ReadDocuments,
        Self::WriteDocuments,
        Self::ManageSources,
        Self::ManageTokens,
        Self::TestChannels,
        Self::ManageChannels,
        Self::ReadInbox,
        Self::MarkInbox,
        Self::DeleteNotifications,
    ];

    fn words(self) -> &'static str {
        match self {
            Self::PublishEvents => "publish events",
            Self::ReadEvents => "read events",
            Self::ReadDeliveries => "read deliveries",
            Self::Send => "send and cancel notifications",
            Self::RedriveDeadLetters => "send dead letters again",
            Self::ReadDocuments => "read documents: rules, scopes, schemas, recipients",
            Self::WriteDocuments => "change documents: rules, scopes, schemas, recipients",
            Self::ManageSources => "see and change sources",
            Self::ManageTokens => "manage tokens",
            Self::TestChannels => "see and test channels, and check connections",
            Self::ManageChannels => "change channels and connections",
            Self::ReadInbox => "read inboxes",
            Self::MarkInbox => "mark notifications without being bound to their recipient",
            Self::DeleteNotifications => "delete notifications",
        }
    }
}

/// The one table of roles.
#[must_use]
pub fn permits(role: Role, permission: Permission) -> bool {
    use Permission::{
        DeleteNotifications, ManageChannels, ManageSources, ManageTokens, MarkInbox, PublishEvents,
        ReadDeliveries, ReadDocuments, ReadEvents, ReadInbox, RedriveDeadLetters, Send, TestChannels,
        WriteDocuments,
    };
    match (role, permission) {
        (Role::Admin, _)
        | (Role::Publisher | Role::Operator | Role::Agent, PublishEvents)
        | (Role::Viewer | Role::Operator | Role::Agent, ReadDeliveries | ReadInbox)
        | (Role::Viewer | Role::Operator, ReadDocuments | ReadEvents)
        | (Role::Operator, Send | RedriveDeadLetters | WriteDocuments | TestChannels | MarkInbox) => true,
        (_, ManageSources | ManageTokens | ManageChannels | DeleteNotifications)
        | (Role::Publisher | Role::Viewer | Role::Agent, TestChannels | MarkInbox)
        | (Role::Publisher | Role::Agent, ReadEvents)
        | (
            Role::Publisher,
            ReadInbox | ReadDeliveries | Send | RedriveDeadLetters | ReadDocuments | WriteDocuments,
        )
        | (Role::Viewer, PublishEvents | Send | RedriveDeadLetters | WriteDocuments)
        | (Role::Agent, Send | RedriveDeadLetters | ReadDocuments | WriteDocuments) => false,
    }
}

/// Whoever holds the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub name: String,
    pub role: Role,
    /// None: every workspace.
    pub workspace: Option<WorkspaceId>,
    pub recipient: Option<Recipient>,
    /// None for the administrator of the settings.
    pub token_hash: Option<String>,
}

impl Principal {
    /// # Errors
    /// 403 when the role does not include it.
    pub fn may(&self, permission: Permission) -> Result<(), Problem> {
        if permits(self.role, permission) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("the role {} may not {}", self.role, permission.words())))
    }

    /// The workspace to read: the asked one if it is allowed; None reads all, for tokens of all workspaces.
    ///
    /// # Errors
    /// 403 for another workspace than the token's.
    pub fn reads(&self, asked: Option<WorkspaceId>) -> Result<Option<WorkspaceId>, Problem> {
        match (&self.workspace, asked) {
            (None, asked) => Ok(asked),
            (Some(own), None) => Ok(Some(own.clone())),
            (Some(own), Some(asked)) if *own == asked => Ok(Some(asked)),
            (Some(own), Some(_)) => Err(Problem::forbidden(format!("this token belongs to workspace {own}"))),
        }
    }

    /// The workspace to write to; `default` where nothing is said.
    ///
    /// # Errors
    /// 403 for another workspace than the token's.
    pub fn writes(&self, asked: Option<WorkspaceId>) -> Result<WorkspaceId, Problem> {
        Ok(self.reads(asked)?.unwrap_or_default())
    }
}

/// Unknown tokens that are looked up in the broker, a second. One that was made by another process just now is among them.
const TOKENS_LOOKED_UP: u32 = 20;

/// What lets requests in, in the memory of this process.
pub struct Access {
    /// The hash of the token in the settings.
    admin: Option<String>,
    rates: Rates,
    unknown_tokens: Strangers,
    /// What seals tickets.
    pub(super) installation: Installation,
}

impl Access {
    #[must_use]
    pub fn new(settings: &crate::config::Api, admin_token: Option<&Secret>) -> Self {
        Self {
            admin: admin_token.map(|token| hash(token.expose())),
            rates: Rates::new(settings.requests_per_minute),
            unknown_tokens: Strangers::new(TOKENS_LOOKED_UP),
            installation: Installation::default(),
        }
    }

    /// The hash of whose token this is.
    pub(super) fn hash_of<'a>(&'a self, principal: &'a Principal) -> Option<&'a str> {
        principal.token_hash.as_deref().or(self.admin.as_deref())
    }
}

impl FromRequestParts<Shared> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Problem> {
        // Asked for twice, it is still one request, and a ticket is used once.
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let principal = match Credential::of(parts)? {
            Credential::Token(secret) => {
                let may_be_new = secret.starts_with(PREFIX);
                let found = holder(api, &hash(&secret), may_be_new).await?;
                found.ok_or_else(|| Problem::unauthorized("this token is not known"))?
            }
            Credential::Ticket(ticket) => {
                let token = tickets::redeem(api, &ticket).await?;
                let found = holder(api, &token, true).await?;
                found.ok_or_else(|| Problem::unauthorized("the token of this ticket was revoked"))?
            }
        };
        // The administrator of the settings has no hash in the bucket, and a limit too.
        let counted = api.access.rates.count(principal.token_hash.as_deref().unwrap_or_default());
        if let Some(standing) = counted {
            limits::let_in(standing, parts.extensions.get::<Told>())?;
        }
        let principal = agents::checked(principal, parts, api).await?;
        parts.extensions.insert(principal.clone());
        Ok(principal)
    }
}

/// Whoever holds the token with this hash now.
async fn holder(api: &Api, hash: &str, may_be_new: bool) -> Result<Option<Principal>, Problem> {
    let is_admin = |admin: &String| admin.as_bytes().ct_eq(hash.as_bytes()).into();
    if api.access.admin.as_ref().is_some_and(is_admin) {
        let name = "admin".to_owned();
        let admin = Principal { name, role: Role::Admin, workspace: None, recipient: None, token_hash: None };
        return Ok(Some(admin));
    }
    let known = api.directory.snapshot().tokens.get(hash).cloned();
    let document = match known {
        Some(document) => Some(document),
        // Another process may have made it just now.
        None if may_be_new => api.access.unknown_tokens.look(hash, look_up(api, hash)).await?,
        None => None,
    };
    Ok(document.map(|document| {
        let TokenSpec { name, role, workspace, recipient, .. } = document.spec;
        Principal { name, role, workspace, recipient, token_hash: Some(hash.to_owned()) }
    }))
}

async fn look_up(api: &Api, hash: &str) -> Result<Option<Document<TokenSpec>>, Problem> {
    let bucket = topology::config_bucket(&api.bus).await?;
    let found = bucket.get(Key::Token(hash.to_owned()).to_string()).await.map_err(BusError::request)?;
    Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// A new token.
#[must_use]
pub fn new_secret() -> String {
    secret(PREFIX)
}

/// 256 bits of the system's randomness.
pub(super) fn secret(prefix: &str) -> String {
    format!("{prefix}{}", BASE64URL_NOPAD.encode(&clock::random::<32>()))
}

/// What is stored of a secret. It has 256 bits, so a plain hash cannot be turned back.
#[must_use]
pub fn hash(secret: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_its_name_says_and_nothing_else() {
        use Permission::{
            MarkInbox, PublishEvents, ReadDeliveries, ReadDocuments, ReadEvents, ReadInbox,
            RedriveDeadLetters, Send, TestChannels, WriteDocuments,
        };
        let table: [(Role, &[Permission]); 5] = [
            (Role::Publisher, &[PublishEvents]),
            (Role::Viewer, &[ReadEvents, ReadDeliveries, ReadDocuments, ReadInbox]),
            (
                Role::Operator,
                &[
                    PublishEvents,
                    ReadEvents,
                    ReadDeliveries,
                    ReadInbox,
                    Send,
                    RedriveDeadLetters,
                    ReadDocuments,
                    WriteDocuments,
                    TestChannels,
                    ReadInbox,
                    MarkInbox,
                ],
            ),
            (Role::Agent, &[PublishEvents, ReadDeliveries, ReadInbox]),
            (Role::Admin, &Permission::ALL),
        ];
        for (role, allowed) in table {
            for permission in Permission::ALL {
                assert_eq!(permits(role, permission), allowed.contains(&permission), "{role} {permission:?}");
            }
        }
    }

    #[test]
    fn a_token_of_a_workspace_reaches_no_other() {
        let own = WorkspaceId::parse("own").unwrap();
        let principal = Principal {
            name: "x".to_owned(),
            role: Role::Operator,
            workspace: Some(own.clone()),
            recipient: None,
            token_hash: None,
        };
        assert_eq!(principal.reads(None).unwrap(), Some(own.clone()));
        assert_eq!(principal.writes(None).unwrap(), own);
        assert!(principal.reads(Some(WorkspaceId::default())).is_err());
        assert!(principal.writes(Some(WorkspaceId::default())).is_err());
    }

    #[test]
    fn secrets_are_long_and_never_the_same() {
        assert_ne!(new_secret(), new_secret());
        assert!(new_secret().len() > 40);
        assert_eq!(hash("a").len(), 64);
    }
}
