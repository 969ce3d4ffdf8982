//! `bugle doctor`: what would lose data or stall, and what to do about it.

use std::fmt::Write;

use clap::Args;

use super::paint::Paint;
use super::say;
use crate::app::{Failure, roles};
use crate::channel::text::one_line;
use crate::config::Settings;
use crate::doctor::gather::gather;
use crate::doctor::{Check, Verdict, judge};

#[derive(Debug, Args)]
pub struct Doctor {
    /// The monitoring port of a server, such as <http://host:8222>: it alone says how messages are synced to disk.
    #[arg(long, value_name = "URL")]
    monitor: Option<String>,
    /// One JSON object a check.
    #[arg(long)]
    json: bool,
}

pub async fn doctor(settings: &Settings, arguments: &Doctor) -> Result<(), Failure> {
    let bus = roles::connect_now(settings).await?;
    let checks = judge(&Box::pin(gather(&bus, settings, arguments.monitor.as_deref())).await);
    if arguments.json {
        for check in &checks {
            say(&serde_json::to_string(check).map_err(Failure::run)?)?;
        }
    } else {
        say(page(&checks, Paint::stdout()).trim_end())?;
    }
    match checks.iter().filter(|check| check.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        1 => Err(Failure::run("one check failed: what it says is the next step")),
        failed => Err(Failure::run(format!("{failed} checks failed: begin with the first of them"))),
    }
}

/// What is wrong comes with why it matters and the next step below it.
fn page(checks: &[Check], paint: Paint) -> String {
    let mut page = String::new();
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => paint.good("ok  "),
            Verdict::Warn => paint.doubtful("warn"),
            Verdict::Fail => paint.bad("fail"),
        };
        // Writing to a String cannot fail, so the results are let go.
        writeln!(page, "{verdict}  {:<13}  {}", check.check, one_line(&check.found)).ok();
        for (head, text) in [("why", check.why), ("next", check.next.as_deref())] {
            if let Some(text) = text {
                writeln!(page, "      {:<13}  {}", "", paint.faint(format!("{head}: {}", one_line(text))))
                    .ok();
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_says_why_it_matters_and_the_next_step() {
        let checks = [
            Check { check: "server", verdict: Verdict::Ok, found: "runs".to_owned(), why: None, next: None },
            Check {
                check: "streams",
                verdict: Verdict::Fail,
                found: "missing: BUGLE_DEAD".to_owned(),
                why: Some("nothing can be stored there"),
                next: Some("bugle setup".to_owned()),
            },
        ];
        let expected = "ok    server         runs\n\
                        fail  streams        missing: BUGLE_DEAD\n                     \
                        why: nothing can be stored there\n                     \
                        next: bugle setup\n";
        assert_eq!(page(&checks, Paint::PLAIN), expected);
    }
}
