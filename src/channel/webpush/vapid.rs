//! Who sends: VAPID (RFC 8292), a token for each push service, signed with the key that browsers subscribed to.
//!
//! A token names the push service (`aud`) and holds for twelve hours, half of what the standard allows. Source:
//! <https://www.rfc-editor.org/rfc/rfc8292>.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use reqwest::header::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use url::Url;

use crate::channel::secret::Redacted;
use crate::device::decoded;
use crate::rule::fault::Fault;

const HOLDS_FOR: Duration = Duration::from_secs(12 * 3600);
const PRIVATE_KEY_BYTES: usize = 32;

pub(super) struct Vapid {
    pair: EcdsaKeyPair,
    public_key: String,
    subject: String,
}

impl Vapid {
    /// # Errors
    /// The place in the configuration and what is wrong there.
    pub(super) fn new(private: &Redacted<String>, public: &str, subject: &str) -> Result<Self, Fault> {
        let private = decoded(private.expose().trim()).filter(|key| key.len() == PRIVATE_KEY_BYTES);
        let private = private.ok_or_else(|| {
            Fault::new("/vapidPrivateKey", format!("is not {PRIVATE_KEY_BYTES} bytes in base64url"))
        })?;
        let public = decoded(public.trim())
            .ok_or_else(|| Fault::new("/vapidPublicKey", "is no uncompressed point of P-256 in base64url"))?;
        let subject = subject.trim();
        let legal = ["mailto:", "https://"].iter().any(|head| subject.len() > head.len() && subject.starts_with(head));
        if !legal {
            return Err(Fault::new("/subject", "is neither mailto: nor https:"));
        }
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private, &public, &random);
        let pair = pair.map_err(|_| Fault::new("/vapidPublicKey", "does not belong to vapidPrivateKey"))?;
        Ok(Self { pair, public_key: BASE64URL_NOPAD.encode(&public), subject: subject.to_owned() })
    }

    /// The header for the push service of an endpoint.
    pub(super) fn authorization(&self, endpoint: &Url, at: Timestamp) -> Option<HeaderValue> {
        let expires = crate::deliver::after(at, HOLDS_FOR).as_second();
        let head = json!({ "typ": "JWT", "alg": "ES256" });
        let claims =
            json!({ "aud": endpoint.origin().ascii_serialization(), "exp": expires, "sub": self.subject });
        let [head, claims] = [head, claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
        let signed = format!("{head}.{claims}");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        let signature = BASE64URL_NOPAD.encode(signature.as_ref());
        let mut header =
            HeaderValue::from_str(&format!("vapid t={signed}.{signature}, k={}", self.public_key)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

#[cfg(test)]
pub(in crate::channel) mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    /// Made with `openssl ecparam`, as the documentation shows it.
    pub(in crate::channel) const PRIVATE: &str = "Out5OoD1EYMwZMV5qGLYdyRH6-cVJuacnURK4vvQ-_M";
    pub(in crate::channel) const PUBLIC: &str = "BEfG6HnSw5i8b8h50ENlrNsKI_AWTgmuIuHsa9tOD8BE8_Pg9joqyOYJD_pUqWzZBmhGjmFpCd7arL2Vk7Caj4U";

    fn vapid(private: &str, public: &str, subject: &str) -> Result<Vapid, Fault> {
        Vapid::new(&Redacted::new(private.to_owned()), public, subject)
    }

    #[test]
    fn a_token_names_the_push_service_and_is_signed_with_the_key_beside_it() {
        let vapid = vapid(PRIVATE, PUBLIC, "mailto:ops@example.com").unwrap();
        let at: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let header = vapid.authorization(&Url::parse("https://push.example:8443/send/x").unwrap(), at).unwrap();
        let (token, key) = header.to_str().unwrap().strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(key, PUBLIC);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decoded(key).unwrap());
        key.verify(signed.as_bytes(), &decoded(signature).unwrap()).unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        let read = |part: &str| serde_json::from_slice::<Value>(&decoded(part).unwrap()).unwrap();
        assert_eq!(read(head), json!({"typ": "JWT", "alg": "ES256"}));
        let expected = json!({
            "aud": "https://push.example:8443", "exp": at.as_second() + 43_200, "sub": "mailto:ops@example.com",
        });
        assert_eq!(read(claims), expected);
    }

    #[test]
    fn keys_that_do_not_belong_together_are_refused_without_their_value() {
        let other = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        for (private, public, subject, pointer) in [
            ("hunter2", PUBLIC, "mailto:a@b", "/vapidPrivateKey"),
            (PRIVATE, "hunter2", "mailto:a@b", "/vapidPublicKey"),
            (PRIVATE, other, "mailto:a@b", "/vapidPublicKey"),
            (PRIVATE, PUBLIC, "hunter2", "/subject"),
            (PRIVATE, PUBLIC, "mailto:", "/subject"),
        ] {
            let fault = vapid(private, public, subject).err().unwrap();
            assert_eq!(fault.pointer, pointer);
            assert!(!fault.message.contains("hunter2"));
        }
    }
}
