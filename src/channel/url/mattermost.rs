//! Mattermost by incoming webhook: `mmosts://[NAME@]HOST[:PORT][/PATH]/TOKEN?to=CHANNEL`.
//!
//! A name and a channel of one's own are taken only where the server lets webhooks override them. Errors have an id that says more
//! than their status, but for 5xx: there the same ids tell of a database that does not answer. Source:
//! <https://developers.mattermost.com/integrate/webhooks/incoming/>.

use serde_json::json;
use url::Url;

use super::address::{Address, fault};
use super::message::{Message, colour};
use super::{Answer, Pace, Request, Service, by_status, field};
use crate::channel::http::HttpPolicy;
use crate::channel::markdown::escape_markdown;
use crate::channel::secret::Redacted;
use crate::channel::{Failure, Receipt, SendError};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

/// Webhooks are switched off for the whole server: said under 501.
const DISABLED: &str = "web.incoming_webhook.disabled.app_error";
const TITLE_UNITS_MAX: usize = 250;
/// A post has 16,383.
const TEXT_UNITS_MAX: usize = 15_000;

struct Mattermost {
    url: Redacted<Url>,
    username: Option<String>,
    channel: Option<String>,
}

pub(super) fn open(address: &Address, policy: &HttpPolicy) -> Result<Box<dyn Service>, Fault> {
    address.only_options(&["to"])?;
    if address.password().is_some() {
        return Err(fault("has a password: before the @ stands a name to show, and nothing else"));
    }
    let mut path = address.segments();
    let Some(token) = path.pop() else { return Err(fault("is not mmosts://HOST/TOKEN")) };
    path.extend(["hooks".to_owned(), token]);
    let url = Redacted::new(address.server(&path, policy)?);
    let channel = address.option("to").map(|name| name.trim_start_matches('#').to_owned());
    Ok(Box::new(Mattermost { url, username: address.user(), channel }))
}

impl Service for Mattermost {
    fn request(&self, message: &Message<'_>, _: Option<&str>) -> Request {
        let title = message.title(TITLE_UNITS_MAX);
        let mut attachment = json!({
            "fallback": title, "color": format!("#{:06x}", colour(message.delivery.severity)),
            "title": escape_markdown(&title), "text": message.markdown(TEXT_UNITS_MAX, false), "footer": message.footer(),
        });
        if let Some(link) = message.link() {
            attachment["title_link"] = link.into();
        }
        let mut body = json!({ "attachments": [attachment] });
        for (name, value) in [("username", &self.username), ("channel", &self.channel)] {
            if let Some(value) = value {
                body[name] = value.as_str().into();
            }
        }
        Request::post(&self.url, body)
    }

    fn classify(&self, answer: &Answer) -> Result<Receipt, SendError> {
        let decides = |id: &String| match answer.status {
            300..500 => true,
            status => status >= 500 && id == DISABLED,
        };
        let id = field(answer, "/id").filter(decides).unwrap_or_default();
        let failure = |reason| Failure::new(reason, format!("Mattermost answered {id}")).code(answer.status);
        Err(match id.as_str() {
            "web.incoming_webhook.invalid.app_error"
            | "web.incoming_webhook.channel.app_error"
            | "web.incoming_webhook.user.app_error" => SendError::Permanent(failure(Reason::Gone)),
            "web.incoming_webhook.permissions.app_error"
            | "web.incoming_webhook.channel_locked.app_error"
            | "api.post.create_post.town_square_read_only" => SendError::Permanent(failure(Reason::Unauthorized)),
            DISABLED => SendError::Ours(failure(Reason::Unauthorized)),
            "web.incoming_webhook.parse.app_error" | "web.incoming_webhook.text.app_error" => {
                SendError::Permanent(failure(Reason::Rejected))
            }
            _ => return by_status(answer),
        })
    }

    /// Of a server that limits at all: it comes without a limit, and with this one where it is switched on.
    fn limits(&self) -> Vec<(Vec<&str>, Pace)> {
        vec![(vec!["mattermost", self.url.expose().host_str().unwrap_or_default()], Pace { most: 10, seconds: 1 })]
    }
}
