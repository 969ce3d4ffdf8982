//! An overview as a page for a terminal.

use std::fmt::Write;

use jiff::Timestamp;

use crate::bus::waiting::Waiting;
use crate::channel::text::one_line;
use crate::cli::paint::Paint;
use crate::cli::table::{Cell, bad, bold, faint, good, header, plain, table};
use crate::overview::{HeldBack, Hold, Overview};
use crate::presence::Heard;

/// Writing to a String cannot fail, so the results are let go.
#[must_use]
pub fn page(overview: &Overview, paint: Paint) -> String {
    let mut page = String::new();
    if overview.processes.is_empty() {
        writeln!(page, "{}", paint.bad("no process answers")).ok();
    } else {
        let rows = overview.processes.iter().map(|heard| process(heard, overview.at));
        let head = header(["process", "state", "version", "since", ""]);
        let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
        page.push_str(&table(&rows, paint));
    }
    page.push('\n');
    let rows = overview.waiting.iter().map(|lane| waiting(lane, overview.at));
    let rows: Vec<_> =
        std::iter::once(header(["queue", "waiting", "in hand", "oldest"])).chain(rows).collect();
    page.push_str(&table(&rows, paint));
    page.push('\n');
    if let Some(behind) = overview.records_behind {
        writeln!(page, "{behind} records are not in the database yet").ok();
    }
    if let Some(dead) = overview.dead_letters {
        let next = if dead > 0 { ": bugle dead list" } else { "" };
        writeln!(page, "{dead} dead letters{next}").ok();
    }
    for job in &overview.jobs {
        writeln!(page, "job {} runs: {}", job.id, one_line(&job.progress)).ok();
    }
    for held in &overview.channels {
        writeln!(page, "{}", channel(held, paint)).ok();
    }
    for unknown in &overview.unknown {
        writeln!(page, "{}", paint.doubtful(format!("unknown: {}", one_line(unknown)))).ok();
    }
    page
}

fn process(heard: &Heard, now: Timestamp) -> [Cell; 5] {
    let (presence, process) = (&heard.presence, &heard.presence.process);
    let state: Cell = if presence.ready { ("ready".to_owned(), good) } else { ("not ready".to_owned(), bad) };
    let what = if presence.ready { process.kinds.join(" ") } else { presence.complaints.join("; ") };
    [
        (one_line(&process.name()), bold),
        state,
        (one_line(&process.version), plain),
        (age(process.started_at, now), plain),
        (one_line(&what), faint),
    ]
}

fn waiting(lane: &Waiting, now: Timestamp) -> [Cell; 4] {
    let oldest = lane.oldest.map(|at| age(at, now)).unwrap_or_default();
    [
        (lane.name(), bold),
        (lane.pending.to_string(), plain),
        (lane.in_hand.to_string(), plain),
        (oldest, plain),
    ]
}

fn channel(held: &HeldBack, paint: Paint) -> String {
    let name = format!("{}/{}", held.workspace, held.channel);
    let since = held.since.map(|at| format!(" since {at:.0}")).unwrap_or_default();
    let why = held.why.as_deref().map(|why| format!(": {}", one_line(why))).unwrap_or_default();
    match held.state {
        Hold::Off => format!("channel {name} is {}", paint.faint("off")),
        Hold::SwitchedOff => format!(
            "channel {name} was {}{since}{why} (bugle channels enable {})",
            paint.bad("switched off"),
            held.channel
        ),
        Hold::CircuitOpen => format!("channel {name}: {}{since}{why}", paint.bad("nothing works")),
    }
}

/// How long ago, in the largest unit that says enough.
#[must_use]
pub fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Kind;
    use crate::ids::{ChannelId, WorkspaceId};
    use crate::presence::{Presence, Process};

    fn heard(role: &str, kinds: &[&str], complaints: &[&str]) -> Heard {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let process = Process {
            role: role.to_owned(),
            version: "1.2.3".to_owned(),
            host: "box".to_owned(),
            pid: 7,
            started_at: Timestamp::UNIX_EPOCH,
            kinds: texts(kinds),
        };
        let ready = complaints.is_empty();
        let at = Timestamp::UNIX_EPOCH;
        Heard { presence: Presence { v: 1, process, at, ready, complaints: texts(complaints) }, skew_ms: 0 }
    }

    #[test]
    fn a_page_has_processes_then_what_waits_then_what_lets_nothing_out() {
        let events = Waiting { kind: None, lane: None, pending: 0, in_hand: 0, oldest: None };
        let oldest = Some(Timestamp::from_second(3_540).unwrap());
        let lane = Waiting { kind: Some(Kind::Slack), lane: Some("retry"), pending: 12, in_hand: 3, oldest };
        let overview = Overview {
            at: Timestamp::from_second(3_600).unwrap(),
            processes: vec![heard("router", &[], &[]), heard("worker", &["slack"], &["NATS is away"])],
            waiting: vec![events, lane],
            records_behind: Some(4),
            dead_letters: Some(2),
            jobs: Vec::new(),
            channels: vec![HeldBack {
                workspace: WorkspaceId::default(),
                channel: ChannelId::parse("ops").unwrap(),
                state: Hold::SwitchedOff,
                since: Some(Timestamp::UNIX_EPOCH),
                why: Some("answered 410".to_owned()),
            }],
            unknown: vec!["jobs: NATS: no answer".to_owned()],
        };
        let expected = "process          state      version  since\n\
                        router 7 on box  ready      1.2.3    60 min\n\
                        worker 7 on box  not ready  1.2.3    60 min  NATS is away\n\
                        \n\
                        queue        waiting  in hand  oldest\n\
                        events       0        0\n\
                        slack retry  12       3        60 s\n\
                        \n\
                        4 records are not in the database yet\n\
                        2 dead letters: bugle dead list\n\
                        channel default/ops was switched off since 1970-01-01T00:00:00Z: answered 410 (bugle channels enable ops)\n\
                        unknown: jobs: NATS: no answer\n";
        assert_eq!(page(&overview, Paint::PLAIN), expected);
        assert!(page(&overview, Paint::COLOURED).contains("\x1b[31mnot ready\x1b[0m"));
    }
}
