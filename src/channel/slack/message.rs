//! A delivery as Slack's blocks: the title on top, the rest beside a bar in the colour of the severity.
//!
//! Only an attachment has a colour. Slack shows `text` as well when a message has attachments and no blocks of its own, and only
//! in notifications when it has some: so the first block always stands outside of the attachment, and nothing is shown twice.
//! Sources: <https://docs.slack.dev/reference/block-kit/blocks>,
//! <https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments>.

use serde_json::{Value, json};

use crate::channel::markdown::{Document, escape_slack, safe_link};
use crate::channel::text::{cut, cut_by, one_line};
use crate::delivery::{ACTIONS_MAX, Delivery, LABEL_CHARS_MAX};
use crate::event::Severity;

const HEADER_UNITS_MAX: usize = 150;
pub(super) const SECTION_UNITS_MAX: usize = 3000;

/// Slack takes 50 blocks and 40,000 characters: twelve full sections stay below both.
const SECTIONS_MAX: usize = 12;

/// Of the fallback text that notifications and old clients show.
const FALLBACK_UNITS_MAX: usize = 3000;

/// Of an event's type in the last line, and of whatever else stands in a line of its own.
const TYPE_UNITS_MAX: usize = 200;

/// The whole of it, with blocks for its files.
pub(super) fn message(delivery: &Delivery, files: &[Value]) -> Value {
    let title = one_line(&delivery.title);
    let document = Document::of(delivery);
    let mut blocks = Vec::new();
    if !title.is_empty() {
        blocks.push(json!({ "type": "header", "text": plain(&title, HEADER_UNITS_MAX) }));
    }
    let shown = files.iter().filter(|block| block["type"] == "section").count();
    for text in document.to_slack(SECTION_UNITS_MAX, SECTIONS_MAX - shown.min(SECTIONS_MAX - 1)) {
        blocks.push(section(&text));
    }
    blocks.extend(files.iter().cloned());
    blocks.extend(buttons(delivery));
    blocks.push(context(&line(delivery)));
    let beside = blocks.split_off(1);
    let body = document.to_plain(FALLBACK_UNITS_MAX);
    let said = [title, body].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
    let short = format!("{} · {}", delivery.severity.as_str(), event_type(delivery));
    let text = if said.is_empty() {
        short.clone()
    } else {
        escape_slack(&cut_by(&said, FALLBACK_UNITS_MAX, price))
    };
    // Both are always there: an edit keeps what it does not name.
    let attachment = json!({ "color": colour(delivery.severity), "fallback": short, "blocks": beside });
    let attachments = if beside.is_empty() { json!([]) } else { json!([attachment]) };
    json!({ "text": text, "blocks": blocks, "attachments": attachments })
}

pub(super) fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

pub(super) fn context(text: &str) -> Value {
    json!({ "type": "context", "elements": [mrkdwn(text)] })
}

/// `verbatim` keeps Slack from finding names, channels and addresses in the text by itself.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

/// Without `emoji` a type such as `task:fire:out` stays what it is.
fn plain(text: &str, units_max: usize) -> Value {
    json!({ "type": "plain_text", "text": escape_slack(&cut_by(text, units_max, price)), "emoji": false })
}

fn price(ch: char) -> usize {
    match ch {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        _ => ch.len_utf16(),
    }
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "#1d9bd1",
        Severity::Warning => "#e8912d",
        Severity::Critical => "#e01e5a",
    }
}

/// Buttons that open a page. A path is no URL, and is shown as text.
fn buttons(delivery: &Delivery) -> Vec<Value> {
    let (mut elements, mut paths) = (Vec::new(), Vec::new());
    for (index, action) in delivery.actions.iter().take(ACTIONS_MAX).enumerate() {
        let label = one_line(&action.label);
        match safe_link(&action.url) {
            Some(url) => elements.push(json!({
                "type": "button",
                "action_id": format!("open-{index}"),
                "text": plain(&label, LABEL_CHARS_MAX),
                "url": url,
            })),
            None => paths.push(format!("{label}: {}", cut(&one_line(&action.url), TYPE_UNITS_MAX))),
        }
    }
    let mut blocks = Vec::new();
    if !elements.is_empty() {
        blocks.push(json!({ "type": "actions", "elements": elements }));
    }
    if !paths.is_empty() {
        blocks.push(context(&escape_slack(&paths.join(" · "))));
    }
    blocks
}

fn event_type(delivery: &Delivery) -> String {
    escape_slack(&cut(&one_line(delivery.event.event_type.as_str()), TYPE_UNITS_MAX))
}

/// Severity for those who do not see its colour, type, time in the reader's own zone, and the link.
fn line(delivery: &Delivery) -> String {
    let dot = match delivery.severity {
        Severity::Info => "🔵",
        Severity::Warning => "🟠",
        Severity::Critical => "🔴",
    };
    let severity = delivery.severity.as_str();
    let event_type = event_type(delivery);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::conformance::sample;
    use crate::channel::text::units;
    use crate::delivery::Action;

    /// Those of the message and those beside the bar, in the order in which they are seen.
    fn blocks(message: &Value) -> Vec<Value> {
        let top = message["blocks"].as_array().unwrap();
        let beside = message["attachments"][0]["blocks"].as_array();
        top.iter().chain(beside.into_iter().flatten()).cloned().collect()
    }

    fn texts(message: &Value) -> Vec<String> {
        let text = |block: &Value| {
            let text = block["text"]["text"].as_str().or(block["elements"][0]["text"].as_str());
            text.unwrap_or_default().to_owned()
        };
        blocks(message).iter().map(text).collect()
    }

    #[test]
    fn a_message_has_a_header_sections_and_a_context() {
        let mut delivery = sample();
        delivery.link = Some("https://app.example/t/1?a=1&b=2".to_owned());
        let message = message(&delivery, &[]);
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
    fn the_bar_has_the_colour_of_the_severity_and_the_title_stands_above_it() {
        let mut delivery = sample();
        for (severity, colour) in
            [(Severity::Info, "#1d9bd1"), (Severity::Warning, "#e8912d"), (Severity::Critical, "#e01e5a")]
        {
            delivery.severity = severity;
            let message = message(&delivery, &[]);
            assert_eq!(message["attachments"][0]["color"], colour);
            assert_eq!(message["blocks"].as_array().unwrap().len(), 1);
            assert_eq!(message["blocks"][0]["type"], "header");
            assert_eq!(message["attachments"].as_array().unwrap().len(), 1);
        }
    }

    #[test]
    fn slacks_limits_are_kept() {
        let mut delivery = sample();
        delivery.title = "<&>\n".repeat(500);
        delivery.body = "a <b> & `c`\n".repeat(50_000);
        delivery.link = Some("/tasks/<!channel>".to_owned());
        let message = message(&delivery, &[section("file")]);
        let texts = texts(&message);
        assert_eq!(texts.len(), SECTIONS_MAX + 2, "a file takes the place of a section");
        assert!(units(&texts[0]) <= HEADER_UNITS_MAX && texts[0].ends_with('…'), "{}", texts[0]);
        assert!(texts.iter().all(|text| units(text) <= SECTION_UNITS_MAX));
        assert!(texts.concat().matches('<').count() == 1, "only the date");
        assert!(units(message["text"].as_str().unwrap()) <= FALLBACK_UNITS_MAX);
    }

    #[test]
    fn an_empty_text_leaves_no_empty_block_and_something_always_stands_above_the_bar() {
        let mut delivery = sample();
        delivery.body = String::new();
        assert_eq!(texts(&message(&delivery, &[])).len(), 2);
        delivery.title = "\u{202e} ".to_owned();
        let bare = message(&delivery, &[]);
        assert_eq!((texts(&bare).len(), &bare["attachments"]), (1, &json!([])));
        assert_eq!(bare["text"], "warning · task:created");
        delivery.body = "body".to_owned();
        assert_eq!(message(&delivery, &[])["blocks"][0]["text"]["text"], "body");
    }

    #[test]
    fn actions_are_buttons_and_paths_are_text() {
        let action = |label: &str, url: &str| Action { label: label.to_owned(), url: url.to_owned() };
        let mut delivery = sample();
        delivery.actions = vec![
            action("See <it>", "https://app.example/a?b=1&c=2"),
            action("Runbook", "/runbooks/7"),
            action(&"x".repeat(200), "https://app.example/long"),
        ];
        let blocks = blocks(&message(&delivery, &[]));
        let actions = blocks.iter().find(|block| block["type"] == "actions").unwrap();
        let buttons = actions["elements"].as_array().unwrap();
        assert_eq!(buttons.len(), 2);
        assert_eq!(buttons[0]["text"]["text"], "See &lt;it&gt;");
        assert_eq!(buttons[0]["url"], "https://app.example/a?b=1&c=2");
        assert_ne!(buttons[0]["action_id"], buttons[1]["action_id"]);
        assert!(units(buttons[1]["text"]["text"].as_str().unwrap()) <= LABEL_CHARS_MAX);
        assert_eq!(blocks[blocks.len() - 2]["elements"][0]["text"], "Runbook: /runbooks/7");
    }
}
