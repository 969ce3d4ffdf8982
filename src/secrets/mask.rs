//! Secrets are written and never read: answers have `***` in their place, and what was read may be sent back whole.
//!
//! A text that is nothing but `${VAR}` is shown as it is: it says where a secret comes from and holds none. With literal
//! text around it, or a default in it, it is masked like any other.

use serde_json::Value;

use super::places::{moved, places};
use crate::channel::secret::is_reference;
use crate::rule::fault::Fault;

/// What stands where a secret is.
pub const MASK: &str = "***";

/// True for what holds no secret although its place is one for secrets.
#[must_use]
pub fn is_harmless(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(is_reference)
}

/// Puts the mask in the place of each secret.
pub fn mask(schema: &Value, value: &mut Value) {
    for place in places(schema, value) {
        if let Some(secret) = value.pointer_mut(&place).filter(|secret| !is_harmless(secret)) {
            *secret = MASK.into();
        }
    }
}

/// Puts what is stored back where the mask stands. A mask stands for the secret in its own place; the one mask of a field
/// (`secret`, or somewhere in `secrets`) for the one secret that is stored there, so that a secret can be rotated by whoever
/// does not know it.
///
/// # Errors
/// A mask in a list of another length (which secret is meant cannot be told), or where none is stored; and any mask where an
/// address is another one than that which is stored: whoever may only write a secret would read it there.
pub fn unmask(schema: &Value, value: &mut Value, stored: Option<&Value>) -> Result<(), Fault> {
    let masked: Vec<String> =
        places(schema, value).into_iter().filter(|place| is_mask(value.pointer(place))).collect();
    let known = stored.map(|stored| hidden(schema, stored)).unwrap_or_default();
    for place in &masked {
        let same = |other: &String| field(other) == field(place);
        let (masks, secrets) = (
            masked.iter().filter(|other| same(other)).count(),
            known.iter().filter(|(other, _)| same(other)),
        );
        let secret = match (masks, &*secrets.collect::<Vec<_>>()) {
            (1, [(_, secret)]) => secret.clone(),
            _ => in_its_place(place, value, stored, &known)?,
        };
        value.pointer_mut(place).into_iter().for_each(|found| *found = secret.clone());
    }
    match (masked.first(), stored.and_then(|stored| moved(schema, stored, value))) {
        (Some(place), Some(moved)) => Err(left_behind(place, moved)),
        (None, _) | (_, None) => Ok(()),
    }
}

/// Refuses the first mask of a value: what it stands for was stored for another `moved`.
///
/// # Errors
/// Its place.
pub fn check_written(schema: &Value, value: &Value, moved: &str) -> Result<(), Fault> {
    first_mask(schema, value).map_or(Ok(()), |place| Err(left_behind(&place, moved)))
}

fn left_behind(place: &str, moved: &str) -> Fault {
    let message = format!(
        "is {MASK}, and `{moved}` is another one: a stored secret stays where it is, write the secret again"
    );
    Fault::new(place, message)
}

fn in_its_place(
    place: &str,
    value: &Value,
    stored: Option<&Value>,
    known: &[(String, Value)],
) -> Result<Value, Fault> {
    let list = place.rsplit_once('/').map_or("", |(list, _)| list);
    let length = |value: &Value| value.pointer(list).and_then(Value::as_array).map(Vec::len);
    if length(value).is_some() && length(value) != stored.and_then(length) {
        let message = format!(
            "{MASK} stands for a secret in its old place: in a list of another length write them out"
        );
        return Err(Fault::new(list, message));
    }
    match known.iter().find(|(other, _)| other == place) {
        Some((_, secret)) => Ok(secret.clone()),
        None => Err(refused(place)),
    }
}

/// Refuses a mask: it stands for a secret, and there is none that it could stand for.
///
/// # Errors
/// The place of the first mask.
pub fn check_unmasked(schema: &Value, value: &Value) -> Result<(), Fault> {
    first_mask(schema, value).map_or(Ok(()), |place| Err(refused(&place)))
}

fn first_mask(schema: &Value, value: &Value) -> Option<String> {
    places(schema, value).into_iter().find(|place| is_mask(value.pointer(place)))
}

fn refused(place: &str) -> Fault {
    Fault::new(place, format!("is {MASK}, which stands for a secret: write the secret itself"))
}

fn is_mask(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str) == Some(MASK)
}

/// What a mask may stand for, with its place.
fn hidden(schema: &Value, stored: &Value) -> Vec<(String, Value)> {
    let found = places(schema, stored).into_iter();
    let found = found.filter_map(|place| Some((place.clone(), stored.pointer(&place)?.clone())));
    found.filter(|(_, secret)| !is_harmless(secret)).collect()
}

/// The field that a place belongs to: a list and the single form of it are one.
fn field(place: &str) -> String {
    let is_index = |part: &&str| part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = place.split('/').filter(is_index).collect();
    parts.join("/").trim_end_matches('s').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channel::Kind;

    fn webhook() -> Value {
        Kind::Webhook.config_schema()
    }

    #[test]
    fn what_only_names_variables_is_shown_and_all_else_is_masked() {
        let mut config = json!({
            "url": "https://example.com/hook", "secrets": ["${NEW}", "${OLD:-}", "${OLD:-whsec_x}", ""],
            "headers": { "Authorization": "Bearer ${TOKEN}", "X-Both": "${A}${B}", "X-Open": "${", "X-Text": "$${A}" },
        });
        mask(&webhook(), &mut config);
        let expected = json!({
            "url": "***", "secrets": ["${NEW}", "${OLD:-}", "***", ""],
            "headers": { "Authorization": "***", "X-Both": "${A}${B}", "X-Open": "***", "X-Text": "***" },
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn what_was_read_may_be_sent_back_whole() {
        let stored = json!({ "url": "https://a.example/", "secrets": ["one", "${TWO}"], "headers": { "A": "x", "B": "y" } });
        let mut config = stored.clone();
        mask(&webhook(), &mut config);
        config["headers"]["B"] = json!("z");
        unmask(&webhook(), &mut config, Some(&stored)).unwrap();
        let expected = json!({ "url": "https://a.example/", "secrets": ["one", "${TWO}"], "headers": { "A": "x", "B": "z" } });
        assert_eq!(config, expected);
    }

    #[test]
    fn a_mask_that_stands_for_nothing_is_refused_with_its_place() {
        let stored = json!({ "url": "https://a.example/", "headers": { "A": "x" }, "secrets": ["a", "b"] });
        for (sent, stored, place) in [
            (json!({ "url": "***" }), None, "/url"),
            // A header never gets what another one or the address was.
            (json!({ "url": "***", "headers": { "B": "***" } }), Some(&stored), "/headers/B"),
            (json!({ "url": "***", "secrets": ["***"] }), Some(&stored), "/secrets"),
            (json!({ "url": "***", "secrets": ["***", "***", "c"] }), Some(&stored), "/secrets"),
        ] {
            let mut config = sent;
            let fault = unmask(&webhook(), &mut config, stored).unwrap_err();
            assert_eq!(fault.pointer, place, "{fault}");
            assert!(fault.message.contains("***"));
        }
        assert!(check_unmasked(&webhook(), &stored).is_ok());
        assert_eq!(check_unmasked(&webhook(), &json!({ "url": "***" })).unwrap_err().pointer, "/url");
    }

    #[test]
    fn a_stored_secret_stays_behind_when_an_address_changes() {
        let hook = json!({ "url": "https://a.example/", "headers": { "A": "x" } });
        let bot = json!({ "botToken": "t", "chatId": 1, "apiBase": "https://a.example/" });
        for (kind, stored, sent, place) in [
            (
                Kind::Webhook,
                &hook,
                json!({ "url": "https://b.example/", "headers": { "A": "***" } }),
                "/headers/A",
            ),
            (
                Kind::Telegram,
                &bot,
                json!({ "botToken": "***", "apiBase": "https://b.example/" }),
                "/botToken",
            ),
            (Kind::Telegram, &bot, json!({ "botToken": "***" }), "/botToken"),
            (
                Kind::Url,
                &json!({ "url": "ntfy://a" }),
                json!({ "url": "***", "apiBase": "https://b.example/" }),
                "/url",
            ),
        ] {
            let mut config = sent;
            let fault = unmask(&kind.config_schema(), &mut config, Some(stored)).unwrap_err();
            assert_eq!(fault.pointer, place, "{fault}");
            assert!(fault.message.contains("write the secret again"), "{fault}");
        }
        for mut sent in [
            json!({ "url": "***", "headers": { "A": "***" } }),
            json!({ "url": "https://b.example/", "headers": { "A": "y" } }),
        ] {
            unmask(&webhook(), &mut sent, Some(&hook)).unwrap();
        }
    }
}
