//! Whose inbox a request is about. A token that is bound to a recipient reads and marks that inbox and no other, whatever its
//! role; without that it takes a role, and a recipient who is named.

use std::collections::BTreeMap;

use crate::api::Api;
use crate::api::auth::{Permission, Principal, permits};
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::documents::Role;
use crate::ids::{NotificationId, Recipient, WorkspaceId};
use crate::store::inbox::Owner;

pub const RECIPIENT: &str = "recipient";

/// What is to be done there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Mark,
    Delete,
}

/// Where to look: in one inbox, or in all of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    pub workspace: WorkspaceId,
    pub recipient: Option<Recipient>,
}

impl Principal {
    /// The inbox, or inboxes, that this token may touch of those that are asked for.
    ///
    /// # Errors
    /// 403 for a role that may not, and for another recipient or workspace than the token's.
    pub fn inbox(
        &self,
        access: Access,
        workspace: Option<WorkspaceId>,
        asked: Option<Recipient>,
    ) -> Result<Whose, Problem> {
        self.may(Permission::ReadInbox)?;
        match (access, &self.recipient) {
            (Access::Read, _) | (Access::Mark, Some(_)) => {}
            (Access::Mark, None) => self.may(Permission::MarkInbox)?,
            (Access::Delete, _) => self.may(Permission::DeleteNotifications)?,
        }
        if self.recipient.is_none() && self.role == Role::Agent {
            return Err(Problem::forbidden(
                "an agent has its own inbox only, and this token is bound to no recipient: make one that is",
            ));
        }
        let recipient = match (&self.recipient, asked) {
            (Some(own), Some(asked)) if *own != asked => {
                return Err(Problem::forbidden("this token belongs to another recipient"));
            }
            (Some(own), _) => Some(own.clone()),
            (None, asked) => asked,
        };
        Ok(Whose { workspace: self.writes(workspace)?, recipient })
    }

    /// The same for what a query names.
    ///
    /// # Errors
    /// As [`Principal::inbox`], and 400 for what is no recipient or workspace.
    pub fn inbox_of(&self, access: Access, query: &Query) -> Result<Whose, Problem> {
        self.inbox(access, query.workspace()?, query.recipient()?)
    }

    /// True for who acts for people too.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        permits(self.role, Permission::MarkInbox)
    }
}

impl Query {
    /// # Errors
    /// 400 when it is none.
    pub fn recipient(&self) -> Result<Option<Recipient>, Problem> {
        self.parsed(RECIPIENT, |text| Recipient::parse(text).map_err(|error| error.to_string()))
    }
}

impl Whose {
    /// # Errors
    /// 400 where none is named.
    pub fn owner(self) -> Result<Owner, Problem> {
        let Self { workspace, recipient } = self;
        let recipient = recipient
            .ok_or_else(|| Problem::invalid(format!("name a `{RECIPIENT}`: this token is bound to none")))?;
        Ok(Owner { workspace, recipient })
    }

    /// The inbox that a notification is looked up in.
    ///
    /// # Errors
    /// 404 when it is in none of these.
    pub async fn owner_of(&self, api: &Api, id: &NotificationId) -> Result<Owner, Problem> {
        if self.recipient.is_some() {
            return self.clone().owner();
        }
        let found = api.store.owners_of(&self.workspace, std::slice::from_ref(id)).await?;
        found.into_iter().next().map(|(_, owner)| owner).ok_or_else(|| missing(id.as_str()))
    }

    /// The inboxes that these notifications are in; none for those that are not there.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn owners_of(
        &self,
        api: &Api,
        ids: &[NotificationId],
    ) -> Result<BTreeMap<Owner, Vec<NotificationId>>, Problem> {
        let mut owners: BTreeMap<Owner, Vec<NotificationId>> = BTreeMap::new();
        if self.recipient.is_some() {
            owners.insert(self.clone().owner()?, ids.to_vec());
            return Ok(owners);
        }
        for (id, owner) in api.store.owners_of(&self.workspace, ids).await? {
            owners.entry(owner).or_default().push(id);
        }
        Ok(owners)
    }
}

/// A broadcast is read by each for themselves, and by nobody in the name of all.
///
/// # Errors
/// 400 that asks for a recipient.
pub fn somebody(owner: &Owner) -> Result<(), Problem> {
    if owner.recipient.is_everybody() {
        return Err(Problem::invalid(format!(
            "everybody has a mark of their own on a broadcast: name a `{RECIPIENT}`"
        )));
    }
    Ok(())
}

#[must_use]
pub fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no notification {id}"))
}

/// # Errors
/// 404 for what is no id.
pub fn parsed(id: &str) -> Result<NotificationId, Problem> {
    NotificationId::parse(id).map_err(|_| missing(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(role: Role, recipient: Option<&str>) -> Principal {
        Principal {
            name: "x".to_owned(),
            role,
            workspace: None,
            recipient: recipient.map(|recipient| Recipient::parse(recipient).unwrap()),
            token_hash: None,
        }
    }

    #[test]
    fn a_bound_token_has_its_own_inbox_and_a_role_decides_for_the_others() {
        use Access::{Delete, Mark, Read};
        let all = [Read, Mark, Delete];
        for (role, unbound, bound) in [
            (Role::Publisher, [false; 3], [false; 3]),
            (Role::Viewer, [true, false, false], [true, true, false]),
            (Role::Operator, [true, true, false], [true, true, false]),
            (Role::Agent, [false; 3], [true, true, false]),
            (Role::Admin, [true; 3], [true; 3]),
        ] {
            for (access, unbound, bound) in all.iter().zip(unbound).zip(bound).map(|((a, u), b)| (*a, u, b)) {
                let bob = || Some(Recipient::parse("bob").unwrap());
                let free = principal(role, None).inbox(access, None, bob());
                assert_eq!(free.is_ok(), unbound, "{role} {access:?}");
                let own = principal(role, Some("ann")).inbox(access, None, None);
                assert_eq!(own.is_ok(), bound, "{role} {access:?}");
                assert!(own.is_err() || own.unwrap().recipient.unwrap().as_str() == "ann");
                let others = principal(role, Some("ann")).inbox(access, None, bob());
                assert_eq!(others.unwrap_err().status, 403, "{role} {access:?}");
            }
        }
        let nobody = principal(Role::Viewer, None).inbox(Read, None, None).unwrap();
        assert!(nobody.owner().unwrap_err().detail.contains("recipient"));
    }
}
