//! The console: prints a notification where the worker runs. For a first look, and for tests by hand.
//!
//! What it prints comes from events, and a terminal obeys escape sequences: all control characters are dropped. A block
//! is written in one piece, so that two of them never mix.

use std::fmt;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::markdown::Document;
use super::text::one_line;
use super::{Adapter, Channel, Failure, Receipt, SendError, Try, Workshop, settings};
use crate::attachment::Content;
use crate::delivery::{Action, Delivery};
use crate::event::Severity;
use crate::outcome::Reason;
use crate::rule::fault::Fault;

/// A few screens: more of a body is for other channels.
const BODY_UNITS_MAX: usize = 10_000;

const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleConfig {}

type Sink = Arc<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

pub struct Console {
    sink: Sink,
    coloured: bool,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("coloured", &self.coloured).finish_non_exhaustive()
    }
}

impl Adapter for Console {
    type Config = ConsoleConfig;

    fn show(delivery: &Delivery) -> Value {
        block(delivery, false).into()
    }

    fn new(config: &Value, _workshop: &Workshop) -> Result<Self, Fault> {
        let ConsoleConfig {} = settings::read(config)?;
        Ok(Self { sink: Arc::new(print), coloured: io::stdout().is_terminal() })
    }
}

fn print(block: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(block.as_bytes())?;
    stdout.flush()
}

impl Channel for Console {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let Try { delivery, .. } = attempt;
            let block = block(delivery, self.coloured);
            let sink = Arc::clone(&self.sink);
            // A pipe that nobody reads blocks: that must not hold up the others of this thread.
            match tokio::task::spawn_blocking(move || sink(&block)).await {
                Ok(Ok(())) => Ok(Receipt::default()),
                Ok(Err(_)) | Err(_) => {
                    Err(SendError::Ours(Failure::new(Reason::Internal, "standard output cannot be written")))
                }
            }
        })
    }
}

fn block(delivery: &Delivery, coloured: bool) -> String {
    let colour = match delivery.severity {
        Severity::Info => "\x1b[36m",
        Severity::Warning => "\x1b[33m",
        Severity::Critical => "\x1b[31m",
    };
    let (colour, bold, reset) = if coloured { (colour, BOLD, RESET) } else { ("", "", "") };
    let severity = delivery.severity.as_str();
    let event_type = one_line(delivery.event.event_type.as_str());
    let mut head = format!("{event_type} · {} · {}", delivery.event.time, delivery.channel);
    if let Some(recipient) = &delivery.recipient {
        // Writing to a String cannot fail.
        write!(head, " → {}", one_line(recipient.as_str())).ok();
    }
    let mut block = format!("{colour}┃{reset} {colour}{severity}{reset} · {head}\n");
    let title = one_line(&delivery.title);
    if !title.is_empty() {
        writeln!(block, "{colour}┃{reset} {bold}{title}{reset}").ok();
    }
    let body = Document::of(delivery).to_plain(BODY_UNITS_MAX);
    let actions = delivery.actions.iter().map(|Action { label, url }| format!("[{label}] {url}"));
    let files = delivery.attachments.iter().map(|file| match file.content() {
        Content::Link(url) => format!("+ {}: {url}", file.name),
        Content::Bytes(bytes) => format!("+ {} ({} bytes)", file.name, bytes.len()),
    });
    let more: Vec<String> =
        delivery.link.iter().cloned().chain(actions).chain(files).map(|line| one_line(&line)).collect();
    for line in body.lines().chain(more.iter().map(String::as_str)) {
        writeln!(block, "{colour}┃{reset} {line}").ok();
    }
    block
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::channel::conformance::{sample, workshop};
    use crate::ids::Recipient;

    #[test]
    fn a_notification_is_one_readable_block() {
        let mut delivery = sample();
        delivery.recipient = Some(Recipient::parse("ann").unwrap());
        delivery.link = Some("/tasks/1".to_owned());
        assert_eq!(
            block(&delivery, false),
            "┃ warning · task:created · 2026-11-20T10:00:00Z · c → ann\n┃ Task <created> & more\n\
             ┃ bold snake_case_name\n┃ \n┃ <!channel>\n┃ /tasks/1\n"
        );
        let coloured = block(&delivery, true);
        assert!(coloured.starts_with("\x1b[33m┃\x1b[0m") && coloured.contains("\x1b[1mTask"));
    }

    #[test]
    fn escape_sequences_from_data_do_not_reach_the_terminal() {
        let mut delivery = sample();
        delivery.title = "a\x1b[2Jb\rc\nd".to_owned();
        delivery.body = "x\x1b]0;owned\x07y &#27;[31m\u{9b}31m\u{202e}z".to_owned();
        delivery.link = Some("l\x1b[0m\nm".to_owned());
        let block = block(&delivery, false);
        assert!(!block.chars().any(|ch| ch != '\n' && (ch.is_control() || ch == '\u{202e}')), "{block:?}");
        assert!(block.contains("┃ a[2Jbc d\n") && block.contains("┃ l[0m m\n"), "{block}");
    }

    #[tokio::test]
    async fn an_output_that_cannot_be_written_is_our_own_trouble() {
        let sink: Sink = Arc::new(|_| Err(io::ErrorKind::BrokenPipe.into()));
        let console = Console { sink, coloured: false };
        let sent = console.send(Try::of(&sample(), Timestamp::UNIX_EPOCH)).await;
        assert!(matches!(sent, Err(SendError::Ours(failure)) if failure.reason == Reason::Internal));
    }

    #[test]
    fn it_has_no_settings() {
        assert!(Console::new(&json!({}), &workshop()).is_ok());
        assert_eq!(Console::new(&json!({ "color": true }), &workshop()).unwrap_err().pointer, "/color");
    }
}
