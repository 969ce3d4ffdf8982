//! Sealed secrets: boxes that anybody can close and only the holder of the private key can open.
//!
//! `sealed:v1:<key id>:<base 64 for URLs>`. In the box, as libsodium's `crypto_box_seal` makes it, are the workspace, a zero byte and
//! the secret as it was written: `${VAR}` in it is replaced after it was opened. The workspace is there so that what one tenant
//! sealed is of no use in the documents of another.

use crypto_box::aead::OsRng;
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::key::{KeyRing, SealingKey};
use super::mask::is_harmless;
use super::places::places;
use crate::ids::WorkspaceId;
use crate::rule::fault::Fault;

const HEAD: &str = "sealed:v1:";

/// True for what is, or pretends to be, a sealed secret.
#[must_use]
pub fn is_sealed(text: &str) -> bool {
    text.starts_with("sealed:")
}

/// None when the key is none, or there is no randomness.
#[must_use]
pub fn seal(key: &SealingKey, workspace: &WorkspaceId, secret: &str) -> Option<String> {
    let inside = format!("{workspace}\0{secret}");
    let sealed = key.key()?.seal(&mut OsRng, inside.as_bytes()).ok()?;
    Some(format!("{HEAD}{}:{}", key.id, BASE64URL_NOPAD.encode(&sealed)))
}

/// Opens a sealed secret; a text that is none stays what it is.
///
/// # Errors
/// Why it cannot be opened. Names the key, never what is sealed.
pub fn open(keys: &KeyRing, workspace: &WorkspaceId, text: &str) -> Result<String, String> {
    if !is_sealed(text) {
        return Ok(text.to_owned());
    }
    let parts = text.strip_prefix(HEAD).and_then(|rest| rest.split_once(':'));
    let (id, encoded) = parts.ok_or("is sealed in a way that this version does not know")?;
    let known = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = if known { id } else { "(unreadable)" };
    let key = keys.secret(id).ok_or_else(|| {
        format!("is sealed with the key {id}, which this process does not have: see secrets.key_file")
    })?;
    let broken = || format!("is sealed with the key {id} and cannot be opened: it was cut or changed");
    let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| broken())?;
    let inside =
        key.unseal(&bytes).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(broken)?;
    match inside.split_once('\0') {
        Some((of, secret)) if of == workspace.as_str() => Ok(secret.to_owned()),
        Some(_) | None => Err("was sealed for another workspace".to_owned()),
    }
}

/// The keys that anything in a value was sealed with.
#[must_use]
pub fn keys_in(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => {
            let key = text.strip_prefix(HEAD).and_then(|rest| rest.split_once(':'));
            key.map(|(id, _)| id).into_iter().collect()
        }
        Value::Array(items) => items.iter().flat_map(keys_in).collect(),
        Value::Object(fields) => fields.values().flat_map(keys_in).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Opens every sealed secret of a value.
///
/// # Errors
/// The first one that cannot be opened.
pub fn open_all(
    schema: &Value,
    keys: &KeyRing,
    workspace: &WorkspaceId,
    value: &Value,
) -> Result<Value, Fault> {
    let mut opened = value.clone();
    for place in places(schema, value) {
        let Some(Value::String(text)) = opened.pointer_mut(&place) else { continue };
        *text = open(keys, workspace, text).map_err(|why| Fault::new(&*place, why))?;
    }
    Ok(opened)
}

/// The places of what is to be sealed: literal secrets, and references with more than `${VAR}` in them.
#[must_use]
pub fn literal(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = places(schema, value);
    let open = |text: &str| !is_sealed(text);
    found.retain(|place| {
        value.pointer(place).is_some_and(|found| !is_harmless(found) && found.as_str().is_some_and(open))
    });
    found
}

/// Seals what is literal. What is stored stays as it is where `keys` can tell that it says the same under the same key: a box is
/// another one each time.
///
/// # Errors
/// The place of a secret that cannot be sealed.
pub fn seal_all(
    schema: &Value,
    value: &mut Value,
    (key, workspace): (&SealingKey, &WorkspaceId),
    (keys, stored): (&KeyRing, Option<&Value>),
) -> Result<(), Fault> {
    let current = format!("{HEAD}{}:", key.id);
    for place in literal(schema, value) {
        let Some(Value::String(text)) = value.pointer_mut(&place) else { continue };
        let held = stored.and_then(|stored| stored.pointer(&place)?.as_str());
        let same =
            |held: &&str| held.starts_with(&current) && open(keys, workspace, held).as_ref() == Ok(&*text);
        *text = match held.filter(same) {
            Some(held) => held.to_owned(),
            None => seal(key, workspace, text).ok_or_else(|| Fault::new(&*place, "cannot be sealed"))?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::channel::Kind;
    use crate::secrets::key::new_line;

    fn ring(seed: u8) -> KeyRing {
        KeyRing::parse(&new_line(&[seed; 32], Timestamp::UNIX_EPOCH)).unwrap()
    }

    fn workspace(name: &str) -> WorkspaceId {
        WorkspaceId::parse(name).unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_private_key_alone() {
        let (keys, home) = (ring(1), workspace("default"));
        let sealed = seal(&keys.current().unwrap(), &home, "s3cret $${X} ${TOKEN}").unwrap();
        assert!(sealed.starts_with("sealed:v1:") && !sealed.contains("s3cret"), "{sealed}");
        assert_eq!(open(&keys, &home, &sealed).as_deref(), Ok("s3cret $${X} ${TOKEN}"));
        assert_ne!(seal(&keys.current().unwrap(), &home, "a"), seal(&keys.current().unwrap(), &home, "a"));
        let unknown = open(&ring(2), &home, &sealed).unwrap_err();
        assert!(
            unknown.contains(keys.current().unwrap().id.as_str()) && !unknown.contains("s3cret"),
            "{unknown}"
        );
        assert!(open(&KeyRing::default(), &home, &sealed).is_err());
        assert!(open(&keys, &workspace("other"), &sealed).unwrap_err().contains("another workspace"));
        assert_eq!(open(&keys, &home, "plain").as_deref(), Ok("plain"));
    }

    #[test]
    fn what_was_changed_on_the_way_is_not_opened() {
        let (keys, home) = (ring(1), workspace("default"));
        let sealed = seal(&keys.current().unwrap(), &home, "s3cret").unwrap();
        let (head, body) = sealed.rsplit_once(':').unwrap();
        let flipped = if body.starts_with('A') { "B" } else { "A" };
        for text in [
            format!("{head}:{flipped}{}", &body[1..]),
            format!("{head}:{}", &body[..body.len() - 4]),
            format!("{head}:"),
            format!("{head}:not base 64"),
            "sealed:v1:".to_owned(),
            "sealed:v2:x:y".to_owned(),
            "sealed:v1:hunter2 and more:y".to_owned(),
        ] {
            let why = open(&keys, &home, &text).unwrap_err();
            assert!(!why.contains("hunter2") && !why.contains(body), "{why}");
        }
    }

    #[test]
    fn secrets_are_sealed_where_the_schema_has_them_and_what_says_the_same_stays() {
        let (schema, keys, home) = (Kind::Webhook.config_schema(), ring(1), workspace("default"));
        let current = keys.current().unwrap();
        let config = json!({ "url": "https://a.example/", "secrets": ["${S}"], "headers": { "A": "Bearer ${T}", "B": "" } });
        let mut sealed = config.clone();
        seal_all(&schema, &mut sealed, (&current, &home), (&keys, None)).unwrap();
        assert_eq!((&sealed["secrets"][0], &sealed["headers"]["B"]), (&json!("${S}"), &json!("")));
        for place in ["/url", "/headers/A"] {
            assert!(is_sealed(sealed.pointer(place).unwrap().as_str().unwrap()), "{place}");
        }
        assert_eq!(open_all(&schema, &keys, &home, &sealed).unwrap(), config);
        assert!(literal(&schema, &sealed).is_empty());

        let mut again = config.clone();
        again["headers"]["A"] = json!("Bearer other");
        seal_all(&schema, &mut again, (&current, &home), (&keys, Some(&sealed))).unwrap();
        assert_eq!(again["url"], sealed["url"]);
        assert_ne!(again["headers"]["A"], sealed["headers"]["A"]);
        // Under another key, or for who cannot open it, it is another box.
        let next = ring(2).current().unwrap();
        for (key, keys) in [(&next, &keys), (&current, &KeyRing::default())] {
            let mut other = config.clone();
            seal_all(&schema, &mut other, (key, &home), (keys, Some(&sealed))).unwrap();
            assert_ne!(other["url"], sealed["url"]);
        }
        let fault = open_all(&schema, &ring(2), &home, &sealed).unwrap_err();
        assert!(fault.pointer == "/headers/A", "{fault}");
    }
}
