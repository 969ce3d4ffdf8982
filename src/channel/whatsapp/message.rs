//! What WhatsApp gets: one text in its own marks, or the parameters of a template.
//!
//! A parameter may have no line feed, no tab and no four spaces in a row, and may not be empty. Sources:
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/messages/text-messages>,
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-message-templates>.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::attachment::Content;
use crate::channel::markdown::Document;
use crate::channel::text::{cut, one_line, units};
use crate::delivery::{Action, Delivery, Format};

const TEXT_UNITS_MAX: usize = 4096;
const TITLE_UNITS_MAX: usize = 256;
const TYPE_UNITS_MAX: usize = 120;
/// Of an action, a file or a link: a longer address is of no use when it is cut, and the body needs its room.
const LINE_UNITS_MAX: usize = 300;

/// Of one parameter, and of all together: a template's body has 1,024 characters, its own words included, where it has a header, a
/// footer or buttons besides.
const PARAMETER_UNITS_MAX: usize = 512;
const PARAMETERS_UNITS_MAX: usize = 900;
/// In the place of what is not there.
const NOTHING: &str = "–";

/// A part of a notification that a template can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Part {
    Title,
    Body,
    Link,
    Severity,
    EventType,
}

impl Part {
    fn of(self, delivery: &Delivery, units_max: usize) -> String {
        let text = match self {
            Self::Title => cut(&one_line(&delivery.title), TITLE_UNITS_MAX),
            Self::Body => one_line(&Document::of(delivery).to_plain(units_max)),
            Self::Link => one_line(delivery.link.as_deref().unwrap_or_default()),
            Self::Severity => delivery.severity.as_str().to_owned(),
            Self::EventType => one_line(delivery.event.event_type.as_str()),
        };
        let text = cut(&text, units_max);
        if text.is_empty() || units_max == 0 { NOTHING.to_owned() } else { text }
    }
}

/// What a template is given, in its order. The body gives way when it is too much together.
pub(super) fn parameters(parts: &[Part], delivery: &Delivery) -> Vec<String> {
    let (mut texts, mut room) = (vec![String::new(); parts.len()], PARAMETERS_UNITS_MAX);
    let is_body = |index: &usize| parts[*index] == Part::Body;
    let (bodies, others): (Vec<usize>, Vec<usize>) = (0..parts.len()).partition(is_body);
    for index in others.into_iter().chain(bodies) {
        texts[index] = parts[index].of(delivery, room.min(PARAMETER_UNITS_MAX));
        room = room.saturating_sub(units(&texts[index]));
    }
    texts
}

/// Title, body, links and files, and a line of context. The body gives way when it is too long.
pub(super) fn text(delivery: &Delivery) -> String {
    let title = marked('*', &cut(&one_line(&delivery.title), TITLE_UNITS_MAX));
    let links = links(delivery).join("\n");
    let event_type = cut(&one_line(delivery.event.event_type.as_str()), TYPE_UNITS_MAX);
    let time = delivery.event.time.strftime("%Y-%m-%d %H:%M UTC");
    let context = format!("{} · {event_type} · {time}", delivery.severity.as_str());
    let context = marked('_', &context);
    let taken = units(&title) + units(&links) + units(&context) + "\n\n\n\n\n\n".len();
    let body = Document::of(delivery).to_whatsapp(TEXT_UNITS_MAX.saturating_sub(taken));
    let parts = [title, body, links, context];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// In `mark`s, unless there are marks in it: they would end it early.
fn marked(mark: char, text: &str) -> String {
    let has_marks = text.contains(['*', '_', '~', '`']);
    if text.is_empty() || has_marks { unmarked(text) } else { format!("{mark}{text}{mark}") }
}

/// What is in a text shows as it is.
fn unmarked(text: &str) -> String {
    let source = crate::channel::markdown::escape_html(text);
    Document::read(&source, Format::Html).to_whatsapp(2 * TITLE_UNITS_MAX)
}

fn links(delivery: &Delivery) -> Vec<String> {
    let actions = delivery.actions.iter().map(|Action { label, url }| format!("{label}: {url}"));
    let files = delivery.attachments.iter().map(|file| match file.content() {
        Content::Link(url) => format!("📎 {}: {url}", file.name),
        Content::Bytes(bytes) => format!("📎 {} ({} bytes, not sent)", file.name, bytes.len()),
    });
    let lines = delivery.link.iter().cloned().chain(actions).chain(files);
    lines.map(|line| cut(&one_line(&line), LINE_UNITS_MAX)).collect()
}
