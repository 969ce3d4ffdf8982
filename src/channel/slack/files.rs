//! Files: a bot uploads them into its message's thread, a webhook shows short texts and names the rest.
//!
//! An upload is three steps: ask for a URL, post the bytes there, and say that they belong into the thread. What fails here leaves
//! the message sent, with a note. Sources: <https://docs.slack.dev/reference/methods/files.getUploadURLExternal>,
//! <https://docs.slack.dev/reference/methods/files.completeUploadExternal>.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::form_urlencoded::Serializer;

use super::answer;
use super::bot::{Bot, Call};
use super::handle::Handle;
use super::message::{SECTION_UNITS_MAX, context, section};
use crate::attachment::{Attachment, Content};
use crate::channel::http::{HttpClient, classify_provider_status, parse_endpoint};
use crate::channel::markdown::{Document, escape_slack, literal, safe_link};
use crate::channel::{Failure, SendError};
use crate::delivery::Delivery;
use crate::outcome::Reason;

/// So many texts are shown where no file can be sent.
const TEXTS_MAX: usize = 3;

/// For the last step, within the time that a try has for reading its answer: what is uploaded by then is not lost for what is not.
const COMPLETION: Duration = Duration::from_millis(1_500);

/// Beside a webhook's message: links, short texts, and the names of what it cannot send.
pub(super) fn inline(delivery: &Delivery) -> Vec<Value> {
    let (mut blocks, mut named) = (Vec::new(), Vec::new());
    for attachment in &delivery.attachments {
        match attachment.content() {
            Content::Link(url) => named.push(link(attachment, url)),
            Content::Bytes(bytes) => match text(attachment, &bytes).filter(|_| blocks.len() < TEXTS_MAX) {
                Some(text) => blocks.push(section(&code(&attachment.name, text))),
                None => named.push(format!("📎 {} ({})", escape_slack(&attachment.name), size(bytes.len()))),
            },
        }
    }
    blocks.extend(line(&named));
    blocks
}

/// Beside a bot's message: what is only linked. It uploads the rest.
pub(super) fn links(delivery: &Delivery) -> Vec<Value> {
    let linked = delivery.attachments.iter().filter_map(|attachment| match attachment.content() {
        Content::Link(url) => Some(link(attachment, url)),
        Content::Bytes(_) => None,
    });
    line(&linked.collect::<Vec<_>>()).into_iter().collect()
}

fn line(named: &[String]) -> Option<Value> {
    (!named.is_empty()).then(|| context(&named.join(" · ")))
}

fn link(attachment: &Attachment, url: &str) -> String {
    let name = escape_slack(&attachment.name);
    match safe_link(url) {
        Some(url) => format!("📎 <{}|{name}>", escape_slack(&url)),
        None => format!("📎 {name}"),
    }
}

/// What can be read as it stands.
fn text<'a>(attachment: &Attachment, bytes: &'a [u8]) -> Option<&'a str> {
    let media_type = attachment.media_type().split(';').next().unwrap_or_default().trim();
    let readable = media_type.starts_with("text/")
        || ["json", "xml", "yaml", "toml"].iter().any(|kind| media_type.ends_with(kind));
    std::str::from_utf8(bytes).ok().filter(|text| readable && !text.trim().is_empty())
}

/// The name, and the text as code behind a fence that nothing in it closes.
fn code(name: &str, text: &str) -> String {
    let longest = text.split(|ch| ch != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    let whole = 0..name.len();
    let source = format!("📎 {}\n\n{fence}\n{}\n{fence}", literal(name, std::slice::from_ref(&whole), false), text.trim_end());
    Document::parse(&source).to_slack(SECTION_UNITS_MAX, 1).concat()
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{} MB", bytes.div_ceil(1_000_000)),
    }
}

#[derive(Deserialize)]
struct UploadUrl {
    upload_url: String,
    file_id: String,
}

/// What failed of it, in words for the record.
pub(super) async fn upload(
    bot: &Bot,
    http: &HttpClient,
    (delivery, handle, at): (&Delivery, &Handle, Timestamp),
    deadline: Instant,
) -> Option<String> {
    let files = delivery.attachments.iter().filter_map(|attachment| match attachment.content() {
        Content::Link(_) => None,
        Content::Bytes(bytes) => Some((attachment, bytes)),
    });
    let steps = files.map(|(attachment, bytes)| async move {
        let step = Box::pin(upload_one(bot, http, (attachment, bytes), at));
        let id = tokio::time::timeout_at(deadline, step).await.unwrap_or_else(|_| Err(late()))?;
        Ok::<_, SendError>(json!({ "id": id, "title": attachment.name }))
    });
    let tried = join_all(steps).await;
    let count = tried.len();
    let (mut uploaded, mut failure) = (Vec::new(), None);
    for one in tried {
        match one {
            Ok(file) => uploaded.push(file),
            Err(error) => failure = Some(error),
        }
    }
    let mut missing = count - uploaded.len();
    if !uploaded.is_empty() {
        let arguments = json!({ "files": uploaded, "channel_id": handle.channel, "thread_ts": handle.ts });
        let step = async {
            let call = Call::json("files.completeUploadExternal", &arguments);
            answer::of_api::<Value>(&bot.call(http, call, at).await?)
        };
        let done = tokio::time::timeout_at(deadline + COMPLETION, Box::pin(step)).await;
        if let Err(error) = done.unwrap_or_else(|_| Err(late())) {
            (missing, failure) = (count, Some(error));
        }
    }
    failure.map(|error| {
        format!("{missing} of {count} files were not sent: {}", error.failure().detail)
    })
}

fn late() -> SendError {
    let failure = Failure::new(Reason::Timeout, "there was no time left for them");
    SendError::Transient { failure, retry_after: None }
}

/// The id of the file, which belongs nowhere yet.
async fn upload_one(
    bot: &Bot,
    http: &HttpClient,
    (attachment, bytes): (&Attachment, Vec<u8>),
    at: Timestamp,
) -> Result<String, SendError> {
    if bytes.is_empty() {
        return Err(SendError::Permanent(Failure::new(Reason::Rejected, "one is empty")));
    }
    let form = Serializer::new(String::new())
        .append_pair("filename", &attachment.name)
        .append_pair("length", &bytes.len().to_string())
        .finish();
    let call = Call::form("files.getUploadURLExternal", form);
    let UploadUrl { upload_url, file_id } = answer::of_api(&bot.call(http, call, at).await?)?;
    // Nobody's configuration: the fault would name a place in one.
    let url = parse_endpoint(&upload_url, http.policy(), "").map_err(|_| {
        let failure = Failure::new(Reason::ProviderError, "the URL for the upload cannot be used");
        SendError::Transient { failure, retry_after: None }
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let answer = http.post(&url, headers, Bytes::from(bytes), at).await?;
    classify_provider_status(answer.status, answer.retry_after)?;
    Ok(file_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::read;
    use crate::channel::conformance::sample;
    use crate::channel::text::units;

    fn with(attachments: &Value) -> Delivery {
        let (attachments, faults) = read(attachments);
        assert!(faults.is_empty(), "{faults:?}");
        Delivery { attachments, ..sample() }
    }

    #[test]
    fn a_webhook_shows_short_texts_links_links_and_names_the_rest() {
        let delivery = with(&json!([
            { "name": "a_b.txt", "text": "x <!channel>\n```\ny" },
            { "name": "log", "url": "https://ci.example/7?a=1&b=2" },
            { "name": "plot.png", "contentType": "image/png", "base64": "iVBORw0KGgo=" },
        ]));
        let blocks = inline(&delivery);
        assert_eq!(blocks.len(), 2);
        assert_eq!(
            blocks[0]["text"]["text"],
            "📎 a_b.txt\n\n```\nx &lt;!channel&gt;\n\u{2cb}\u{2cb}\u{2cb}\ny\n```"
        );
        assert_eq!(
            blocks[1]["elements"][0]["text"],
            "📎 <https://ci.example/7?a=1&amp;b=2|log> · 📎 plot.png (8 B)"
        );
        assert_eq!(links(&delivery).len(), 1);
        assert_eq!(links(&delivery)[0]["elements"][0]["text"], "📎 <https://ci.example/7?a=1&amp;b=2|log>");
    }

    #[test]
    fn a_text_is_cut_to_a_section_and_only_a_few_are_shown() {
        let long = json!({ "name": "long.log", "text": "a & b\n".repeat(5_000) });
        let blocks = inline(&with(&json!([long, long, long, long])));
        assert_eq!(blocks.len(), TEXTS_MAX + 1);
        let shown = blocks[0]["text"]["text"].as_str().unwrap();
        assert!(units(shown) <= SECTION_UNITS_MAX && shown.ends_with("```") && shown.contains('…'), "{shown}");
        assert_eq!(blocks[TEXTS_MAX]["elements"][0]["text"], "📎 long.log (30 kB)");
    }

    #[test]
    fn what_is_no_text_is_not_shown_as_one() {
        let delivery = with(&json!([{ "name": "a.csv", "contentType": "text/csv", "base64": "/w==" }]));
        assert_eq!(inline(&delivery)[0]["elements"][0]["text"], "📎 a.csv (1 B)");
        assert!(inline(&sample()).is_empty() && links(&sample()).is_empty());
    }
}
