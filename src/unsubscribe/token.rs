//! The token in a link to unsubscribe: who, from which channel, sealed so that nobody can make one or read one.
//!
//! A recipient's id is often an address, so a signature alone would not do. The same link comes out on every try, which providers
//! that compare repeats want.

use crate::ids::{ChannelId, Recipient, WorkspaceId};
use crate::installation::Key;

const PURPOSE: &[u8] = b"bugle unsubscribe 1";

/// Who wants to hear no more through which channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    pub workspace: WorkspaceId,
    pub recipient: Recipient,
    pub channel: ChannelId,
}

impl Leave {
    /// None when it cannot be sealed, which is nobody's doing.
    #[must_use]
    pub fn seal(&self, key: &Key) -> Option<String> {
        let text = serde_json::to_vec(&(&self.workspace, &self.recipient, &self.channel)).ok()?;
        key.seal(PURPOSE, text)
    }

    /// None for what this key has not sealed.
    #[must_use]
    pub fn open(key: &Key, token: &str) -> Option<Self> {
        let text = key.open(PURPOSE, token)?;
        let (workspace, recipient, channel) = serde_json::from_slice(&text).ok()?;
        Some(Self { workspace, recipient, channel })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_leaves_what() {
        let key = Key::new(&[7; 32]).unwrap();
        let leave = Leave {
            workspace: WorkspaceId::default(),
            recipient: Recipient::parse("ann@example.com").unwrap(),
            channel: ChannelId::parse("mail").unwrap(),
        };
        assert_eq!(Leave::open(&key, &leave.seal(&key).unwrap()), Some(leave));
        assert_eq!(Leave::open(&key, &key.seal(PURPOSE, b"[1]".to_vec()).unwrap()), None);
    }
}
