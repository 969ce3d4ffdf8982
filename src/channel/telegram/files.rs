//! Files that go with a message: each is a document in an answer to it.
//!
//! The form is written here: it has five fields, and nothing else of ours needs one. Its boundary is a digest of the
//! content, so that no content can hold it and forge fields. Source: <https://core.telegram.org/bots/api#senddocument>.

use std::fmt::Write as _;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::api::{Bot, Verdict};
use super::wire::Reply;
use crate::attachment::Content;
use crate::channel::id::Id;
use crate::channel::{Failure, SendError};
use crate::delivery::Delivery;
use crate::ids::digest;
use crate::outcome::Reason;

/// An attachment with content of its own; links are in the message's text.
pub(super) struct File<'a> {
    name: &'a str,
    media_type: &'a str,
    bytes: Vec<u8>,
}

impl<'a> File<'a> {
    pub fn of(delivery: &'a Delivery) -> Vec<Self> {
        let mut files = Vec::new();
        for attachment in &delivery.attachments {
            match attachment.content() {
                Content::Link(_) => {}
                Content::Bytes(bytes) => {
                    files.push(Self { name: &attachment.name, media_type: attachment.media_type(), bytes });
                }
            }
        }
        files
    }
}

/// Where a file goes.
pub(super) struct Fields<'a> {
    pub chat: &'a Id,
    pub thread_id: Option<i64>,
    pub reply_to: Option<i64>,
    pub is_silent: bool,
}

impl Bot {
    pub async fn upload(
        &self,
        file: &File<'_>,
        fields: &Fields<'_>,
        at: Timestamp,
        secrets: &[&str],
    ) -> Result<(), SendError> {
        let refused = |what: &str| SendError::Permanent(Failure::new(Reason::Rejected, what));
        if file.bytes.is_empty() {
            return Err(refused("Telegram takes no empty file"));
        }
        let boundary = digest(&[file.name, &String::from_utf8_lossy(&file.bytes)]);
        let mut headers = HeaderMap::new();
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let content_type = HeaderValue::from_str(&content_type).map_err(|_| refused("no such form"))?;
        headers.insert(CONTENT_TYPE, content_type);
        let body = Bytes::from(form(file, fields, &boundary));
        let answer = self.http.post(self.url("sendDocument").expose(), headers, body, at).await?;
        match self.classify(&answer, secrets)? {
            Verdict::Accepted { .. } => Ok(()),
            Verdict::Unchanged { .. } | Verdict::Lost | Verdict::Moved(_) => {
                Err(refused("Telegram refused the file"))
            }
        }
    }
}

/// RFC 7578. Names have no quotes and no control characters: [`crate::attachment`] sees to it.
fn form(file: &File<'_>, fields: &Fields<'_>, boundary: &str) -> Vec<u8> {
    let mut head = String::new();
    let mut field = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        write!(
            head,
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
        .ok();
    };
    field("chat_id", &fields.chat.to_string());
    if let Some(thread_id) = fields.thread_id {
        field("message_thread_id", &thread_id.to_string());
    }
    if let Some(message_id) = fields.reply_to {
        let reply = serde_json::to_string(&Reply::to(message_id)).unwrap_or_default();
        field("reply_parameters", &reply);
    }
    if fields.is_silent {
        field("disable_notification", "true");
    }
    let File { name, media_type, bytes } = file;
    write!(
        head,
        "--{boundary}\r\nContent-Disposition: form-data; name=\"document\"; filename=\"{name}\"\r\n\
         Content-Type: {media_type}\r\n\r\n"
    )
    .ok();
    let mut body = head.into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    body
}
