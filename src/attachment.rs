//! Attachments: small files that an event brings in its data, or a send beside its text. They travel in the delivery itself.
//!
//! One is sent where the provider takes files, and named or linked where it does not. A `url` is only ever shown or handed
//! to the provider: Bugle fetches nothing, and reads no file of its own disk.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::channel::text::one_line;
use crate::documents::strict;
use crate::rule::fault::{Fault, LeftOut};

/// More are left out, with a note.
pub const ATTACHMENTS_MAX: usize = 10;
const NAME_CHARS_MAX: usize = 120;
const URL_BYTES_MAX: usize = 2048;
const CONTENT_TYPE_BYTES_MAX: usize = 127;

/// A file: its name, and exactly one of `text`, `json`, `base64` and `url`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// With its extension, without a path.
    pub name: String,
    /// Default: by the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// http(s); shown as a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    Link(&'a str),
    Bytes(Vec<u8>),
}

impl Attachment {
    /// # Errors
    /// The place and the fault, relative to the attachment.
    pub fn check(&self) -> Result<(), Fault> {
        let name = &self.name;
        let legal = |ch: char| !ch.is_control() && !matches!(ch, '/' | '\\' | '"' | ':' | '\0');
        if one_line(name) != *name
            || name.is_empty()
            || name.chars().count() > NAME_CHARS_MAX
            || !name.chars().all(legal)
        {
            let message =
                format!("is no file's name: 1 to {NAME_CHARS_MAX} characters, without /, \\, : and \"");
            return Err(Fault::new("/name", message));
        }
        if self.content_type.as_deref().is_some_and(|found| !is_content_type(found)) {
            return Err(Fault::new("/contentType", "is no media type, like text/csv"));
        }
        let given = [self.text.is_some(), self.json.is_some(), self.base64.is_some(), self.url.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(Fault::here("needs exactly one of text, json, base64 and url"));
        }
        if self.base64.as_deref().is_some_and(|text| STANDARD.decode(text).is_err()) {
            return Err(Fault::new("/base64", "is not base64"));
        }
        if self.url.as_deref().is_some_and(|url| !is_url(url)) {
            return Err(Fault::new("/url", "is no http or https URL, or too long"));
        }
        Ok(())
    }

    #[must_use]
    pub fn content(&self) -> Content<'_> {
        if let Some(url) = &self.url {
            return Content::Link(url);
        }
        let json = || self.json.as_ref().and_then(|json| serde_json::to_vec_pretty(json).ok());
        let decoded = || self.base64.as_ref().and_then(|text| STANDARD.decode(text).ok());
        let text = self.text.as_ref().map(|text| text.clone().into_bytes());
        Content::Bytes(text.or_else(json).or_else(decoded).unwrap_or_default())
    }

    #[must_use]
    pub fn media_type(&self) -> &str {
        match (&self.content_type, &self.text, &self.json) {
            (Some(found), _, _) => found,
            (None, Some(_), _) => "text/plain; charset=utf-8",
            (None, None, Some(_)) => "application/json",
            (None, None, None) => "application/octet-stream",
        }
    }
}

fn is_content_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let (essence, _) = text.split_once(';').unwrap_or((text, ""));
    let parts = essence.trim().split_once('/');
    text.len() <= CONTENT_TYPE_BYTES_MAX
        && plain(text)
        && parts.is_some_and(|(kind, sub)| token(kind) && token(sub))
}

fn is_url(text: &str) -> bool {
    text.len() <= URL_BYTES_MAX && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
}

/// The attachments that a list in an event's data holds, and what is wrong with the others. A single object is a list of one.
#[must_use]
pub fn read(found: &Value) -> (Vec<Attachment>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), LeftOut::default());
    let items = match found {
        Value::Array(items) => items.as_slice(),
        Value::Null => &[],
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::slice::from_ref(found)
        }
    };
    for (index, item) in items.iter().enumerate() {
        if good.len() == ATTACHMENTS_MAX {
            bad.add(|| format!("attachments were left out: there are more than {ATTACHMENTS_MAX}"));
            break;
        }
        let read = strict::<Attachment>(item.clone());
        match read.and_then(|attachment| attachment.check().map(|()| attachment)) {
            Ok(attachment) => good.push(attachment),
            Err(fault) => {
                bad.add(|| format!("an attachment was left out: {}", fault.below(&format!("/{index}"))));
            }
        }
    }
    (good, bad.into_notes())
}

/// Checks those that come with a send.
///
/// # Errors
/// The place and the fault, relative to the list.
pub fn check(attachments: &[Attachment]) -> Result<(), Fault> {
    if attachments.len() > ATTACHMENTS_MAX {
        return Err(Fault::here(format!("has {} entries: at most {ATTACHMENTS_MAX}", attachments.len())));
    }
    for (index, attachment) in attachments.iter().enumerate() {
        attachment.check().map_err(|fault| fault.below(&format!("/{index}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_content_is_text_json_bytes_or_a_link() {
        let found = json!([
            {"name": "a.txt", "text": "ä"}, {"name": "b.json", "json": {"x": 1}}, {"name": "c.bin", "base64": "AAE="},
            {"name": "d", "url": "https://a.example/d"}, {"name": "e.csv", "contentType": "text/csv; charset=utf-8", "text": "1,2"},
        ]);
        let (good, bad) = read(&found);
        assert!(bad.is_empty(), "{bad:?}");
        let seen: Vec<_> = good.iter().map(|one| (one.media_type(), one.content())).collect();
        assert_eq!(
            seen,
            [
                ("text/plain; charset=utf-8", Content::Bytes("ä".as_bytes().to_vec())),
                ("application/json", Content::Bytes(b"{\n  \"x\": 1\n}".to_vec())),
                ("application/octet-stream", Content::Bytes(vec![0, 1])),
                ("application/octet-stream", Content::Link("https://a.example/d")),
                ("text/csv; charset=utf-8", Content::Bytes(b"1,2".to_vec())),
            ]
        );
    }

    #[test]
    fn what_is_no_attachment_is_left_out_with_its_place() {
        for (bad, place) in [
            (json!({"name": "../etc/passwd", "text": "x"}), "/0/name"),
            (json!({"name": "a\r\nb", "text": "x"}), "/0/name"),
            (json!({"name": "", "text": "x"}), "/0/name"),
            (json!({"name": "a"}), "/0"),
            (json!({"name": "a", "text": "x", "url": "https://a.example"}), "/0"),
            (json!({"name": "a", "base64": "?"}), "/0/base64"),
            (json!({"name": "a", "url": "file:///etc/passwd"}), "/0/url"),
            (json!({"name": "a", "path": "/etc/passwd"}), "/0/path"),
            (json!({"name": "a", "text": "x", "contentType": "text"}), "/0/contentType"),
            (json!("a"), "/0"),
        ] {
            let (good, notes) = read(&json!([bad, {"name": "ok", "text": "x"}]));
            assert_eq!(good.len(), 1, "{bad}");
            assert!(notes[0].contains(place), "{bad}: {notes:?}");
        }
        let many: Vec<_> = (0..20).map(|_| json!({"name": "a", "text": "x"})).collect();
        let (good, notes) = read(&Value::Array(many));
        assert_eq!((good.len(), notes.len()), (ATTACHMENTS_MAX, 1));
    }

    #[test]
    fn thousands_that_are_none_are_told_of_in_a_few_words() {
        let (good, notes) = read(&json!(vec![1; 30_000]));
        assert!(good.is_empty() && notes.len() == 6, "{notes:?}");
        assert!(notes[0].contains("at /0: "), "{notes:?}");
        assert_eq!(notes[5], "and 29995 more were left out");
    }
}
