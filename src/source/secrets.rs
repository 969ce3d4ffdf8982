//! The secrets of webhooks: written and never read. Answers, logs and faults have `***` or nothing in their place.

use std::fmt;

use super::{HttpSpec, SECRETS_MAX};
use crate::channel::secret::{Lookup, Redacted, expand};
use crate::rule::fault::Fault;
use crate::secrets::MASK;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// Shorter ones can be tried out.
const SECRET_BYTES_MIN: usize = 16;

/// A secret as its document has it, perhaps `${VAR}`. It goes into the bucket as it is and prints nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl JsonSchema for Sealed {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = String::json_schema(generator);
        schema.insert("writeOnly".to_owned(), true.into());
        schema
    }
}

/// Opens what is sealed, and leaves what is not as it is; or says why it cannot.
pub type Unseal<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The secrets of a source, ready to be compared.
#[derive(Debug, Clone)]
pub struct Keys(pub Vec<Redacted<String>>);

impl Keys {
    /// # Errors
    /// The place of a secret whose variable is not set, or that is too short; never the secret.
    pub fn open(http: &HttpSpec, lookup: Lookup<'_>, unseal: Unseal<'_>) -> Result<Self, Fault> {
        let mut keys = Vec::new();
        for (place, secret) in places(http) {
            let text = unseal(&secret.0).map_err(|why| Fault::new(&*place, why))?;
            let text = expand(&text, lookup).map_err(|error| Fault::new(&*place, error.to_string()))?;
            // While one secret takes the place of another, the second one may be empty.
            if text.is_empty() {
                continue;
            }
            check_length(&place, &text)?;
            keys.push(Redacted::new(text));
        }
        if keys.is_empty() {
            return Err(Fault::here("has no secret that is not empty: whoever calls could send events"));
        }
        Ok(Self(keys))
    }
}

fn places(http: &HttpSpec) -> impl Iterator<Item = (String, &Sealed)> {
    let single = http.secret.iter().map(|secret| ("/secret".to_owned(), secret));
    single.chain(http.secrets.iter().enumerate().map(|(index, secret)| (format!("/secrets/{index}"), secret)))
}

fn check_length(place: &str, text: &str) -> Result<(), Fault> {
    if text.len() < SECRET_BYTES_MIN {
        let message = format!("is too short: a secret has {SECRET_BYTES_MIN} characters or more");
        return Err(Fault::new(place, message));
    }
    Ok(())
}

/// Checks what can be known without the environment.
///
/// # Errors
/// The place and the fault.
pub fn check(http: &HttpSpec) -> Result<(), Fault> {
    if http.secret.is_none() && http.secrets.is_empty() {
        return Err(Fault::here("needs a `secret`, or `secrets`: whoever calls could send events"));
    }
    if http.secrets.len() > SECRETS_MAX {
        return Err(Fault::new("/secrets", format!("at most {SECRETS_MAX} are allowed")));
    }
    for (place, secret) in places(http) {
        if secret.0 == MASK {
            return Err(Fault::new(
                place,
                format!("is {MASK}, which stands for a secret: write the secret itself"),
            ));
        }
        if !secret.0.contains("${") {
            check_length(&place, &secret.0)?;
        }
    }
    Ok(())
}

/// True for a place in a document that holds a secret.
#[must_use]
pub fn is_secret(place: &str) -> bool {
    place == "/http" || place.starts_with("/http/")
}
