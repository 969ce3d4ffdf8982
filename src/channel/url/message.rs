//! What services have in common: the parts of a message, cut to their limits.
//!
//! Attachments that are links are links in all of them; others go along where a service takes files, and are noted where not.

use crate::attachment::{Attachment, Content};
use crate::channel::markdown::{Document, markdown_link, safe_link};
use crate::channel::text::{cut, cut_by, one_line};
use crate::delivery::Delivery;
use crate::event::Severity;
use crate::ids::digest;

/// Of an event's type in a last line.
const TYPE_UNITS_MAX: usize = 200;
/// Of labels and links in a text.
const LABEL_UNITS_MAX: usize = 120;

/// A link with its label; absolute, so that a button may lead there.
pub(super) struct Way {
    pub label: String,
    pub url: String,
}

/// A delivery, read once for a service.
pub(super) struct Message<'a> {
    pub delivery: &'a Delivery,
    document: Document,
    /// The link, the actions and the attachments that are links.
    pub ways: Vec<Way>,
    /// Links that only lead somewhere on the reader's own site.
    elsewhere: Vec<String>,
}

impl<'a> Message<'a> {
    pub fn of(delivery: &'a Delivery) -> Self {
        let mut message =
            Self { delivery, document: Document::of(delivery), ways: Vec::new(), elsewhere: Vec::new() };
        if let Some(link) = &delivery.link {
            message.add("Open", link);
        }
        for action in &delivery.actions {
            message.add(&action.label, &action.url);
        }
        for attachment in &delivery.attachments {
            if let Content::Link(link) = attachment.content() {
                message.add(&attachment.name, link);
            }
        }
        message
    }

    fn add(&mut self, label: &str, url: &str) {
        let label = cut(&one_line(label), LABEL_UNITS_MAX);
        match safe_link(url) {
            Some(url) => self.ways.push(Way { label, url }),
            None => self.elsewhere.push(format!("{label}: {}", cut(&one_line(url), TYPE_UNITS_MAX))),
        }
    }

    pub fn title(&self, units_max: usize) -> String {
        cut(&one_line(&self.delivery.title), units_max)
    }

    /// Where the link leads, if it is absolute.
    pub fn link(&self) -> Option<String> {
        self.delivery.link.as_deref().and_then(safe_link)
    }

    /// The body without marks, then links that cannot be buttons.
    pub fn plain(&self, units_max: usize) -> String {
        let tail = self.elsewhere.join("\n");
        joined(&self.document.to_plain(room(units_max, &tail)), &tail)
    }

    /// The same, in bytes, as some count.
    pub fn plain_bytes(&self, bytes_max: usize) -> String {
        // "…" is three bytes and counts as one.
        cut_by(&self.plain(bytes_max), bytes_max.saturating_sub(2), char::len_utf8)
    }

    /// The same with all links behind it, for who has no buttons. `price` says what counts: bytes or units.
    pub fn plain_with_links(&self, price_max: usize, price: fn(char) -> usize) -> String {
        let links = self.ways.iter().map(|way| format!("{}: {}", way.label, way.url));
        let tail = self.elsewhere.iter().cloned().chain(links).collect::<Vec<_>>().join("\n");
        let tail = cut_by(&tail, price_max / 2, price);
        let taken: usize = tail.chars().map(price).sum();
        let room = price_max.saturating_sub(taken + 2);
        let text = self.document.to_plain(room);
        // "…" counts as one, whatever it costs.
        joined(&cut_by(&text, room.saturating_sub(price('…') - 1), price), &tail)
    }

    /// The body in Markdown, with all links behind it.
    pub fn markdown(&self, units_max: usize, hard_breaks: bool) -> String {
        let mut tail = String::new();
        let elsewhere = self.elsewhere.iter().map(|line| crate::channel::markdown::escape_markdown(line));
        for part in elsewhere.chain(self.ways.iter().map(|way| markdown_link(&way.label, &way.url))) {
            // A link that is cut is none.
            if tail.len() + part.len() < units_max / 2 {
                tail.push_str(if tail.is_empty() { "" } else { " · " });
                tail.push_str(&part);
            }
        }
        joined(&self.document.to_markdown(room(units_max, &tail), hard_breaks), &tail)
    }

    /// For services that refuse an empty text.
    pub fn or_footer(&self, text: String) -> String {
        if text.trim().is_empty() { self.footer() } else { text }
    }

    /// `warning · task:created`.
    pub fn footer(&self) -> String {
        let event_type = cut(&one_line(self.delivery.event.event_type.as_str()), TYPE_UNITS_MAX);
        format!("{} · {event_type}", self.delivery.severity.as_str())
    }

    /// What has one is one thing: the rule's collapse id, else this very delivery. A longer one is digested.
    pub fn short_key(&self, bytes_max: usize) -> String {
        let key = self.delivery.collapse_id.as_deref().unwrap_or(self.delivery.id.as_str());
        if key.len() <= bytes_max { key.to_owned() } else { digest(&[key]) }
    }

    /// Attachments that are no links, with their bytes.
    pub fn files(&self) -> impl Iterator<Item = (&Attachment, Vec<u8>)> {
        self.delivery.attachments.iter().filter_map(|file| match file.content() {
            Content::Bytes(bytes) => Some((file, bytes)),
            Content::Link(_) => None,
        })
    }

    /// What did not go out, where so many files did.
    pub fn note(&self, carried: usize) -> Option<String> {
        let left = self.files().count().saturating_sub(carried);
        let all = self.delivery.attachments.len();
        (left > 0).then(|| format!("{left} of {all} attachments did not go out: the service takes no such files"))
    }
}

fn room(units_max: usize, tail: &str) -> usize {
    if tail.is_empty() { units_max } else { units_max.saturating_sub(crate::channel::text::units(tail) + 2) }
}

fn joined(text: &str, tail: &str) -> String {
    [text, tail].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// Blue, orange and red, where a colour is a number.
pub(super) fn colour(severity: Severity) -> u32 {
    match severity {
        Severity::Info => 0x2f_80_ed,
        Severity::Warning => 0xf2_99_4a,
        Severity::Critical => 0xeb_57_57,
    }
}
