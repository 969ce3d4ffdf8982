//! What a message says, whoever carries it: subject, text, HTML, files and headers.
//!
//! The HTML is old on purpose: a table with a coloured bar and inline styles is what every mail client shows. All texts are
//! escaped, and only links that may be shown as such become some. A conversation is told by `References` to an id
//! made of the collapse id: nobody sent that message, and clients gather its answers all the same. The subject stays the
//! title: Gmail parts a conversation where it changes.

use crate::attachment::Content;
use crate::channel::markdown::{Document, escape_html, safe_link};
use crate::channel::text::{cut, one_line};
use crate::delivery::Delivery;
use crate::event::Severity;
use crate::ids::digest;

const SUBJECT_UNITS_MAX: usize = 200;
/// Gmail hides what comes behind 102 KiB of HTML.
const BODY_UNITS_MAX: usize = 30_000;
const LINE_UNITS_MAX: usize = 200;

const BUTTON: &str = "display:inline-block;margin:0 8px 8px 0;padding:8px 14px;border-radius:4px;background:#1f2937;color:#ffffff;\
                      text-decoration:none";

pub(super) struct File {
    pub name: String,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

pub(super) struct Letter {
    pub subject: String,
    pub text: String,
    pub html: String,
    pub files: Vec<File>,
    /// `<…@domain>`, the same on every try.
    pub id: String,
    /// The delivery's id: for providers that know repeats by it.
    pub key: String,
    /// Beside those that every message has. One line of ASCII each.
    pub headers: Vec<(&'static str, String)>,
}

impl Letter {
    /// `domain`: of the sender.
    pub(super) fn new(delivery: &Delivery, domain: &str, unsubscribe: Option<&str>) -> Self {
        let title = one_line(&delivery.title);
        let event_type = delivery.event.event_type.as_str();
        let subject = if title.is_empty() { one_line(event_type) } else { title };
        let subject = cut(&subject, SUBJECT_UNITS_MAX);
        let parts = Parts::of(delivery, unsubscribe);
        Self {
            text: parts.text(&subject),
            html: parts.html(&subject),
            files: files(delivery),
            id: format!("<{}@{domain}>", delivery.id),
            key: delivery.id.to_string(),
            headers: headers(delivery, domain, unsubscribe),
            subject,
        }
    }
}

fn headers(delivery: &Delivery, domain: &str, unsubscribe: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
    ];
    let importance = match delivery.severity {
        Severity::Info => Some(("low", "5")),
        Severity::Warning => None,
        Severity::Critical => Some(("high", "1")),
    };
    if let Some((word, number)) = importance {
        headers.push(("Importance", word.to_owned()));
        headers.push(("X-Priority", number.to_owned()));
    }
    if let Some(collapse) = &delivery.collapse_id {
        let root = format!("<c_{}@{domain}>", digest(&[delivery.workspace.as_str(), collapse]));
        headers.push(("In-Reply-To", root.clone()));
        headers.push(("References", root));
    }
    if let Some(url) = unsubscribe {
        headers.push(("List-Unsubscribe", format!("<{url}>")));
        headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    headers
}

fn files(delivery: &Delivery) -> Vec<File> {
    let file = |attachment: &crate::attachment::Attachment| match attachment.content() {
        Content::Link(_) => None,
        Content::Bytes(bytes) => Some(File {
            name: attachment.name.clone(),
            media_type: attachment.media_type().to_owned(),
            bytes,
        }),
    };
    delivery.attachments.iter().filter_map(file).collect()
}

/// A word and where it leads; the address is shown where it may not be a link.
struct Lead {
    label: String,
    shown: String,
    link: Option<String>,
}

impl Lead {
    fn new(label: &str, url: &str) -> Self {
        let link = safe_link(url);
        let shown = link.clone().unwrap_or_else(|| cut(&one_line(url), LINE_UNITS_MAX));
        Self { label: one_line(label), shown, link }
    }
}

/// What both forms are made of.
struct Parts<'a> {
    body: Document,
    buttons: Vec<Lead>,
    files: Vec<Lead>,
    context: String,
    unsubscribe: Option<&'a str>,
    colour: &'static str,
}

impl<'a> Parts<'a> {
    fn of(delivery: &Delivery, unsubscribe: Option<&'a str>) -> Self {
        let actions = delivery.actions.iter().map(|action| Lead::new(&action.label, &action.url));
        let link = delivery.link.iter().map(|link| Lead::new("Open", link));
        let files = delivery.attachments.iter().filter_map(|file| {
            let Content::Link(url) = file.content() else { return None };
            Some(Lead::new(&file.name, url))
        });
        let event_type = cut(&one_line(delivery.event.event_type.as_str()), LINE_UNITS_MAX);
        let time = delivery.event.time.strftime("%Y-%m-%d %H:%M UTC");
        Self {
            body: Document::of(delivery),
            buttons: link.chain(actions).collect(),
            files: files.collect(),
            context: format!("{} · {event_type} · {time}", delivery.severity.as_str()),
            unsubscribe,
            colour: match delivery.severity {
                Severity::Info => "#2563eb",
                Severity::Warning => "#f59e0b",
                Severity::Critical => "#dc2626",
            },
        }
    }

    fn text(&self, title: &str) -> String {
        let leads = |leads: &[Lead]| {
            let lines = leads.iter().map(|lead| format!("{}: {}", lead.label, lead.shown));
            lines.collect::<Vec<_>>().join("\n")
        };
        let mut parts = vec![title.to_owned(), self.body.to_plain(BODY_UNITS_MAX)];
        parts.extend([leads(&self.buttons), leads(&self.files)]);
        let mut foot = format!("-- \n{}", self.context);
        if let Some(url) = self.unsubscribe {
            foot.push_str("\nUnsubscribe: ");
            foot.push_str(url);
        }
        parts.push(foot);
        parts.retain(|part| !part.is_empty());
        parts.join("\n\n") + "\n"
    }

    fn html(&self, title: &str) -> String {
        let mut main = format!("<h1 style=\"margin:0 0 12px;font-size:18px\">{}</h1>\n", escape_html(title));
        let body = self.body.to_mail(BODY_UNITS_MAX);
        if !body.is_empty() {
            main.extend(["<div style=\"line-height:1.5\">", &body, "</div>\n"]);
        }
        let lead = |lead: &Lead, style: &str| {
            let label = escape_html(&lead.label);
            match &lead.link {
                Some(link) => format!("<a href=\"{}\"{style}>{label}</a>\n", escape_html(link)),
                None => format!("{label}: {}<br>\n", escape_html(&lead.shown)),
            }
        };
        let button = format!(" style=\"{BUTTON}\"");
        let buttons: String = self.buttons.iter().map(|found| lead(found, &button)).collect();
        let files: String = self.files.iter().map(|found| lead(found, "") + "<br>\n").collect();
        for group in [buttons, files].iter().filter(|group| !group.is_empty()) {
            main.extend(["<p style=\"margin:16px 0 0\">", group, "</p>\n"]);
        }
        let mut foot = escape_html(&self.context);
        if let Some(url) = self.unsubscribe {
            foot.extend([" · <a href=\"", &escape_html(url), "\" style=\"color:#6b7280\">Unsubscribe</a>"]);
        }
        let colour = self.colour;
        format!(
            "<!doctype html>\n<html><head><meta charset=\"utf-8\"></head><body style=\"margin:0;padding:16px;font-family:sans-serif;\
             font-size:14px;color:#111827\">\n<table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" width=\"100%\" \
             style=\"max-width:640px\"><tr><td style=\"padding:16px;border-left:6px solid {colour};background:#ffffff\">\n{main}\
             <p style=\"margin:16px 0 0;font-size:12px;color:#6b7280\">{foot}</p>\n</td></tr></table>\n</body></html>\n"
        )
    }
}
