//! Who asks, and what they may: bearer tokens, kept as hashes, each with a role, a workspace and perhaps a recipient.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use super::{Api, Shared};
use crate::bus::{BusError, topology};
use crate::clock;
use crate::documents::{Document, Key, Role, TokenSpec};
use crate::ids::{Recipient, WorkspaceId};

/// Every token starts with it, so that scanners for leaked secrets can tell what it is.
const PREFIX: &str = "bgl_";

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    PublishEvents,
    ReadDeliveries,
    Send,
    RedriveDeadLetters,
    ReadDocuments,
    WriteDocuments,
    ManageSources,
    ManageTokens,
    TestChannels,
    ManageChannels,
    ReadInbox,
}

impl Permission {
    pub const ALL: [Self; 11] = [
        Self::PublishEvents,
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
    ];

    fn words(self) -> &'static str {
        match self {
            Self::PublishEvents => "publish events",
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
        }
    }
}

/// The one table of roles.
#[must_use]
pub fn permits(role: Role, permission: Permission) -> bool {
    use Permission::{
        ManageChannels, ManageSources, ManageTokens, PublishEvents, ReadDeliveries, ReadDocuments, ReadInbox,
        RedriveDeadLetters, Send, TestChannels, WriteDocuments,
    };
    match (role, permission) {
        (Role::Admin, _)
        | (Role::Publisher | Role::Operator | Role::Agent, PublishEvents)
        | (Role::Viewer | Role::Operator | Role::Agent, ReadDeliveries | ReadInbox)
        | (Role::Viewer | Role::Operator, ReadDocuments)
        | (Role::Operator, Send | RedriveDeadLetters | WriteDocuments | TestChannels) => true,
        (_, ManageSources | ManageTokens | ManageChannels)
        | (Role::Publisher | Role::Viewer | Role::Agent, TestChannels)
        | (
            Role::Publisher,
            ReadDeliveries | ReadInbox | Send | RedriveDeadLetters | ReadDocuments | WriteDocuments,
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

impl FromRequestParts<Shared> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Problem> {
        let secret =
            bearer(parts).ok_or_else(|| Problem::unauthorized("send a token: Authorization: Bearer …"))?;
        authenticate(api, &secret).await
    }
}

/// The token of the header or, where a browser cannot set one (streams), of the query.
fn bearer(parts: &Parts) -> Option<String> {
    if let Some(header) = parts.headers.get("authorization").and_then(|value| value.to_str().ok()) {
        let (scheme, secret) = header.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim().to_owned());
    }
    let path = parts.uri.path();
    if !(path.ends_with("/stream") || path.ends_with("/ws")) {
        return None;
    }
    let query = parts.uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "token")
        .map(|(_, value)| value.into_owned())
}

async fn authenticate(api: &Api, secret: &str) -> Result<Principal, Problem> {
    let hash = hash(secret);
    let is_admin =
        |token: &crate::config::Secret| self::hash(token.expose()).as_bytes().ct_eq(hash.as_bytes()).into();
    if api.admin_token.as_ref().is_some_and(is_admin) {
        let name = "admin".to_owned();
        return Ok(Principal { name, role: Role::Admin, workspace: None, recipient: None, token_hash: None });
    }
    let known = api.directory.snapshot().tokens.get(&hash).cloned();
    let document = match known {
        Some(document) => Some(document),
        // Another process may have made it just now.
        None if secret.starts_with(PREFIX) => look_up(api, &hash).await?,
        None => None,
    };
    let spec = document.ok_or_else(|| Problem::unauthorized("this token is not known"))?.spec;
    let TokenSpec { name, role, workspace, recipient, .. } = spec;
    Ok(Principal { name, role, workspace, recipient, token_hash: Some(hash) })
}

async fn look_up(api: &Api, hash: &str) -> Result<Option<Document<TokenSpec>>, Problem> {
    let bucket = topology::config_bucket(&api.bus).await?;
    let found = bucket.get(Key::Token(hash.to_owned()).to_string()).await.map_err(BusError::request)?;
    Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// A new secret: 256 bits of the system's randomness.
#[must_use]
pub fn new_secret() -> String {
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&clock::random::<32>()))
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
            PublishEvents, ReadDeliveries, ReadDocuments, ReadInbox, RedriveDeadLetters, Send, TestChannels,
            WriteDocuments,
        };
        let table: [(Role, &[Permission]); 5] = [
            (Role::Publisher, &[PublishEvents]),
            (Role::Viewer, &[ReadDeliveries, ReadInbox, ReadDocuments]),
            (
                Role::Operator,
                &[
                    PublishEvents,
                    ReadDeliveries,
                    ReadInbox,
                    Send,
                    RedriveDeadLetters,
                    ReadDocuments,
                    WriteDocuments,
                    TestChannels,
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
