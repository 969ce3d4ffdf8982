//! An explanation as a page for a terminal: each rule's verdict first, then what it means.
//!
//! What comes from events is cleaned: a terminal obeys escape sequences.

use std::fmt::Write;

use crate::channel::markdown::Document;
use crate::channel::text::one_line;
use crate::cli::paint::Paint;
use crate::event::Severity;
use crate::explain::{Explanation, Planned, Why, Window, Would};
use crate::ids::WorkspaceId;

/// More of a body is for the channel.
const BODY_UNITS_MAX: usize = 2_000;
/// Longer names do not push the verdicts out of sight.
const NAME_CHARS_MAX: usize = 40;

/// What the page says besides.
pub struct Around<'a> {
    pub workspace: &'a WorkspaceId,
    /// How many rules the workspace has.
    pub rules: usize,
}

/// Writing to a String cannot fail, so the results are let go.
#[must_use]
pub fn page(explanation: &Explanation, around: &Around<'_>, paint: Paint) -> String {
    let mut page = head(explanation, around, paint);
    if explanation.rules.is_empty() {
        let Around { workspace, rules } = around;
        let event_type = explanation.event_type.as_str();
        writeln!(page, "no rule's patterns match {event_type}: workspace {workspace} has {rules} rules").ok();
        return page;
    }
    let width = |names: &mut dyn Iterator<Item = &str>| {
        names.map(|name| name.chars().count()).max().unwrap_or_default().min(NAME_CHARS_MAX)
    };
    let ids = width(&mut explanation.rules.iter().map(|answer| answer.id.as_str()));
    let scopes = width(&mut explanation.rules.iter().map(|answer| answer.scope.as_str()));
    for answer in &explanation.rules {
        let held = answer.fired && answer.reason != "fired";
        let (id, scope) = (format!("{:<ids$}", answer.id.as_str()), one_line(&answer.scope));
        let sign = match (answer.fired, held) {
            (true, false) => paint.good("✓"),
            (true, true) => paint.doubtful("⊘"),
            (false, _) => paint.bad("✗"),
        };
        writeln!(
            page,
            "{sign} {}  {}  {}",
            paint.bold(id),
            paint.faint(format!("{scope:<scopes$}")),
            one_line(&answer.words())
        )
        .ok();
        if let Why::Fired { windows, deliveries } = &answer.why {
            windows.iter().for_each(|window| write_window(&mut page, window, paint));
            write_deliveries(&mut page, deliveries, paint);
        }
    }
    writeln!(page, "\n{}", summary(explanation)).ok();
    page
}

fn head(explanation: &Explanation, around: &Around<'_>, paint: Paint) -> String {
    let mut head = paint.bold(explanation.event_type.as_str());
    if let Some(event) = &explanation.event {
        let (id, source) = (one_line(&event.id), one_line(&event.source));
        write!(head, "  {id} from {source} in {}", around.workspace).ok();
    }
    if let Some(stored_at) = explanation.stored_at {
        write!(head, ", stored {stored_at}").ok();
    }
    head.push('\n');
    if !explanation.scopes.is_empty() {
        let scopes: Vec<String> = explanation.scopes.iter().map(|scope| one_line(scope)).collect();
        writeln!(head, "{}", paint.faint(format!("scopes: {}, then global", scopes.join(", ")))).ok();
    }
    if explanation.event.is_some() {
        writeln!(head, "{}", paint.faint("held against the rules and windows of now")).ok();
    }
    head.push('\n');
    head
}

fn write_window(page: &mut String, window: &Window, paint: Paint) {
    let state = match window.closed_until {
        None => paint.good("open"),
        Some(until) if window.opened_by_this_event => format!("opened by this event until {until}"),
        Some(until) => paint.doubtful(format!("closed until {until}")),
    };
    let held_back = match window.held_back {
        0 => String::new(),
        count => format!(", {count} held back so far"),
    };
    let key = window.key.get(2).filter(|key| !key.is_empty());
    let key = key.map(|key| format!(" for “{}”", one_line(key))).unwrap_or_default();
    writeln!(page, "    {}{key}: {state}{held_back}", window.reason).ok();
}

/// Deliveries that say the same share the text.
fn write_deliveries(page: &mut String, deliveries: &[Planned], paint: Paint) {
    let text = |planned: &Planned| (planned.title.clone(), planned.body.clone(), planned.link.clone());
    let mut rest: Vec<&Planned> = deliveries.iter().collect();
    while let Some(first) = rest.first().copied() {
        let (same, others): (Vec<&Planned>, Vec<&Planned>) =
            rest.into_iter().partition(|planned| text(planned) == text(first));
        for planned in same {
            writeln!(page, "    {}", line(planned, paint)).ok();
        }
        write_text(page, first, paint);
        rest = others;
    }
}

fn line(planned: &Planned, paint: Paint) -> String {
    let mut to = planned.channel.to_string();
    if let Some(kind) = planned.kind.filter(|kind| kind.as_str() != to) {
        write!(to, " ({kind})").ok();
    }
    if let Some(recipient) = &planned.recipient {
        write!(to, " to {}", one_line(recipient.as_str())).ok();
    }
    let reason = planned.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    match planned.would {
        Would::Send => format!("{} {to}", paint.good("→")),
        Would::Suppress => {
            format!("{} {to}  {}", paint.doubtful("⊘"), paint.doubtful(format!("suppressed{reason}")))
        }
        Would::Fail => format!("{} {to}  {}", paint.bad("✗"), paint.bad(format!("fails{reason}"))),
    }
}

fn write_text(page: &mut String, planned: &Planned, paint: Paint) {
    let severity = match planned.severity {
        Severity::Info => paint.faint("info"),
        Severity::Warning => paint.doubtful("warning"),
        Severity::Critical => paint.bad("critical"),
    };
    writeln!(page, "      {severity}  {}", paint.bold(one_line(&planned.title))).ok();
    let body = Document::parse(&planned.body).to_plain(BODY_UNITS_MAX);
    let link = planned.link.as_deref().map(one_line);
    for line in body.lines().chain(link.as_deref()) {
        writeln!(page, "      {}", crate::channel::text::clean(line)).ok();
    }
    if let Some(note) = &planned.note {
        writeln!(page, "      {}", paint.doubtful(format!("note: {}", one_line(note)))).ok();
    }
}

fn summary(explanation: &Explanation) -> String {
    let fired = explanation.rules.iter().filter(|answer| answer.fired).count();
    let planned = explanation.rules.iter().filter_map(|answer| match &answer.why {
        Why::Fired { deliveries, .. } => Some(deliveries),
        Why::Off {} | Why::Outscoped { .. } | Why::Unmet { .. } => None,
    });
    let all: Vec<Would> = planned.flatten().map(|planned| planned.would).collect();
    let count = |would: Would| all.iter().filter(|one| **one == would).count();
    format!(
        "{fired} of {} rules whose patterns match fire: {} to send, {} suppressed, {} that fail",
        explanation.rules.len(),
        count(Would::Send),
        count(Would::Suppress),
        count(Would::Fail),
    )
}
