//! What a caller may ask to be sent, and when.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::attachment::{self, Attachment};
use crate::deliver::after;
use crate::delivery::{Action, Format};
use crate::event::Severity;
use crate::ids::{ChannelId, Recipient};
use crate::route::texts;
use crate::rule::fault::Fault;

/// The broker fires times beyond 2262 at once; a year is as far as anybody plans.
const AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What to send.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendRequest {
    #[schema(value_type = String)]
    pub channel: ChannelId,
    pub title: String,
    /// A small Markdown, unless `format` says otherwise.
    pub body: String,
    #[serde(default)]
    pub format: Format,
    #[serde(default)]
    pub severity: Severity,
    #[serde(default)]
    pub link: Option<String>,
    /// Buttons that open a page.
    #[serde(default)]
    pub actions: Vec<Action>,
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub recipient: Option<Recipient>,
    /// Goes to the channel beside the text.
    #[serde(default)]
    pub data: Option<Value>,
    /// Milliseconds from now.
    #[serde(default)]
    pub delay_ms: Option<u64>,
    /// A time, RFC 3339.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub send_at: Option<Timestamp>,
}

/// When it is due.
///
/// # Errors
/// The place and the fault.
pub(super) fn check(request: &SendRequest, now: Timestamp) -> Result<Timestamp, Fault> {
    if request.title.trim().is_empty() {
        return Err(Fault::new("/title", "is empty"));
    }
    if request.body.len() > BODY_BYTES_MAX {
        return Err(Fault::new("/body", format!("is longer than {BODY_BYTES_MAX} bytes")));
    }
    if request.link.as_deref().is_some_and(|link| !texts::is_link(link)) {
        return Err(Fault::new("/link", "is neither http(s) nor a path that begins with /, or too long"));
    }
    texts::check_actions(&request.actions).map_err(|fault| fault.below("/actions"))?;
    attachment::check(&request.attachments).map_err(|fault| fault.below("/attachments"))?;
    let due = match (request.delay_ms, request.send_at) {
        (Some(_), Some(_)) => return Err(Fault::new("/sendAt", "and delayMs exclude each other")),
        (Some(delay), None) => after(now, Duration::from_millis(delay)),
        (None, Some(at)) => at.max(now),
        (None, None) => now,
    };
    if due > after(now, AHEAD_MAX) {
        let place = if request.delay_ms.is_some() { "/delayMs" } else { "/sendAt" };
        return Err(Fault::new(place, "is more than a year ahead"));
    }
    Ok(due)
}
