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
    pub texts: Detail,
}

/// How the texts of deliveries stand on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Plain,
    /// Besides, what each channel's kind makes of them.
    Shown,
}

/// Writing to a String cannot fail, so the results are let go.
#[must_use]
pub fn page(explanation: &Explanation, around: &Around<'_>, paint: Paint) -> String {
    let mut page = head(explanation, around, paint);
    for fault in &explanation.invalid {
        let said = format!("a rule that it brings is not valid and does not count: {fault}");
        writeln!(page, "{}", paint.bad(one_line(&said))).ok();
    }
    if explanation.rules.is_empty() {
        let Around { workspace, rules, .. } = around;
        let event_type = one_line(explanation.event_type.as_str());
        writeln!(page, "no rule's patterns match {event_type}: workspace {workspace} has {rules} rules").ok();
        return page;
    }
    let width = |names: &mut dyn Iterator<Item = &str>| {
        names.map(|name| name.chars().count()).max().unwrap_or_default().min(NAME_CHARS_MAX)
    };
    let ids = width(&mut explanation.rules.iter().map(|answer| answer.id.as_str()));
    let scopes = width(&mut explanation.rules.iter().map(|answer| answer.scope.as_str()));
    for answer in &explanation.rules {
        let (id, scope) = (format!("{:<ids$}", answer.id.as_str()), one_line(&answer.scope));
        let sign = match (answer.fired, answer.goes_out()) {
            (true, true) => paint.good("✓"),
            (true, false) => paint.doubtful("⊘"),
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
        if let Why::Fired { windows, collapse, deliveries } = &answer.why {
            windows.iter().for_each(|window| write_window(&mut page, window, paint));
            if let Some(key) = collapse.as_ref().and_then(|key| key.get(2)) {
                writeln!(page, "    one with others of “{}”", one_line(key)).ok();
            }
            write_deliveries(&mut page, deliveries, around.texts, paint);
        }
    }
    writeln!(page, "\n{}", summary(explanation)).ok();
    page
}

fn head(explanation: &Explanation, around: &Around<'_>, paint: Paint) -> String {
    let mut head = paint.bold(one_line(explanation.event_type.as_str()));
    if let Some(event) = &explanation.event {
        let (id, source) = (one_line(&event.id), one_line(&event.source));
        write!(head, "  {id} from {source} in {}", around.workspace).ok();
    }
    if let Some(stored_at) = explanation.stored_at {
        write!(head, ", stored {stored_at:.3}").ok();
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
fn write_deliveries(page: &mut String, deliveries: &[Planned], texts: Detail, paint: Paint) {
    let text = |planned: &Planned| (planned.title.clone(), planned.body.clone(), planned.link.clone());
    let mut rest: Vec<&Planned> = deliveries.iter().collect();
    while let Some(first) = rest.first().copied() {
        let (same, others): (Vec<&Planned>, Vec<&Planned>) =
            rest.into_iter().partition(|planned| text(planned) == text(first));
        for planned in &same {
            writeln!(page, "    {}", line(planned, paint)).ok();
        }
        write_text(page, first, paint);
        match texts {
            Detail::Plain => {}
            Detail::Shown => same.into_iter().for_each(|planned| write_shown(page, planned, paint)),
        }
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
        Would::Send => match planned.held_until {
            None => format!("{} {to}", paint.good("→")),
            Some(until) => {
                let when = format!("at {until}{reason}");
                format!("{} {to}  {}", paint.good("→"), paint.doubtful(when))
            }
        },
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
    let body = Document::read(&planned.body, planned.format).to_plain(BODY_UNITS_MAX);
    let link = planned.link.as_deref().map(one_line);
    for line in body.lines().chain(link.as_deref()) {
        writeln!(page, "      {}", crate::channel::text::clean(line)).ok();
    }
    if let Some(note) = &planned.note {
        writeln!(page, "      {}", paint.doubtful(format!("note: {}", one_line(note)))).ok();
    }
}

fn write_shown(page: &mut String, planned: &Planned, paint: Paint) {
    let Some(shown) = &planned.shown else { return };
    let text = shown.as_str().map_or_else(|| format!("{shown:#}"), str::to_owned);
    writeln!(page, "      {}", paint.faint(format!("{} shows", planned.channel))).ok();
    for line in text.lines() {
        writeln!(page, "        {}", crate::channel::text::clean(line)).ok();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::channel::ChannelSpec;
    use crate::explain::Answer;
    use crate::outcome::Reason;
    use crate::route::explain::{Verdict, explain};
    use crate::route::ruleset::RuleSet;
    use crate::route::scopes::EventScopes;
    use crate::route::texts::Texts;
    use crate::route::{Channels, World};
    use crate::rule::Rule;
    use crate::rule::fault::Fault;

    /// What rules make of an event, with a window of `quiet` closed.
    fn explained(rules: &[Value], event: Value) -> Explanation {
        let workspace = WorkspaceId::default();
        let Value::Object(fields) = event else { panic!("{event}") };
        let event = crate::publish::imagined(&workspace, fields).unwrap();
        let rules = rules.iter().map(|rule| {
            let spec = serde_json::from_value(rule.clone()).unwrap();
            (workspace.clone(), Arc::new(Rule::compile(&spec).unwrap()))
        });
        let (rules, scopes, texts) = (RuleSet::new(rules), EventScopes::default(), Texts::default());
        let mut channels = Channels::new();
        for spec in [
            json!({ "id": "log", "kind": "console" }),
            json!({ "id": "ops", "kind": "console", "enabled": false }),
        ] {
            let spec: ChannelSpec = serde_json::from_value(spec).unwrap();
            channels.insert((workspace.clone(), spec.id.clone()), Arc::new(spec));
        }
        let at = crate::fixture::NOON;
        let world = World { rules: &rules, scopes: &scopes, channels: &channels, texts: &texts, at };
        let answers = explain(&event, world).into_iter().map(|judged| {
            let fired = matches!(judged.verdict, Verdict::Fired(_));
            let closed =
                (fired && judged.rule.cooldown.is_some()).then(|| Window::closed(Reason::Cooldown, at));
            Answer::of(&judged, closed.into_iter().collect())
        });
        let rules = answers.collect();
        let (event_type, scopes, invalid) = (event.event_type, Vec::new(), Vec::new());
        Explanation { event: None, stored_at: None, event_type, scopes, invalid, rules }
    }

    fn rule(id: &str, more: Value) -> Value {
        let mut rule = json!({ "id": id, "events": ["task:*"], "channels": ["log"], "template": { "title": "T", "body": "**b**" } });
        let Value::Object(more) = more else { panic!("{more}") };
        rule.as_object_mut().unwrap().extend(more);
        rule
    }

    fn shown(explanation: &Explanation, paint: Paint) -> String {
        let (workspace, texts) = (&WorkspaceId::default(), Detail::Plain);
        page(explanation, &Around { workspace, rules: 4, texts }, paint)
    }

    #[test]
    fn what_a_channel_makes_of_a_text_is_shown_to_who_asks_and_is_clean_too() {
        let evil = rule("r", json!({ "template": { "title": "{{x}}" } }));
        let said = explained(&[evil], json!({ "type": "task:x", "data": { "x": "a\u{1b}[2Jb" } }));
        let (workspace, texts) = (&WorkspaceId::default(), Detail::Shown);
        let page = page(&said, &Around { workspace, rules: 1, texts }, Paint::PLAIN);
        assert!(page.contains("      log shows\n        ┃ info · task:x · "), "{page}");
        assert!(!shown(&said, Paint::PLAIN).contains("shows") && !page.contains('\u{1b}'), "{page:?}");
    }

    #[test]
    fn each_rule_has_its_verdict_first_and_equal_texts_are_shown_once() {
        let rules = [
            rule("long-name", json!({ "channels": ["log", "ops", "gone"], "severity": "warning" })),
            rule("no", json!({ "condition": { "field": "n", "op": ">=", "value": 3 } })),
            rule("nowhere", json!({ "channels": ["ops"] })),
            rule("off", json!({ "enabled": false })),
            rule("quiet", json!({ "cooldownMs": 1000 })),
        ];
        let explanation = explained(&rules, json!({ "type": "task:done", "data": {} }));
        let expected = "task:done\n
✓ long-name  global  fires
    → log (console)
    ⊘ ops (console)  suppressed: channel_disabled
    ✗ gone  fails: unknown_channel
      warning  T
      b
✗ no         global  `n` is missing, not >= 3 (/condition)
⊘ nowhere    global  fires, and nothing goes out
    ⊘ ops (console)  suppressed: channel_disabled
      info  T
      b
✗ off        global  switched off
⊘ quiet      global  held back: cooldown
    cooldown: closed until 2024-01-01T12:00:00Z
    ⊘ log (console)  suppressed: cooldown
      info  T
      b

3 of 5 rules whose patterns match fire: 1 to send, 3 suppressed, 1 that fail
";
        assert_eq!(shown(&explanation, Paint::PLAIN), expected);
    }

    #[test]
    fn an_event_that_no_rule_concerns_says_so_and_nothing_from_data_reaches_the_terminal() {
        let none = explained(&[], json!({ "type": "a:b" }));
        assert!(
            shown(&none, Paint::PLAIN)
                .contains("no rule's patterns match a:b: workspace default has 4 rules")
        );
        let fault = Fault::new("/data/notifications/rules/0/severity", "found `loud\u{1b}`");
        let invalid = shown(&Explanation { invalid: vec![fault], ..none }, Paint::PLAIN);
        assert!(
            invalid.contains("not count: at /data/notifications/rules/0/severity: found `loud"),
            "{invalid}"
        );
        assert!(!invalid.contains('\u{1b}'), "{invalid:?}");
        let evil = rule(
            "r",
            json!({ "template": { "title": "{{x}}", "body": "{{x}}", "link": "{{x}}" },
            "condition": { "not": { "field": "y", "op": "exists" } } }),
        );
        let evil = explained(&[evil], json!({ "type": "task:x", "data": { "x": "a\u{1b}[2Jb" } }));
        assert!(!shown(&evil, Paint::PLAIN).contains('\u{1b}'));
        assert!(shown(&evil, Paint::COLOURED).contains("\u{1b}[32m✓\u{1b}[0m"));
    }
}
