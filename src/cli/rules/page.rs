//! Results of tests as a page for a terminal: what failed says what was expected, what came, and why.

use std::fmt::Write;

use serde_json::Value;

use super::Results;
use crate::channel::text::one_line;
use crate::cli::paint::Paint;
use crate::explain::{Planned, Would};
use crate::fixture::report::{Complaint, Difference, Problem, Tested};
use crate::ids::{ChannelId, Recipient, RuleId};

/// Room for the words that a complaint begins with.
const WORD: usize = 10;

/// Writing to a String cannot fail, so the results are let go.
pub(super) fn page(results: &Results, paint: Paint) -> String {
    let mut page = String::new();
    for file in &results.files {
        writeln!(page, "{}", paint.bold(&file.file)).ok();
        file.report.tests.iter().for_each(|test| write_test(&mut page, test, paint));
        if !file.report.never_fired.is_empty() {
            let names: Vec<String> = file.report.never_fired.iter().map(|name| one_line(name)).collect();
            writeln!(page, "  {} {}", paint.doubtful("fired in no test:"), names.join(", ")).ok();
        }
        page.push('\n');
    }
    let Results { passed, failed, files } = results;
    let verdict = match failed {
        0 => paint.good(format!("{passed} passed")),
        _ => format!("{passed} passed, {}", paint.bad(format!("{failed} failed"))),
    };
    let (tests, files) = (counted(passed + failed, "test"), counted(files.len(), "file"));
    writeln!(page, "{tests} in {files}: {verdict}").ok();
    page
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn write_test(page: &mut String, test: &Tested, paint: Paint) {
    let sign = if test.passed { paint.good("✓") } else { paint.bad("✗") };
    writeln!(page, "  {sign} {}", one_line(&test.name)).ok();
    let mut event = 0;
    for problem in &test.problems {
        if problem.event != event {
            event = problem.event;
            let heading =
                format!("event {event}, {} at {}", one_line(problem.event_type.as_str()), problem.at);
            writeln!(page, "      {}", paint.faint(heading)).ok();
        }
        write_problem(page, problem, paint);
    }
}

fn write_problem(page: &mut String, problem: &Problem, paint: Paint) {
    match &problem.what {
        Complaint::Missing { rule, channel, recipient, why } => {
            let line = to(rule, channel, recipient.as_ref());
            writeln!(page, "        {}{line}", paint.bad(format!("{:<WORD$}  ", "missing"))).ok();
            writeln!(page, "        {:WORD$}  {}", "", one_line(why)).ok();
        }
        Complaint::Invalid(fault) => {
            let line = one_line(&fault.to_string());
            writeln!(page, "        {}{line}", paint.bad(format!("{:<WORD$}  ", "invalid"))).ok();
        }
        Complaint::Unexpected { rule, delivery } => {
            let line = to(rule, &delivery.channel, delivery.recipient.as_ref());
            writeln!(
                page,
                "        {}{line}{}",
                paint.bad(format!("{:<WORD$}  ", "unexpected")),
                fails(delivery)
            )
            .ok();
            writeln!(page, "        {:WORD$}  {}", "", one_line(&delivery.title)).ok();
        }
        Complaint::Differs { rule, channel, recipient, fields } => {
            let line = to(rule, channel, recipient.as_ref());
            writeln!(page, "        {}{line}", paint.doubtful(format!("{:<WORD$}  ", "differs"))).ok();
            fields.iter().for_each(|field| write_difference(page, field, paint));
        }
    }
}

fn to(rule: &RuleId, channel: &ChannelId, recipient: Option<&Recipient>) -> String {
    let recipient = recipient.map(|recipient| format!(" for {}", one_line(recipient.as_str())));
    format!("{rule} → {channel}{}", recipient.unwrap_or_default())
}

fn fails(delivery: &Planned) -> String {
    match (delivery.would, delivery.reason) {
        (Would::Fail, Some(reason)) => format!(", which fails: {reason}"),
        (Would::Send | Would::Suppress | Would::Fail, _) => String::new(),
    }
}

fn write_difference(page: &mut String, difference: &Difference, paint: Paint) {
    let Difference { field, expected, found } = difference;
    writeln!(page, "        {:WORD$}  {field:<8}  expected  {}", "", paint.good(shown(expected))).ok();
    writeln!(page, "        {:WORD$}  {:8}  found     {}", "", "", paint.bad(shown(found))).ok();
}

/// Texts in quotes, with their line feeds as `\n`: a blank at an end is a difference too.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            crate::channel::text::clean(&value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::TestedFile;
    use super::*;
    use crate::fixture::{self, Bench};
    use crate::route::texts::Texts;

    fn results() -> Results {
        let event = json!({ "type": "task:done", "data": { "to": "done", "text": "a\u{1b}[31mb" } });
        let fixture = json!({
            "channels": [{ "id": "log", "kind": "console" }],
            "rules": [
                { "id": "all", "events": ["task:*"], "channels": ["log", "gone"], "template": { "title": "{{text}}" } },
                { "id": "failed", "events": ["task:*"], "channels": ["log"],
                  "condition": { "field": "to", "op": "==", "value": "failed" } },
            ],
            "tests": [
                { "name": "it is quiet", "event": { "type": "x" }, "expect": [] },
                { "name": "it is loud", "event": event, "expect": [
                    { "rule": "failed", "channel": "log" }, { "rule": "all", "channel": "log", "title": "b" },
                ] },
            ],
        });
        let (fixture, inline) = fixture::read(fixture).unwrap();
        let report = Bench::new(fixture, vec![inline], Texts::default()).unwrap().run();
        Results { passed: 1, failed: 1, files: vec![TestedFile { file: "f.yaml".to_owned(), report }] }
    }

    #[test]
    fn what_failed_says_what_was_expected_what_came_and_why() {
        let expected = r#"f.yaml
  ✓ it is quiet
  ✗ it is loud
      event 1, task:done at 2024-01-01T12:00:00Z
        missing     failed → log
                    the rule does not fire: `to` is "done", not == "failed" (/condition)
        differs     all → log
                    title     expected  "b"
                              found     "a [31mb"
        unexpected  all → gone, which fails: unknown_channel
                    a [31mb
  fired in no test: failed

2 tests in 1 file: 1 passed, 1 failed
"#;
        assert_eq!(page(&results(), Paint::PLAIN), expected);
    }

    #[test]
    fn colours_are_there_where_they_are_wanted_and_events_cannot_add_any() {
        let page = page(&results(), Paint::COLOURED);
        assert!(page.contains("\u{1b}[31m✗\u{1b}[0m") && !page.contains("a\u{1b}"), "{page:?}");
    }
}
