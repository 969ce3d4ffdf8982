//! The secret that all processes of an installation share: what is sealed with it nobody else can make or read.
//!
//! It is made once, first come first served, and lies in the bucket of the recipients. Links to unsubscribe and tickets for streams
//! are sealed with it, each for its own purpose.

use std::sync::Arc;

use async_nats::jetstream::kv::CreateErrorKind;
use data_encoding::BASE64URL_NOPAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use tokio::sync::OnceCell;

use crate::bus::{Bus, BusError, topology};
use crate::clock;

/// Beside the recipients, and none of them.
const BUCKET_KEY: &str = "unsubscribe.key";
/// Longer ones are nobody's.
const SEALED_BYTES_MAX: usize = 2_048;

/// The secret, once it was asked for.
#[derive(Default)]
pub struct Installation {
    key: OnceCell<Arc<Key>>,
}

impl Installation {
    /// # Errors
    /// When the broker does not answer, or what it holds is no secret of ours.
    pub async fn key(&self, bus: &Bus) -> Result<Arc<Key>, BusError> {
        self.key.get_or_try_init(|| key(bus)).await.cloned()
    }
}

/// What seals.
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

    /// As the bucket holds it.
    #[must_use]
    pub fn parse(held: &[u8]) -> Option<Self> {
        let secret = BASE64URL_NOPAD.decode(held).ok()?.try_into().ok()?;
        Self::new(&secret)
    }

    /// The same text for the same purpose is sealed to the same: the nonce is derived from it, and two different ones share none.
    /// None when it cannot be sealed, which is nobody's doing.
    #[must_use]
    pub fn seal(&self, purpose: &'static [u8], mut text: Vec<u8>) -> Option<String> {
        let digest = hmac::sign(&self.nonces, &text);
        let nonce: [u8; NONCE_LEN] = digest.as_ref()[..NONCE_LEN].try_into().ok()?;
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        self.seal.seal_in_place_append_tag(nonce_of, Aad::from(purpose), &mut text).ok()?;
        Some(BASE64URL_NOPAD.encode(&[nonce.as_slice(), &text].concat()))
    }

    /// None for what this key has not sealed for this purpose.
    #[must_use]
    pub fn open(&self, purpose: &'static [u8], sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > SEALED_BYTES_MAX {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let text = self.seal.open_in_place(nonce, Aad::from(purpose), &mut sealed).ok()?;
        Some(text.to_vec())
    }
}

/// Made when there is none.
async fn key(bus: &Bus) -> Result<Arc<Key>, BusError> {
    let bucket = topology::people_bucket(bus).await?;
    let fresh = BASE64URL_NOPAD.encode(&clock::random::<32>());
    let held = match bucket.get(BUCKET_KEY).await.map_err(BusError::request)? {
        Some(held) => held,
        None => match bucket.create(BUCKET_KEY, fresh.clone().into()).await {
            Ok(_) => fresh.into(),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                let held = bucket.get(BUCKET_KEY).await.map_err(BusError::request)?;
                held.ok_or_else(|| BusError::Request("the secret of links is not there yet".to_owned()))?
            }
            Err(error) => return Err(BusError::request(error)),
        },
    };
    let key = Key::parse(&held).map(Arc::new);
    key.ok_or_else(|| BusError::Request("the secret of links cannot be read".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &[u8] = b"here";

    #[test]
    fn what_is_sealed_is_the_same_each_time_and_shows_nothing() {
        let key = Key::new(&[7; 32]).unwrap();
        let sealed = key.seal(HERE, b"ann@example.com".to_vec()).unwrap();
        assert_eq!(key.seal(HERE, b"ann@example.com".to_vec()).unwrap(), sealed);
        assert_eq!(key.open(HERE, &sealed).unwrap(), b"ann@example.com");
        let bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("ann"), "sealed");
        assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }

    #[test]
    fn what_was_not_sealed_by_this_key_for_this_purpose_opens_nothing() {
        let key = Key::new(&[7; 32]).unwrap();
        let sealed = key.seal(HERE, b"ann".to_vec()).unwrap();
        assert_eq!(Key::new(&[8; 32]).unwrap().open(HERE, &sealed), None);
        assert_eq!(key.open(b"there", &sealed), None);
        for at in 0..sealed.len() {
            let mut forged = sealed.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let opened = key.open(HERE, std::str::from_utf8(&forged).unwrap());
            assert!(opened.is_none(), "{at}: the last character's spare bits are refused, too");
        }
        for nothing in ["", "A", "AAAA", &sealed[..sealed.len() - 4], &"A".repeat(SEALED_BYTES_MAX + 4)] {
            assert_eq!(key.open(HERE, nothing), None, "{nothing}");
        }
    }
}
