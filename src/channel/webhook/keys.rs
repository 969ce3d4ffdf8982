//! The keys that sign webhooks, as Standard Webhooks 1.0 has them: `whsec_` shared with the receiver (HMAC-SHA256, `v1`), `whsk_`
//! private, for receivers who hold only the public half (ed25519, `v1a`).
//!
//! Both sign the same text. A private key is a seed of 32 bytes, with or without the public key behind it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::signature::Ed25519KeyPair;

use crate::rule::fault::Fault;

/// Of a shared secret: 192 to 512 bits, as the standard has it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const SEED_BYTES: usize = 32;

/// What signs. It does not print.
pub(super) enum Key {
    Shared(hmac::Key),
    Private(Box<Ed25519KeyPair>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Key {
    /// # Errors
    /// What is wrong with it, at `pointer`.
    pub fn parse(text: &str, pointer: &str) -> Result<Self, Fault> {
        let fault = |message: &str| Err(Fault::new(pointer, message));
        if text.starts_with("whpk_") {
            return fault("is a public key: it is the receiver's, and the private one, `whsk_…`, belongs here");
        }
        if let Some(encoded) = text.strip_prefix("whsk_") {
            let Ok(bytes) = STANDARD.decode(encoded) else { return fault("is not base64 behind `whsk_`") };
            return match private(&bytes) {
                Some(pair) => Ok(Self::Private(Box::new(pair))),
                None => fault("is no ed25519 key: 32 bytes once decoded, or 64 with the public key behind it"),
            };
        }
        match text.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok()) {
            Some(bytes) if SECRET_BYTES.contains(&bytes.len()) => {
                Ok(Self::Shared(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
            }
            Some(_) => fault("is not 24 to 64 bytes long once decoded"),
            None => fault("is not `whsec_` or `whsk_` and base64"),
        }
    }

    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        match self {
            Self::Shared(secret) => {
                let mut context = hmac::Context::with_key(secret);
                parts.into_iter().for_each(|part| context.update(part));
                format!("v1,{}", STANDARD.encode(context.sign()))
            }
            Self::Private(pair) => format!("v1a,{}", STANDARD.encode(pair.sign(&parts.concat()))),
        }
    }
}

fn private(bytes: &[u8]) -> Option<Ed25519KeyPair> {
    match bytes.split_at_checked(SEED_BYTES)? {
        (seed, []) => Ed25519KeyPair::from_seed_unchecked(seed).ok(),
        (seed, public) => Ed25519KeyPair::from_seed_and_public_key(seed, public).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    /// The reference vector of the Svix server, where the standard comes from; the same message as the standard's own example.
    const PRIVATE: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const SEED: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=";

    #[test]
    fn signatures_are_those_of_the_published_examples() {
        let ed25519 = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        for (key, expected) in [
            (SHARED, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            (PRIVATE, ed25519),
            (SEED, ed25519),
        ] {
            let key = Key::parse(key, "").unwrap();
            let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
            assert_eq!(signature, expected);
        }
    }

    #[test]
    fn what_is_no_key_is_said_without_it() {
        for (text, message) in [
            ("hunter2", "is not `whsec_` or `whsk_`"),
            ("whsec_hunter2!", "is not `whsec_` or `whsk_`"),
            ("whsec_aHVudGVyMg==", "24 to 64 bytes"),
            ("whsk_hunter2!", "not base64"),
            ("whsk_aHVudGVyMg==", "no ed25519 key"),
            // The public half belongs to another key.
            ("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlaaaaaaaaaaAJ6p9lMicMFs6Kvg==", "no ed25519 key"),
            ("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", "public key"),
        ] {
            let fault = Key::parse(text, "/secrets/0").unwrap_err();
            assert_eq!(fault.pointer, "/secrets/0");
            assert!(fault.message.contains(message), "{fault}");
            assert!(!fault.message.contains("hunter2") && !fault.message.contains("1SiA4"), "{fault}");
        }
    }

    #[test]
    fn a_key_does_not_print() {
        for key in [SHARED, PRIVATE] {
            assert_eq!(format!("{:?}", Key::parse(key, "").unwrap()), "[redacted]");
        }
    }
}
