//! What Telegram gets: title, body, links and a last line in HTML, and the buttons below.
//!
//! The limit of 4096 is on the text without tags and escapes, in UTF-16 units. One button that Telegram cannot open makes it
//! refuse the whole message, so what could be one stays in the text. Source: <https://core.telegram.org/bots/api#html-style>.

use serde::Serialize;
use url::{Host, Url};

use crate::attachment::Content;
use crate::channel::markdown::{Document, escape_html, safe_link};
use crate::channel::text::{cut, one_line, units};
use crate::delivery::{Action, Delivery};

pub(super) const TEXT_UNITS_MAX: usize = 4096;

/// Shares of it, so that the body always has most.
const TITLE_UNITS_MAX: usize = 256;
const CONTEXT_UNITS_MAX: usize = 256;
/// Of an action that is no button, and of a file's name.
const LINE_UNITS_MAX: usize = 160;
const NAME_UNITS_MAX: usize = 60;

pub(super) struct Message {
    pub text: String,
    pub buttons: Vec<Button>,
}

#[derive(Serialize)]
pub(super) struct Button {
    pub text: String,
    pub url: String,
}

/// The body gives way when it is too long.
pub(super) fn message(delivery: &Delivery) -> Message {
    let (buttons, others): (Vec<&Action>, Vec<&Action>) =
        delivery.actions.iter().partition(|action| is_openable(&action.url));
    let title = cut(&one_line(&delivery.title), TITLE_UNITS_MAX);
    let (links, links_units) = links(delivery, &others);
    let (context, context_units) = context(delivery);
    let gaps = "\n\n".len() * if links.is_empty() { 2 } else { 3 };
    let taken = units(&title) + links_units + context_units + gaps;
    let body = Document::of(delivery).to_telegram(TEXT_UNITS_MAX - taken);
    let title = if title.is_empty() { title } else { format!("<b>{}</b>", escape_html(&title)) };
    let parts = [title, body, links, context];
    let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
    let button = |action: &Action| Button { text: one_line(&action.label), url: action.url.clone() };
    Message { text, buttons: buttons.into_iter().map(button).collect() }
}

/// Telegram opens only http(s), on a host with a dot in its name or a bare IPv6 address.
fn is_openable(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let known = match url.host() {
        Some(Host::Domain(name)) => name.contains('.'),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    known && matches!(url.scheme(), "https" | "http")
}

/// Actions that are no buttons, and files elsewhere; with their length without tags and escapes.
fn links(delivery: &Delivery, others: &[&Action]) -> (String, usize) {
    let (mut lines, mut length) = (Vec::new(), 0);
    for Action { label, url } in others {
        let line = cut(&one_line(&format!("{label}: {url}")), LINE_UNITS_MAX);
        length += units(&line) + "\n".len();
        lines.push(escape_html(&line));
    }
    for file in &delivery.attachments {
        let Content::Link(url) = file.content() else { continue };
        let name = cut(&one_line(&file.name), NAME_UNITS_MAX);
        length += "📎 ".encode_utf16().count() + units(&name) + "\n".len();
        lines.push(match safe_link(url) {
            Some(url) => format!("📎 <a href=\"{}\">{}</a>", escape_html(&url), escape_html(&name)),
            None => format!("📎 {}", escape_html(&name)),
        });
    }
    (lines.join("\n"), length)
}

/// Severity, type, time and link in a line, and how long it is without tags and escapes.
fn context(delivery: &Delivery) -> (String, usize) {
    let event_type = cut(&one_line(delivery.event.event_type.as_str()), CONTEXT_UNITS_MAX);
    let time = delivery.event.time.strftime("%Y-%m-%d %H:%M UTC");
    let line = format!("{} · {event_type} · {time}", delivery.severity.as_str());
    let mut length = units(&line);
    let mut context = format!("<i>{}</i>", escape_html(&line));
    if let Some(link) = &delivery.link {
        let (shown, markup) = if let Some(url) = safe_link(link) {
            ("Open".to_owned(), format!("<a href=\"{}\">Open</a>", escape_html(&url)))
        } else {
            let shown = cut(&one_line(link), CONTEXT_UNITS_MAX);
            let markup = escape_html(&shown);
            (shown, markup)
        };
        length += units(" · ") + units(&shown);
        context.extend([" · ", &markup]);
    }
    (context, length)
}
