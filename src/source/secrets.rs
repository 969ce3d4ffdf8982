//! The secrets of webhooks: written and never read. Answers, logs and faults have `***` or nothing in their place.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{HttpSpec, SECRETS_MAX};
use crate::channel::secret::{Lookup, Redacted, expand};
use crate::rule::fault::Fault;

/// What stands where a secret is.
pub const MASK: &str = "***";
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
        String::json_schema(generator)
    }
}

/// The secrets of a source, ready to be compared.
#[derive(Debug, Clone)]
pub struct Keys(pub Vec<Redacted<String>>);

impl Keys {
    /// # Errors
    /// The place of a secret whose variable is not set, or that is too short; never the secret.
    pub fn open(http: &HttpSpec, lookup: Lookup<'_>) -> Result<Self, Fault> {
        let mut keys = Vec::new();
        for (place, secret) in places(http) {
            let text = expand(&secret.0, lookup).map_err(|error| Fault::new(&*place, error.to_string()))?;
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

/// The secrets of a document.
fn each(spec: &mut Value, mut visit: impl FnMut(&str, &mut Value)) {
    let Some(http) = spec.get_mut("http") else { return };
    if let Some(secret) = http.get_mut("secret") {
        visit("/http/secret", secret);
    }
    let list = http.get_mut("secrets").and_then(Value::as_array_mut);
    for (index, secret) in list.into_iter().flatten().enumerate() {
        visit(&format!("/http/secrets/{index}"), secret);
    }
}

/// Puts the mask in the place of each secret.
pub fn mask(spec: &mut Value) {
    each(spec, |_, secret| *secret = MASK.into());
}

/// Puts what is stored back where the mask stands: what was read may be sent back whole. One mask and one stored secret
/// belong together wherever they stand, so that a secret can be rotated by whoever does not know it.
///
/// # Errors
/// When a list of another length has a mask in it: which secret is meant cannot be told.
pub fn unmask(spec: &mut Value, stored: Option<&Value>) -> Result<(), Fault> {
    const LIST: &str = "/http/secrets";
    let known: Vec<(String, Value)> = stored.cloned().map(|mut stored| all(&mut stored)).unwrap_or_default();
    let masked: Vec<String> = all(spec)
        .into_iter()
        .filter(|(_, secret)| secret.as_str() == Some(MASK))
        .map(|(place, _)| place)
        .collect();
    if let ([place], [(_, secret)]) = (&*masked, &*known) {
        spec.pointer_mut(place).into_iter().for_each(|found| *found = secret.clone());
        return Ok(());
    }
    let length = |spec: &Value| spec.pointer(LIST).and_then(Value::as_array).map(Vec::len);
    if masked.iter().any(|place| place.starts_with(LIST)) && length(spec) != stored.and_then(length) {
        let message = format!(
            "{MASK} stands for a secret in its old place: in a list of another length write them out"
        );
        return Err(Fault::new(LIST, message));
    }
    each(spec, |place, secret| {
        if secret.as_str() == Some(MASK)
            && let Some((_, found)) = known.iter().find(|(stored, _)| stored == place)
        {
            *secret = found.clone();
        }
    });
    Ok(())
}

/// The secrets with their places.
fn all(spec: &mut Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    each(spec, |place, secret| found.push((place.to_owned(), secret.clone())));
    found
}

/// True for a place in a document that holds a secret.
#[must_use]
pub fn is_secret(place: &str) -> bool {
    place == "/http" || place.starts_with("/http/")
}
