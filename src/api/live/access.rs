//! Who may follow which inbox: a token that is bound to a recipient that one, others those of their workspace that they name. An
//! agent is never a human.

use std::pin::Pin;
use std::sync::Arc;

use crate::api::Shared;
use crate::api::auth::{Permission, Principal, agents, permits};
use crate::api::notifications::whose::Access;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::documents::Role;
use crate::ids::Recipient;
use crate::live::follower::Pass;
use crate::store::inbox::Owner;

/// The inbox that a request is about. Whether an agent is no human was asked with the token.
///
/// # Errors
/// 400 when it names none, 403 when it is not theirs.
pub fn inbox(principal: &Principal, query: &Query) -> Result<Owner, Problem> {
    principal.inbox_of(Access::Read, query)?.owner()
}

/// What lets a stream go on.
pub struct Bearer {
    pub api: Shared,
    pub principal: Arc<Principal>,
    pub owner: Owner,
}

impl Pass for Bearer {
    /// The token is still there, and may still read this inbox.
    fn holds(&self) -> bool {
        let Some(hash) = &self.principal.token_hash else { return true };
        // What is known of tokens is old while the broker is away.
        if !self.api.bus.is_connected() {
            return true;
        }
        let snapshot = self.api.directory.snapshot();
        snapshot.tokens.get(hash).is_some_and(|token| {
            let bound: Option<&Recipient> = token.spec.recipient.as_ref();
            permits(token.spec.role, Permission::ReadInbox)
                && token.spec.workspace.as_ref().is_none_or(|own| *own == self.owner.workspace)
                && bound.is_none_or(|own| *own == self.owner.recipient)
        })
    }

    fn look_up(&self) -> Option<Pin<Box<dyn Future<Output = bool> + Send>>> {
        if self.principal.role != Role::Agent {
            return None;
        }
        let (api, Owner { workspace, recipient }) = (self.api.clone(), self.owner.clone());
        // What cannot be asked now is asked again.
        Some(Box::pin(async move { !agents::is_human(&api, &workspace, &recipient).await.unwrap_or(false) }))
    }
}
