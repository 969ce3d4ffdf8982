//! Who may follow which inbox: a token that is bound to a recipient that one, others those of their workspace that they name. An
//! agent is never a human.

use std::pin::Pin;

use crate::api::auth::{Permission, Principal, permits};
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::{Api, Shared};
use crate::bus::people;
use crate::documents::Role;
use crate::ids::Recipient;
use crate::live::follower::Pass;
use crate::recipient::RecipientKind;
use crate::store::inbox::Owner;

/// The inbox that a request is about.
///
/// # Errors
/// 400 when it names none, 403 when it is not theirs, 503 when that is not known.
pub async fn inbox(api: &Api, principal: &Principal, query: &Query) -> Result<Owner, Problem> {
    principal.may(Permission::ReadInbox)?;
    let workspace = principal.writes(query.workspace()?)?;
    let recipient = match (&principal.recipient, query.filter()?.recipient) {
        (Some(own), Some(asked)) if *own != asked => {
            return Err(Problem::forbidden("this token sees its own recipient only"));
        }
        (Some(own), _) => own.clone(),
        (None, _) if principal.role == Role::Agent => {
            return Err(Problem::forbidden(
                "this token of an agent is bound to no recipient: make one that is",
            ));
        }
        (None, Some(asked)) => asked,
        (None, None) => return Err(Problem::invalid("parameter recipient: whose inbox?")),
    };
    let owner = Owner { workspace, recipient };
    if Box::pin(is_barred(api, principal, &owner)).await? {
        return Err(Problem::forbidden("an agent reads no human's inbox, and this recipient is one"));
    }
    Ok(owner)
}

async fn is_barred(api: &Api, principal: &Principal, owner: &Owner) -> Result<bool, Problem> {
    if principal.role != Role::Agent {
        return Ok(false);
    }
    let (_, known) = people::read(&api.bus, &owner.workspace, &owner.recipient).await?;
    Ok(known.is_some_and(|known| known.kind == RecipientKind::Human))
}

/// What lets a stream go on.
pub struct Bearer {
    pub api: Shared,
    pub principal: Principal,
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
        let (api, principal, owner) = (self.api.clone(), self.principal.clone(), self.owner.clone());
        // What cannot be asked now is asked again.
        Some(Box::pin(async move { !is_barred(&api, &principal, &owner).await.unwrap_or(false) }))
    }
}
