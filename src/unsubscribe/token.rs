//! The token in a link to unsubscribe: who, from which channel, sealed so that nobody can make one or read one.
//!
//! A recipient's id is often an address, so a signature alone would not do. The nonce is derived from what is sealed: the
//! same link comes out on every try, which providers that compare repeats want, and two different ones share no nonce.

use data_encoding::BASE64URL_NOPAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use crate::ids::{ChannelId, Recipient, WorkspaceId};

/// Longer ones are nobody's: a recipient has at most 256 bytes, which JSON may escape.
const TOKEN_BYTES_MAX: usize = 2_048;
const AAD: &[u8] = b"bugle unsubscribe 1";

/// Who wants to hear no more through which channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    pub workspace: WorkspaceId,
    pub recipient: Recipient,
    pub channel: ChannelId,
}

/// What the API and all workers share.
pub struct Key {
    seal: LessSafeKey,
    nonces: hmac::Key,
}

impl Key {
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let seal = UnboundKey::new(&CHACHA20_POLY1305, hmac::sign(&root, b"seal").as_ref()).ok()?;
        let nonces = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"nonces").as_ref());
        Some(Self { seal: LessSafeKey::new(seal), nonces })
    }

    /// None when it cannot be sealed, which is nobody's doing.
    #[must_use]
    pub fn seal(&self, leave: &Leave) -> Option<String> {
        let mut text = serde_json::to_vec(&(&leave.workspace, &leave.recipient, &leave.channel)).ok()?;
        let digest = hmac::sign(&self.nonces, &text);
        let nonce: [u8; NONCE_LEN] = digest.as_ref()[..NONCE_LEN].try_into().ok()?;
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        self.seal.seal_in_place_append_tag(nonce_of, Aad::from(AAD), &mut text).ok()?;
        Some(BASE64URL_NOPAD.encode(&[nonce.as_slice(), &text].concat()))
    }

    /// None for what this key has not sealed.
    #[must_use]
    pub fn open(&self, token: &str) -> Option<Leave> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let text = self.seal.open_in_place(nonce, Aad::from(AAD), &mut sealed).ok()?;
        let (workspace, recipient, channel) = serde_json::from_slice(text).ok()?;
        Some(Leave { workspace, recipient, channel })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leave(recipient: &str) -> Leave {
        Leave {
            workspace: WorkspaceId::default(),
            recipient: Recipient::parse(recipient).unwrap(),
            channel: ChannelId::parse("mail").unwrap(),
        }
    }

    #[test]
    fn a_token_is_the_same_on_every_try_and_shows_nobody() {
        let key = Key::new(&[7; 32]).unwrap();
        let token = key.seal(&leave("ann@example.com")).unwrap();
        assert_eq!(key.seal(&leave("ann@example.com")).unwrap(), token);
        assert_eq!(key.open(&token), Some(leave("ann@example.com")));
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("ann"), "sealed");
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }

    #[test]
    fn what_was_not_sealed_by_this_key_opens_nothing() {
        let key = Key::new(&[7; 32]).unwrap();
        let token = key.seal(&leave("ann")).unwrap();
        assert_eq!(Key::new(&[8; 32]).unwrap().open(&token), None);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let opened = key.open(std::str::from_utf8(&forged).unwrap());
            assert_ne!(opened, Some(leave("bob")), "{at}");
            assert!(opened.is_none(), "{at}: the last character's spare bits are refused, too");
        }
        for nothing in ["", "A", "AAAA", &token[..token.len() - 4], &"A".repeat(TOKEN_BYTES_MAX + 4)] {
            assert_eq!(key.open(nothing), None, "{nothing}");
        }
    }
}
