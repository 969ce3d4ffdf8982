//! Microsoft Teams by a workflow ("When a Teams webhook request is received"): the URL that Teams gives out, or
//! `workflows://HOST/WORKFLOW/SIGNATURE`.
//!
//! One Adaptive Card. Its text is in `TextRun`s, which know no Markdown, so that no text of an event is a mark or a mention.
//! Teams takes 28 KB. A 202 comes before the card is posted: what Teams refuses then, nobody tells us. The old connectors
//! (`webhook.office.com`) are switched off. Sources:
//! <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>,
//! <https://adaptivecards.io/explorer/TextRun.html>.

use serde_json::{Value, json};
use url::Url;

use super::address::{Address, fault};
use super::message::Message;
use super::{Answer, Pace, Request, Service, by_status, field};
use crate::channel::http::{HttpPolicy, parse_endpoint};
use crate::channel::secret::Redacted;
use crate::channel::text::cut_by;
use crate::channel::{Failure, Receipt, SendError};
use crate::event::Severity;
use crate::outcome::Reason;
use crate::rule::fault::Fault;

const TITLE_UNITS_MAX: usize = 250;
/// Of the body, written as JSON: the card around it and six buttons stay below 28 KB with it.
const TEXT_BYTES_MAX: usize = 12 * 1024;
/// Teams shows six.
const BUTTONS_MAX: usize = 6;
const HOSTS: [&str; 2] = [".logic.azure.com", ".api.powerplatform.com"];

struct Teams {
    url: Redacted<Url>,
}

pub(super) fn open(address: &Address, policy: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.no_user()?;
    address.only_options(&[])?;
    let segments = address.segments();
    let [workflow, signature] = segments.as_slice() else {
        return Err(fault("is not workflows://HOST/WORKFLOW/SIGNATURE"));
    };
    let port = address.url().port().map(|port| format!(":{port}")).unwrap_or_default();
    let mut url = parse_endpoint(&format!("https://{}{port}", address.host()), policy, "/url")?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.clear().extend(["workflows", workflow.as_str(), "triggers", "manual", "paths", "invoke"]);
    }
    url.query_pairs_mut()
        .append_pair("api-version", "2016-06-01")
        .append_pair("sp", "/triggers/manual/run")
        .append_pair("sv", "1.0")
        .append_pair("sig", signature);
    Ok(Box::new(Teams { url: Redacted::new(url) }))
}

pub(super) fn native(address: &Address) -> Option<Result<Box<dyn Service>, Fault>> {
    let host = address.host();
    if host.ends_with(".webhook.office.com") {
        return Some(Err(fault("is an old connector, which Microsoft has switched off: make a workflow in Teams")));
    }
    if !HOSTS.iter().any(|ending| host.ends_with(ending)) {
        return None;
    }
    if address.url().scheme() != "https" || address.option("sig").is_none() {
        return Some(Err(fault("is no URL of a workflow: it begins with https and has a `sig`")));
    }
    Some(Ok(Box::new(Teams { url: Redacted::new(address.url().clone()) })))
}

impl Service for Teams {
    fn request(&self, message: &Message<'_>, _: Option<&str>) -> Request {
        let run = |text: &str, more: Value| {
            let mut run = json!({ "type": "TextRun", "text": text });
            for (name, value) in more.as_object().into_iter().flatten() {
                run[name] = value.clone();
            }
            json!({ "type": "RichTextBlock", "inlines": [run] })
        };
        let title = message.title(TITLE_UNITS_MAX);
        let colour = match message.delivery.severity {
            Severity::Info => "accent",
            Severity::Warning => "warning",
            Severity::Critical => "attention",
        };
        let mut body = Vec::new();
        if !title.is_empty() {
            body.push(run(&title, json!({ "size": "large", "weight": "bolder", "color": colour })));
        }
        let text = cut_by(&message.plain(TEXT_BYTES_MAX), TEXT_BYTES_MAX - 3, price);
        // A run knows no line feed: each paragraph is a block.
        body.extend(text.split('\n').filter(|line| !line.trim().is_empty()).map(|line| run(line, json!({}))));
        body.push(run(&message.footer(), json!({ "size": "small", "isSubtle": true })));
        let buttons = message.ways.iter().filter(|way| way.url.starts_with("http")).take(BUTTONS_MAX);
        let actions: Vec<_> =
            buttons.map(|way| json!({ "type": "Action.OpenUrl", "title": way.label, "url": way.url })).collect();
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard", "version": "1.4", "body": body, "actions": actions, "msteams": { "width": "Full" },
        });
        let attachment = json!({ "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card });
        Request::post(&self.url, json!({ "type": "message", "attachments": [attachment] }))
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        let code = field(answer, "/error/code").unwrap_or_default();
        let failure = |reason| Failure::new(reason, format!("the workflow answered {code}")).code(answer.status);
        match code.as_str() {
            // Its text names the state of the workflow: one that was deleted never comes back.
            "WorkflowTriggerIsNotEnabled" if says_deleted(answer) => {
                Err(SendError::Permanent(Failure::new(Reason::Gone, "the workflow was deleted").code(answer.status)))
            }
            "WorkflowTriggerIsNotEnabled" => {
                Err(SendError::Transient { failure: failure(Reason::Gone), retry_after: answer.retry_after })
            }
            "WorkflowNotFound" | "WorkflowTriggerNotFound" => Err(SendError::Permanent(failure(Reason::Gone))),
            "DirectApiAuthorizationRequired" | "AuthorizationFailed" => Err(SendError::Ours(failure(Reason::Unauthorized))),
            _ => by_status(answer),
        }
    }

    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        vec![(vec!["teams", self.url.expose().path()], Pace { most: 4, seconds: 1 })]
    }
}

fn says_deleted(answer: &Answer) -> bool {
    field(answer, "/error/message").is_some_and(|message| message.contains("'Deleted'"))
}

/// A line becomes a block of its own, some sixty bytes of JSON.
fn price(ch: char) -> usize {
    match ch {
        '\n' => 64,
        '"' | '\\' => 2,
        _ => ch.len_utf8(),
    }
}
