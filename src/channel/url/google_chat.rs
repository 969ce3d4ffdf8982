//! Google Chat by incoming webhook: `gchat://SPACE/KEY/TOKEN`, or the URL that Google gives out.
//!
//! One card, whose text is HTML of a few tags: everything is escaped. What has one collapse id is one thread, in a named space: others
//! have no threads. A space takes one message a second. No `requestId` is given, by which Google would know a repeat: whether a
//! webhook may give one is not said. Sources: <https://developers.google.com/workspace/chat/quickstart/webhooks>,
//! <https://developers.google.com/workspace/chat/limits>.

use serde_json::json;
use url::Url;

use super::address::{Address, at, fault};
use super::message::Message;
use super::{Answer, Pace, Request, Service, by_status, field};
use crate::channel::http::HttpPolicy;
use crate::channel::markdown::escape_html;
use crate::channel::secret::Redacted;
use crate::channel::text::cut_by;
use crate::channel::{Receipt, SendError};
use crate::rule::fault::Fault;

const HOST: &str = "chat.googleapis.com";
const TITLE_UNITS_MAX: usize = 200;
/// A message has 32,000 bytes with its cards.
const TEXT_BYTES_MAX: usize = 12_000;
const THREAD_KEY_BYTES_MAX: usize = 4_000;

struct GoogleChat {
    url: Redacted<Url>,
    space: String,
}

pub(super) fn open(address: &Address, _: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.no_user()?;
    address.only_options(&[])?;
    match address.segments().as_slice() {
        [key, token] => built(&address.host(), key, token),
        _ => Err(fault("is not gchat://SPACE/KEY/TOKEN")),
    }
}

/// `https://chat.googleapis.com/v1/spaces/SPACE/messages?key=KEY&token=TOKEN`.
pub(super) fn native(address: &Address) -> Option<Result<Box<dyn Service>, Fault>> {
    if address.host() != HOST {
        return None;
    }
    let segments = address.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    Some(match (path.as_slice(), address.option("key"), address.option("token")) {
        (["v1", "spaces", space, "messages"], Some(key), Some(token)) => built(space, &key, &token),
        _ => Err(fault("is no webhook of Google Chat: …/v1/spaces/SPACE/messages?key=KEY&token=TOKEN")),
    })
}

fn built(space: &str, key: &str, token: &str) -> Result<Box<dyn Service>, Fault> {
    let mut url = at("https://chat.googleapis.com/v1/spaces", &[space, "messages"])?;
    url.query_pairs_mut().append_pair("key", key).append_pair("token", token);
    Ok(Box::new(GoogleChat { url: Redacted::new(url), space: space.to_owned() }))
}

impl Service for GoogleChat {
    fn request(&self, message: &Message<'_>, _: Option<&str>) -> Request {
        let plain = cut_by(&message.plain(TEXT_BYTES_MAX), TEXT_BYTES_MAX, price);
        let text = escape_html(&plain).replace('\n', "<br>");
        let mut widgets = Vec::new();
        if !text.is_empty() {
            widgets.push(json!({ "textParagraph": { "text": text } }));
        }
        let buttons: Vec<_> = message
            .ways
            .iter()
            .map(|way| json!({ "text": way.label, "onClick": { "openLink": { "url": way.url } } }))
            .collect();
        if !buttons.is_empty() {
            widgets.push(json!({ "buttonList": { "buttons": buttons } }));
        }
        widgets.push(json!({ "decoratedText": { "text": escape_html(&message.footer()) } }));
        let title = message.title(TITLE_UNITS_MAX);
        let header = if title.is_empty() { message.footer() } else { title };
        let card = json!({ "header": { "title": header }, "sections": [{ "widgets": widgets }] });
        let mut body = json!({ "cardsV2": [{ "cardId": "bugle", "card": card }] });
        let mut request = Request::post(&self.url, json!(null));
        if message.delivery.collapse_id.is_some() {
            body["thread"] = json!({ "threadKey": message.short_key(THREAD_KEY_BYTES_MAX) });
            request.url.query_pairs_mut().append_pair("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD");
        }
        request.body = body;
        request
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        let receipt = by_status(answer)?;
        Ok(Receipt { provider_id: field(answer, "/name"), ..receipt })
    }

    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        vec![(vec!["gchat", self.space.as_str()], Pace { most: 1, seconds: 1 })]
    }
}

/// Escaped, and as JSON.
fn price(ch: char) -> usize {
    match ch {
        '&' | '<' | '>' | '"' | '\n' => 6,
        '\\' => 2,
        _ => ch.len_utf8(),
    }
}
