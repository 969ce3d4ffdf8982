//! How a webhook proves that it knows the secret: it says it, or it signs with it. One proof that holds is enough.
//!
//! | what | header |
//! |---|---|
//! | the secret itself | `Authorization: Bearer <secret>`, or Basic with the secret as password and any user |
//! | HMAC-SHA256 of the body | `X-Hub-Signature-256: sha256=<hex>` (GitHub), `Sentry-Hook-Signature: <hex>` |
//! | Standard Webhooks | `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<base 64>` |
//!
//! All are compared in constant time. Sources: GitHub's, Sentry's and Standard Webhooks' documentation.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER_PERMISSIVE;
use jiff::Timestamp;
use ring::hmac;
use subtle::ConstantTimeEq;

use super::secrets::Keys;

/// A signed time further away than this is an old request, played again.
const TOLERANCE_SECONDS: i64 = 300;
/// Secrets of Standard Webhooks begin with it; behind it stands the key in base 64.
const KEY_PREFIX: &str = "whsec_";
/// Headers with an HMAC of the body in hexadecimal, and what stands before it.
const BODY_SIGNATURES: [(&str, &str); 2] =
    [("x-hub-signature-256", "sha256="), ("sentry-hook-signature", "")];

/// Headers that hold a secret or a proof of one: they go no further than here.
const SECRET_HEADERS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "webhook-signature",
    "x-hub-signature",
    "x-hub-signature-256",
    "sentry-hook-signature",
];

/// True for a header that templates, dead letters and logs do not see.
#[must_use]
pub fn is_secret(header: &str) -> bool {
    SECRET_HEADERS.iter().any(|secret| header.eq_ignore_ascii_case(secret))
}

/// A request, as far as its proof is concerned.
pub struct Proof<'a> {
    /// The value of a header by its name in lower case.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    pub body: &'a [u8],
    pub now: Timestamp,
}

impl Proof<'_> {
    /// True when one of the secrets was said, or signed this body.
    #[must_use]
    pub fn holds(&self, keys: &Keys) -> bool {
        keys.0.iter().any(|key| {
            let key = key.expose();
            self.is_said(key) || self.signs_body(key.as_bytes()) || self.signs_webhook(key)
        })
    }

    fn is_said(&self, key: &str) -> bool {
        let Some((scheme, said)) = (self.header)("authorization").and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        let said = said.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return same(said.as_bytes(), key.as_bytes());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let pair = STANDARD.decode(said).unwrap_or_default();
        let password = pair.iter().position(|byte| *byte == b':').map(|colon| &pair[colon + 1..]);
        password.is_some_and(|password| same(password, key.as_bytes()))
    }

    fn signs_body(&self, key: &[u8]) -> bool {
        BODY_SIGNATURES.iter().any(|(header, prefix)| {
            let hex = (self.header)(header).and_then(|text| text.trim().strip_prefix(prefix));
            let found = hex.and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok());
            found.is_some_and(|found| signed(key, &[self.body], &found))
        })
    }

    fn signs_webhook(&self, key: &str) -> bool {
        let header = |name: &str| (self.header)(name);
        let (Some(id), Some(time), Some(signatures)) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
        else {
            return false;
        };
        let age = time.parse::<i64>().ok().and_then(|time| self.now.as_second().checked_sub(time));
        if age.is_none_or(|age| age.checked_abs().is_none_or(|age| age > TOLERANCE_SECONDS)) {
            return false;
        }
        let key = match key.strip_prefix(KEY_PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).unwrap_or_default(),
            None => key.as_bytes().to_vec(),
        };
        let content = [id.as_bytes(), b".", time.as_bytes(), b".", self.body];
        let found =
            signatures.split_whitespace().filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
        !key.is_empty() && found.into_iter().any(|found| signed(&key, &content, &found))
    }
}

fn same(said: &[u8], key: &[u8]) -> bool {
    said.ct_eq(key).into()
}

fn signed(key: &[u8], content: &[&[u8]], signature: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::verify(&key, &content.concat(), signature).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::channel::secret::Redacted;

    fn keys(secrets: &[&str]) -> Keys {
        Keys(secrets.iter().map(|secret| Redacted::new((*secret).to_owned())).collect())
    }

    fn holds(headers: &[(&str, &str)], body: &str, secrets: &[&str], now: i64) -> bool {
        let headers: BTreeMap<String, String> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let header = |name: &str| headers.get(name).map(String::as_str);
        let proof =
            Proof { header: &header, body: body.as_bytes(), now: Timestamp::from_second(now).unwrap() };
        proof.holds(&keys(secrets))
    }

    #[test]
    fn a_secret_is_said_as_bearer_or_as_password_of_anybody() {
        let secret = "a-secret-of-the-tests";
        for (header, expected) in [
            (format!("Bearer {secret}"), true),
            (format!("bearer {secret}"), true),
            (format!("Basic {}", STANDARD.encode(format!("any:{secret}"))), true),
            (format!("Basic {}", STANDARD.encode(format!("{secret}:any"))), false),
            (format!("Basic {}", STANDARD.encode(secret)), false),
            (format!("Bearer {secret}x"), false),
            ("Bearer ".to_owned(), false),
            (secret.to_owned(), false),
            ("Basic !".to_owned(), false),
        ] {
            assert_eq!(holds(&[("authorization", &header)], "{}", &[secret], 0), expected, "{header}");
            assert_eq!(
                holds(&[("authorization", &header)], "{}", &["another-secret-yet", secret], 0),
                expected
            );
        }
        assert!(!holds(&[], "{}", &[secret], 0));
    }

    #[test]
    fn githubs_own_example_holds_and_another_body_does_not() {
        // docs.github.com, "Testing the webhook payload validation".
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let (secret, header) = ("It's a Secret to Everybody", "x-hub-signature-256");
        assert!(holds(&[(header, signature)], "Hello, World!", &[secret], 0));
        assert!(holds(&[("sentry-hook-signature", &signature[7..])], "Hello, World!", &[secret], 0));
        assert!(!holds(&[(header, signature)], "Hello, World", &[secret], 0));
        assert!(!holds(&[(header, &signature[7..])], "Hello, World!", &[secret], 0));
        assert!(!holds(&[(header, "sha256=")], "Hello, World!", &[secret], 0));
        assert!(!holds(&[(header, signature)], "Hello, World!", &["It's a Secret to Nobody"], 0));
    }

    #[test]
    fn the_example_of_standard_webhooks_holds_for_five_minutes() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v2,x"),
        ];
        let body = r#"{"test": 2432232314}"#;
        for (now, expected) in [(0, true), (300, true), (-300, true), (301, false), (-301, false)] {
            assert_eq!(holds(&headers, body, &[secret], 1_614_265_330 + now), expected, "{now}");
        }
        assert!(!holds(&headers, "{}", &[secret], 1_614_265_330));
        let broken = [headers[0], ("webhook-timestamp", "-9223372036854775808"), headers[2]];
        assert!(!holds(&broken, body, &[secret], 1_614_265_330));
    }
}
