//! Bodies: a small Markdown, or HTML where one says so, parsed once into a flat list of pieces that each channel writes in
//! its own way.
//!
//! Bold, italic, code, code blocks, links (https, http, mailto), lists, quotes and headings (as bold) are known; all else,
//! raw HTML in Markdown included, is text. What no channel could nest is never in the list: a style inside itself, a style around
//! code, code in a link, a quote in a quote. Bullets and blank lines are text already, so that only marks differ.

mod common;
mod dialect;
mod escaped;
mod html;
mod literal;
mod mail;
mod parse;
mod places;
mod whatsapp;
mod write;

use url::Url;

use crate::delivery::{Delivery, Format};
use common::Common;
use dialect::{Plain, Slack, Telegram};
pub use escaped::escaped;
pub use literal::literal;
use mail::Mail;
use whatsapp::WhatsApp;
use write::Limits;

/// More than any channel shows: what comes behind is not even parsed.
const SOURCE_BYTES_MAX: usize = 64 * 1024;

/// A longer link is shown as text: with many of them a request would be a multiple of its message.
const LINK_BYTES_MAX: usize = 2048;

/// Telegram gives up formatting beyond 100 entities a message; the title, the context line and links to files have some, too.
const TELEGRAM_TAGS_MAX: usize = 80;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tag {
    Bold,
    Italic,
    /// Of HTML only.
    Underline,
    /// Of HTML only.
    Strike,
    Code,
    CodeBlock,
    /// An absolute URL of an allowed scheme.
    Link(String),
    Quote,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Open(Tag),
    /// Of the tag that was opened last.
    Close,
    /// Clean text, line feeds included.
    Text(String),
}

/// A parsed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(Vec<Piece>);

impl Document {
    #[must_use]
    pub fn parse(source: &str) -> Self {
        Self::read(source, Format::Markdown)
    }

    /// The body of a delivery.
    #[must_use]
    pub fn of(delivery: &Delivery) -> Self {
        Self::read(&delivery.body, delivery.format)
    }

    #[must_use]
    pub fn read(source: &str, format: Format) -> Self {
        let end = source.floor_char_boundary(SOURCE_BYTES_MAX);
        let mut pieces = match format {
            Format::Markdown => parse::parse(&source[..end]),
            Format::Html => html::parse(&source[..end]),
        };
        if end < source.len() {
            pieces.push(Piece::Text("…".to_owned()));
        }
        Self(pieces)
    }

    /// Slack's mrkdwn in at most `pieces_max` texts of at most `units_max` each, marks and escapes included.
    #[must_use]
    pub fn to_slack(&self, units_max: usize, pieces_max: usize) -> Vec<String> {
        write::write(&self.0, &Slack, &Limits { units_max, pieces_max, tags_max: usize::MAX })
    }

    /// Telegram's HTML, in which `units_max` bounds the text without tags and escapes, as Telegram counts it.
    #[must_use]
    pub fn to_telegram(&self, units_max: usize) -> String {
        let limits = Limits { units_max, pieces_max: 1, tags_max: TELEGRAM_TAGS_MAX };
        write::write(&self.0, &Telegram, &limits).concat()
    }

    /// WhatsApp's marks, which count.
    #[must_use]
    pub fn to_whatsapp(&self, units_max: usize) -> String {
        let limits = Limits { units_max, pieces_max: 1, tags_max: usize::MAX };
        write::write(&self.0, &WhatsApp, &limits).concat()
    }

    /// HTML for mail, in which `units_max` bounds the text without tags and escapes.
    #[must_use]
    pub fn to_mail(&self, units_max: usize) -> String {
        write::write(&self.0, &Mail, &Limits { units_max, pieces_max: 1, tags_max: usize::MAX }).concat()
    }

    /// Markdown again, in which only the body's own marks are marks. `hard_breaks` for readers to whom a line feed is a space.
    #[must_use]
    pub fn to_markdown(&self, units_max: usize, hard_breaks: bool) -> String {
        let limits = Limits { units_max, pieces_max: 1, tags_max: usize::MAX };
        write::write(&self.0, &Common { hard_breaks }, &limits).concat()
    }

    /// Text without marks; links show their address behind them.
    #[must_use]
    pub fn to_plain(&self, units_max: usize) -> String {
        write::write(&self.0, &Plain, &Limits { units_max, pieces_max: 1, tags_max: usize::MAX }).concat()
    }
}

/// A link that may be shown as one: absolute, of a harmless scheme, and without what could end its markup.
#[must_use]
pub fn safe_link(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "https" | "http" | "mailto") {
        return None;
    }
    let link = url.as_str().replace('|', "%7C").replace('<', "%3C").replace('>', "%3E").replace('"', "%22");
    (link.len() <= LINK_BYTES_MAX).then_some(link)
}

/// `text` in Telegram's HTML.
#[must_use]
pub fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `text` in Markdown, as text.
#[must_use]
pub fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    common::escape(text, &mut escaped);
    escaped
}

/// A link in Markdown.
#[must_use]
pub fn markdown_link(label: &str, link: &str) -> String {
    format!("[{}]({})", escape_markdown(label), common::target(link))
}

/// `text` for Slack, which has three characters of its own.
#[must_use]
pub fn escape_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
