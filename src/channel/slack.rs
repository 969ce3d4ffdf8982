//! Slack by incoming webhook: one Block Kit message, to the channel that the webhook was made for.
//!
//! The URL is the credential. Slack answers 200 `ok`, or a status and one word that says more than it; the word decides.
//! Severity is a coloured dot in the last line: an attachment's colour would show the fallback text a second time.
//! Sources: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>,
//! <https://docs.slack.dev/reference/block-kit/blocks>.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::http::{Answer, HttpClient, classify_provider_status, parse_endpoint, rebase};
use super::markdown::{Document, escape_slack, safe_link};
use super::secret::Redacted;
use super::text::{cut, cut_by, one_line};
use super::{Adapter, Channel, Failure, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::Delivery;
use crate::event::Severity;
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const HEADER_UNITS_MAX: usize = 150;
const SECTION_UNITS_MAX: usize = 3000;

/// Slack takes 50 blocks and 40,000 characters: twelve full sections stay below both.
const SECTIONS_MAX: usize = 12;

/// Of the fallback text that notifications and old clients show.
const FALLBACK_UNITS_MAX: usize = 3000;

/// Of an event's type in the last line.
const TYPE_UNITS_MAX: usize = 200;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlackConfig {
    webhook_url: Redacted<String>,
    /// Takes the place of `https://hooks.slack.com`; the path stays.
    api_base: Option<String>,
}

#[derive(Debug)]
pub struct Slack {
    http: HttpClient,
    url: Redacted<Url>,
}

impl Adapter for Slack {
    type Config = SlackConfig;

    fn show(delivery: &Delivery) -> Value {
        message(delivery)
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: SlackConfig = settings::read(config)?;
        let policy = workshop.http.policy();
        let url = parse_endpoint(config.webhook_url.expose(), policy, "/webhookUrl")?;
        let base = config.api_base.filter(|base| !base.is_empty());
        let url = match &base {
            Some(base) => rebase(&url, &parse_endpoint(base, policy, "/apiBase")?),
            None => url,
        };
        Ok(Self { http: workshop.http.clone(), url: Redacted::new(url) })
    }
}

impl Channel for Slack {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Try { delivery, at, .. } = attempt;
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let body = Bytes::from(message(delivery).to_string());
            let answer = self.http.post(self.url.expose(), headers, body, at).await?;
            classify(&answer)
        })
    }
}

fn message(delivery: &Delivery) -> Value {
    let title = one_line(&delivery.title);
    let document = Document::of(delivery);
    let mut blocks = Vec::new();
    if !title.is_empty() {
        let header = escape_slack(&cut_by(&title, HEADER_UNITS_MAX, price));
        // Without `emoji` a type such as `task:fire:out` stays what it is.
        blocks.push(
            json!({ "type": "header", "text": { "type": "plain_text", "text": header, "emoji": false } }),
        );
    }
    for text in document.to_slack(SECTION_UNITS_MAX, SECTIONS_MAX) {
        blocks.push(json!({ "type": "section", "text": mrkdwn(&text) }));
    }
    blocks.push(json!({ "type": "context", "elements": [mrkdwn(&context(delivery))] }));
    let plain = document.to_plain(FALLBACK_UNITS_MAX);
    let fallback = [title, plain].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
    json!({ "text": escape_slack(&cut_by(&fallback, FALLBACK_UNITS_MAX, price)), "blocks": blocks })
}

/// `verbatim` keeps Slack from finding names, channels and addresses in the text by itself.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn price(ch: char) -> usize {
    match ch {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        _ => ch.len_utf16(),
    }
}

/// Severity, type, time in the reader's own zone, and the link.
fn context(delivery: &Delivery) -> String {
    let dot = match delivery.severity {
        Severity::Info => "🔵",
        Severity::Warning => "🟠",
        Severity::Critical => "🔴",
    };
    let severity = delivery.severity.as_str();
    let event_type = escape_slack(&cut(&one_line(delivery.event.event_type.as_str()), TYPE_UNITS_MAX));
    let time = delivery.event.time;
    let (seconds, utc) = (time.as_second(), time.strftime("%Y-%m-%d %H:%M UTC"));
    let mut line =
        format!("{dot} {severity} · {event_type} · <!date^{seconds}^{{date_short_pretty}} {{time}}|{utc}>");
    if let Some(link) = &delivery.link {
        line.push_str(" · ");
        match safe_link(link) {
            Some(url) => line.extend(["<", &escape_slack(&url), "|Open>"]),
            None => line.push_str(&escape_slack(&cut(&one_line(link), TYPE_UNITS_MAX))),
        }
    }
    line
}

/// `{"ok":false,"error":"…"}`, which gateways in Slack's place may answer, also under 200.
#[derive(Deserialize)]
struct JsonAnswer {
    ok: bool,
    #[serde(default)]
    error: String,
}

fn classify(answer: &Answer) -> Result<Receipt, SendError> {
    let body = String::from_utf8_lossy(&answer.body);
    let refused = serde_json::from_str::<JsonAnswer>(&body).ok().filter(|answer| !answer.ok);
    let accepted = (200..300).contains(&answer.status);
    let word = match &refused {
        Some(refused) => refused.error.as_str(),
        None if accepted => return Ok(Receipt { code: Some(answer.status), ..Receipt::default() }),
        None => body.trim(),
    };
    if let Some(error) = classify_word(word, answer) {
        return Err(error);
    }
    classify_provider_status(answer.status, answer.retry_after)?;
    // A refusal in words unknown to us, under a status that says the opposite.
    let failure =
        Failure::new(Reason::ProviderError, "refused without a reason that is known").code(answer.status);
    Err(SendError::Transient { failure, retry_after: answer.retry_after })
}

/// The words that Slack documents. Only a known word is quoted.
fn classify_word(word: &str, answer: &Answer) -> Option<SendError> {
    let failure = |reason| Failure::new(reason, format!("Slack answered {word}")).code(answer.status);
    Some(match word {
        "invalid_payload"
        | "no_text"
        | "invalid_blocks"
        | "invalid_blocks_format"
        | "invalid_attachments"
        | "missing_text_or_fallback_or_attachments"
        | "msg_too_long"
        | "msg_blocks_too_long"
        | "too_many_attachments" => SendError::Permanent(failure(Reason::Rejected)),
        "action_prohibited" | "posting_to_general_channel_denied" => {
            SendError::Permanent(failure(Reason::Unauthorized))
        }
        "channel_not_found"
        | "channel_is_archived"
        | "user_not_found"
        | "no_service"
        | "no_service_id"
        | "no_active_hooks"
        | "no_team"
        | "team_disabled" => SendError::Permanent(failure(Reason::Gone)),
        "invalid_token" => SendError::Ours(failure(Reason::Unauthorized)),
        "rate_limited" | "ratelimited" => {
            SendError::RateLimited { failure: failure(Reason::RateLimited), retry_after: answer.retry_after }
        }
        "rollup_error" | "internal_error" | "service_unavailable" | "request_timeout" => {
            SendError::Transient { failure: failure(Reason::ProviderError), retry_after: answer.retry_after }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::conformance::{sample, workshop};
    use crate::channel::text::units;

    fn texts(message: &Value) -> Vec<&str> {
        let blocks = message["blocks"].as_array().unwrap();
        blocks
            .iter()
            .map(|block| block["text"]["text"].as_str().or(block["elements"][0]["text"].as_str()).unwrap())
            .collect()
    }

    #[test]
    fn a_message_has_a_header_sections_and_a_context() {
        let mut delivery = sample();
        delivery.link = Some("https://app.example/t/1?a=1&b=2".to_owned());
        let message = message(&delivery);
        assert_eq!(
            texts(&message),
            [
                "Task &lt;created&gt; &amp; more",
                "*bold* snake_case_name\n\n&lt;!channel&gt;",
                "🟠 warning · task:created · <!date^1795168800^{date_short_pretty} {time}|2026-11-20 10:00 UTC> · \
                 <https://app.example/t/1?a=1&amp;b=2|Open>"
            ]
        );
        assert_eq!(
            message["text"],
            "Task &lt;created&gt; &amp; more\nbold snake_case_name\n\n&lt;!channel&gt;"
        );
    }

    #[test]
    fn slacks_limits_are_kept() {
        let mut delivery = sample();
        delivery.title = "<&>\n".repeat(500);
        delivery.body = "a <b> & `c`\n".repeat(50_000);
        delivery.link = Some("/tasks/<!channel>".to_owned());
        let message = message(&delivery);
        let texts = texts(&message);
        assert_eq!(texts.len(), SECTIONS_MAX + 2);
        assert!(units(texts[0]) <= HEADER_UNITS_MAX && texts[0].ends_with('…'), "{}", texts[0]);
        assert!(texts.iter().all(|text| units(text) <= SECTION_UNITS_MAX));
        assert!(texts.concat().matches('<').count() == 1, "only the date");
        assert!(units(message["text"].as_str().unwrap()) <= FALLBACK_UNITS_MAX);
    }

    #[test]
    fn an_empty_body_leaves_no_empty_block() {
        let mut delivery = sample();
        delivery.body = String::new();
        assert_eq!(texts(&message(&delivery)).len(), 2);
        delivery.title = "\u{202e} ".to_owned();
        assert_eq!(texts(&message(&delivery)).len(), 1);
    }

    #[test]
    fn the_word_decides_before_the_status() {
        let seen = |status, body: &str| {
            let answer = Answer { status, retry_after: None, body: body.as_bytes().to_vec() };
            match classify(&answer) {
                Ok(_) => "ok".to_owned(),
                Err(SendError::Transient { failure, .. }) => format!("transient {}", failure.reason),
                Err(SendError::RateLimited { failure, .. }) => format!("limited {}", failure.reason),
                Err(SendError::Permanent(failure)) => format!("permanent {}", failure.reason),
                Err(SendError::Ours(failure)) => format!("ours {}", failure.reason),
            }
        };
        for (status, body, expected) in [
            (200, "ok", "ok"),
            (200, r#"{"ok":true}"#, "ok"),
            (200, r#"{"ok":false,"error":"channel_not_found"}"#, "permanent gone"),
            (200, r#"{"ok":false}"#, "transient provider_error"),
            (400, "no_text", "permanent rejected"),
            (403, "invalid_token", "ours unauthorized"),
            (404, "<html>", "permanent gone"),
            (500, "no_service", "permanent gone"),
            (500, "", "transient provider_error"),
            (503, "rate_limited", "limited rate_limited"),
        ] {
            assert_eq!(seen(status, body), expected, "{status} {body}");
        }
        for status in (100..600).filter(|status| !(200..300).contains(status)) {
            let answer = Answer { status, retry_after: None, body: Vec::new() };
            assert_eq!(classify(&answer).map(|_| ()), classify_provider_status(status, None), "{status}");
        }
    }

    #[test]
    fn an_empty_base_is_none() {
        let config = json!({ "webhookUrl": "https://a.example/b", "apiBase": "" });
        assert_eq!(Slack::new(&config, &workshop()).unwrap().url.expose().as_str(), "https://a.example/b");
    }

    #[test]
    fn faults_name_the_place_and_no_secret() {
        for (config, pointer) in [
            (json!({}), "/webhookUrl"),
            (json!({ "webhookUrl": "hunter2" }), "/webhookUrl"),
            (json!({ "webhookUrl": "https://a.example/hunter2", "apiBase": "x" }), "/apiBase"),
            (json!({ "webhookUrl": "https://a.example/hunter2", "url": 1 }), "/url"),
        ] {
            let fault = Slack::new(&config, &workshop()).unwrap_err();
            assert_eq!(fault.pointer, pointer, "{fault}");
            assert!(!fault.message.contains("hunter2"), "{fault}");
        }
    }
}
