//! Keys that secrets are sealed to: a pair of X25519 each, of which the public half lies in the bucket.
//!
//! A text of keys has one a line, the current one first; the others open what was sealed before. Nothing here prints a key,
//! and faults name a line by its number.

use std::fmt;

use crypto_box::{PublicKey, SecretKey};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const HEAD: &str = "bugle-secret-key:v1:";
/// 48 bits of a digest: enough to tell the keys of one installation apart, and nothing depends on more.
const ID_BYTES: usize = 6;
const KEY_BYTES: usize = 32;

/// What a key is called: the beginning of a digest of its public half.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    fn of(key: &PublicKey) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(key.as_bytes())[..ID_BYTES]))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The half of a key that anybody may have: whoever has it can seal, and open nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealingKey {
    pub id: KeyId,
    /// Base 64, for URLs.
    pub public_key: String,
    /// Of two keys the newer one is in force.
    pub created_at: Timestamp,
}

impl SealingKey {
    /// None when it is no key.
    #[must_use]
    pub fn key(&self) -> Option<PublicKey> {
        let bytes = BASE64URL_NOPAD.decode(self.public_key.as_bytes()).ok()?;
        PublicKey::from_slice(&bytes).ok().filter(|key| KeyId::of(key) == self.id)
    }
}

/// A whole key.
#[derive(Clone)]
struct Pair {
    id: KeyId,
    key: SecretKey,
    created_at: Timestamp,
}

/// The keys of a process; none where it has no business with secrets.
#[derive(Clone, Default)]
pub struct KeyRing(Vec<Pair>);

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|pair| &pair.id)).finish()
    }
}

impl KeyRing {
    /// Reads keys, one a line (or with commas between), the current one first. Lines that begin with `#` are remarks.
    ///
    /// # Errors
    /// The number of a line that is no key, or that there is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pairs: Vec<Pair> = Vec::new();
        for (number, line) in text.split(['\n', ',']).enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pair = Pair::parse(line)
                .ok_or_else(|| format!("line {} is no key: `bugle secrets new-key` makes one", number + 1))?;
            if !pairs.iter().any(|known| known.id == pair.id) {
                pairs.push(pair);
            }
        }
        if pairs.is_empty() {
            return Err("holds no key: `bugle secrets new-key` makes one".to_owned());
        }
        Ok(Self(pairs))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn has(&self, id: &KeyId) -> bool {
        self.0.iter().any(|pair| pair.id == *id)
    }

    /// The public half of the current key.
    #[must_use]
    pub fn current(&self) -> Option<SealingKey> {
        self.0.first().map(Pair::public)
    }

    pub(super) fn secret(&self, id: &str) -> Option<&SecretKey> {
        self.0.iter().find(|pair| pair.id.0 == id).map(|pair| &pair.key)
    }
}

impl Pair {
    fn parse(line: &str) -> Option<Self> {
        let (seconds, encoded) = line.strip_prefix(HEAD)?.split_once(':')?;
        let created_at = Timestamp::from_second(seconds.parse().ok()?).ok()?;
        let key = SecretKey::from_slice(&BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?).ok()?;
        Some(Self { id: KeyId::of(&key.public_key()), key, created_at })
    }

    fn public(&self) -> SealingKey {
        let public_key = BASE64URL_NOPAD.encode(self.key.public_key().as_bytes());
        SealingKey { id: self.id.clone(), public_key, created_at: self.created_at }
    }
}

/// A new key's line, from randomness that nobody can guess.
#[must_use]
pub fn new_line(bytes: &[u8; KEY_BYTES], at: Timestamp) -> String {
    format!("{HEAD}{}:{}", at.as_second(), BASE64URL_NOPAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_their_order_and_never_printed() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let (first, second) = (new_line(&[1; 32], at), new_line(&[2; 32], at));
        let ring = KeyRing::parse(&format!("# current\n{first}\n\n{second}\n{first}\n")).unwrap();
        let current = ring.current().unwrap();
        assert_eq!((ring.0.len(), current.created_at), (2, at));
        assert_eq!(current, KeyRing::parse(&format!("{first},{second}")).unwrap().current().unwrap());
        assert!(current.key().is_some() && ring.has(&current.id));
        let printed = format!("{ring:?}");
        assert!(printed.contains(current.id.as_str()), "{printed}");
        assert!(!printed.contains(first.rsplit(':').next().unwrap()), "{printed}");
    }

    #[test]
    fn what_is_no_key_is_refused_by_its_line_and_not_repeated() {
        let good = new_line(&[1; 32], Timestamp::UNIX_EPOCH);
        for text in ["hunter2", "bugle-secret-key:v1:1:hunter2", "bugle-secret-key:v2:1:AA"] {
            let refused = KeyRing::parse(&format!("{good}\n{text}")).unwrap_err();
            assert!(refused.starts_with("line 2") && !refused.contains("hunter2"), "{refused}");
        }
        assert!(KeyRing::parse("# nothing\n").unwrap_err().contains("holds no key"));
        let forged =
            SealingKey { id: KeyId("0".to_owned()), ..KeyRing::parse(&good).unwrap().current().unwrap() };
        assert!(forged.key().is_none());
    }
}
