//! The subjects of inboxes: what is put into them, and what is told of them.

use data_encoding::BASE64URL_NOPAD;

use super::{Names, UNKNOWN};
use crate::ids::{Recipient, WorkspaceId};

impl Names {
    /// Items of a recipient's inbox, in the stream of records.
    #[must_use]
    pub fn inbox(&self, workspace: &WorkspaceId, recipient: &Recipient) -> String {
        format!("{}.inbox.{workspace}.{}", self.prefix, encoded(recipient))
    }

    #[must_use]
    pub fn is_inbox(&self, subject: &str) -> bool {
        subject.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with(".inbox."))
    }

    /// Where changes of a recipient's inbox are told to whoever follows it. No stream has it.
    #[must_use]
    pub fn live(&self, workspace: &WorkspaceId, recipient: &Recipient) -> String {
        format!("{}.live.{workspace}.{}", self.prefix, encoded(recipient))
    }

    /// All inboxes.
    #[must_use]
    pub fn live_filter(&self) -> String {
        format!("{}.live.>", self.prefix)
    }

    /// Where it is told that changes may have been missed: who follows an inbox looks it up.
    #[must_use]
    pub fn live_look(&self) -> String {
        format!("{}.live.{UNKNOWN}.{UNKNOWN}", self.prefix)
    }
}

/// As one token.
fn encoded(recipient: &Recipient) -> String {
    BASE64URL_NOPAD.encode(recipient.as_str().as_bytes())
}
