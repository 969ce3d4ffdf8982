//! The checker is given logs with one thing wrong, and must find it; and one with nothing wrong.

use super::*;
use crate::chaos::log::{Asked, Letter, Published};

/// One plain event, one refused one and one send that was taken back, all in order.
fn clean() -> Log {
    let event = |id: &str, case| Published {
        id: id.to_owned(),
        case,
        begun: 900,
        acknowledged: Some(1_000),
        tries: 1,
    };
    let record = |delivery: &str, state: &str, reason: &str, attempt| Record {
        delivery: delivery.to_owned(),
        state: state.to_owned(),
        reason: reason.to_owned(),
        redrive: 0,
        attempt,
        postponed: 0,
        stored: 1_020,
    };
    let row =
        |delivery: &str, event: &str, rule: Option<&str>, channel: &str, status: &str, reason: &str| Row {
            delivery: delivery.to_owned(),
            event: event.to_owned(),
            rule: rule.map(str::to_owned),
            channel: channel.to_owned(),
            title: "key".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            attempts: u64::from(status != "suppressed"),
            redrive: 0,
        };
    let receipt = |delivery: &str, channel: &str, accepted| Receipt {
        delivery: delivery.to_owned(),
        channel: channel.to_owned(),
        at: 1_010,
        accepted,
    };
    let records = vec![
        record("d1", "sent", "accepted", 1),
        record("d2", "failed", "rejected", 1),
        record("d3", "suppressed", "cancelled", 0),
    ];
    Log {
        events: vec![event("e1", Case::Plain), event("e2", Case::Refused), event("e3", Case::Unwanted)],
        sends: vec![Asked {
            key: "key".to_owned(),
            delivery: Some("d3".to_owned()),
            cancel: Cancel::Confirmed,
        }],
        receipts: vec![receipt("d1", "steady", true), receipt("d2", "refusing", false)],
        steps: records.iter().map(step).collect(),
        records,
        rows: vec![
            row("d1", "e1", Some("plain"), "steady", "sent", "accepted"),
            row("d2", "e2", Some("refused"), "refusing", "failed", "rejected"),
            row("d3", "key-x", None, "steady", "suppressed", "cancelled"),
        ],
        letters: vec![Letter {
            reason: "rejected".to_owned(),
            delivery: Some("d2".to_owned()),
            text: String::new(),
        }],
        faults: Vec::new(),
        pending: Vec::new(),
    }
}

fn found(log: &Log) -> Vec<&'static str> {
    let mut found: Vec<_> = check(log).violations.into_iter().map(|violation| violation.what).collect();
    found.dedup();
    found
}

fn fault(from: u64, to: u64, explains: Explains) -> Struck {
    Struck { name: "a fault".to_owned(), from, to, explains }
}

#[test]
fn a_clean_log_has_nothing() {
    assert_eq!(check(&clean()).violations, []);
}

#[test]
fn a_loss_is_found() {
    let mut log = clean();
    log.rows.remove(0);
    log.records.remove(0);
    log.steps.remove(0);
    log.receipts.remove(0);
    assert_eq!(found(&log), ["lost"]);
    log.events[0].acknowledged = None;
    assert_eq!(found(&log), [""; 0], "what was never acknowledged is not lost");
}

#[test]
fn a_lost_send_and_a_lost_unreadable_event_are_found() {
    let mut log = clean();
    log.rows.pop();
    log.records.pop();
    log.steps.pop();
    assert_eq!(found(&log), ["lost"]);
    let mut log = clean();
    log.events[2].case = Case::Unreadable;
    assert_eq!(found(&log), ["lost"]);
}

#[test]
fn phantoms_are_found() {
    let mut log = clean();
    log.receipts.push(Receipt { delivery: "d9".to_owned(), ..log.receipts[0].clone() });
    assert_eq!(found(&log), ["phantom"]);
    let mut log = clean();
    log.events.remove(0);
    assert_eq!(found(&log), ["phantom"], "a delivery of an event that nobody published");
    let mut log = clean();
    log.events[0].case = Case::Unwanted;
    assert_eq!(found(&log), ["phantom"], "a delivery although the condition does not hold");
}

#[test]
fn two_final_outcomes_are_found() {
    let mut log = clean();
    let other = Record { state: "failed".to_owned(), ..log.records[0].clone() };
    log.steps.push(step(&other));
    log.records.push(other);
    assert_eq!(found(&log), ["two final outcomes"]);
}

#[test]
fn two_deliveries_for_one_are_found() {
    let mut log = clean();
    log.rows.push(Row { delivery: "d9".to_owned(), ..log.rows[0].clone() });
    assert!(found(&log).contains(&"two deliveries for one"));
}

#[test]
fn what_was_sent_was_received_and_the_other_way_round() {
    let mut log = clean();
    log.receipts[0].accepted = false;
    assert_eq!(found(&log), ["sent, and never received"]);
    let mut log = clean();
    log.receipts[1].accepted = true;
    assert_eq!(found(&log), ["received, and not sent"]);
}

#[test]
fn a_cancelled_send_that_arrives_is_found() {
    let mut log = clean();
    log.rows[2].status = "sent".to_owned();
    assert!(found(&log).contains(&"wrong end"));
}

#[test]
fn a_history_that_is_not_the_outcomes_is_found() {
    let mut log = clean();
    log.rows[0].attempts = 2;
    assert_eq!(found(&log), ["history differs"]);
    let mut log = clean();
    log.steps.pop();
    assert_eq!(found(&log), ["history differs"]);
    let mut log = clean();
    log.records.remove(0);
    assert_eq!(found(&log), ["history differs"]);
}

#[test]
fn what_is_left_over_is_found() {
    let mut log = clean();
    log.pending.push("1 delivery".to_owned());
    assert_eq!(found(&log), ["pending at the end"]);
    let mut log = clean();
    log.rows[0].status = "retrying".to_owned();
    assert!(found(&log).contains(&"pending at the end"));
}

#[test]
fn dead_letters_and_failures_belong_together() {
    let mut log = clean();
    log.letters[0].reason.clear();
    assert_eq!(found(&log), ["dead letter without a cause"]);
    let mut log = clean();
    log.letters.clear();
    assert_eq!(found(&log), ["failed, and no dead letter"]);
    let mut log = clean();
    log.letters[0].delivery = Some("d1".to_owned());
    assert!(found(&log).contains(&"dead letter of what did not fail"));
}

#[test]
fn a_repeat_needs_a_fault_that_struck_in_its_flight() {
    let mut log = clean();
    log.receipts.push(Receipt { at: 31_000, ..log.receipts[0].clone() });
    assert_eq!(found(&log), ["a repeat that no fault explains"]);
    // In flight from 1,010 to 1,020, and half a second around.
    for (from, to, explains, explained) in [
        (1_015, 1_015, Explains::Moment, true),
        (1_015, 1_015, Explains::Nothing, false),
        (1_500, 1_500, Explains::Moment, true),
        (1_600, 1_600, Explains::Moment, false),
        (400, 1_700, Explains::Moment, false),
        (400, 1_700, Explains::Span, true),
        (1_600, 9_000, Explains::Span, false),
        (30_000, 30_001, Explains::SpanAndRouted, true),
        (40_000, 40_001, Explains::SpanAndRouted, false),
    ] {
        log.faults = vec![fault(from, to, explains)];
        let findings = check(&log);
        assert_eq!(findings.violations.is_empty(), explained, "{from} to {to} {explains:?}");
        assert_eq!((findings.duplicates, findings.faults[0].duplicates), (1, usize::from(explained)));
    }
}

#[test]
fn a_receiver_that_accepted_and_answered_too_late_gets_it_again() {
    let mut log = clean();
    log.receipts.push(Receipt { at: 7_000, ..log.receipts[0].clone() });
    let sent = log.records[0].clone();
    let late = |reason: &str| Record {
        state: "retrying".to_owned(),
        reason: reason.to_owned(),
        stored: 2_000,
        ..sent.clone()
    };
    log.records[0] = late("timeout");
    log.records.push(Record { attempt: 2, stored: 7_010, ..sent.clone() });
    log.steps = log.records.iter().map(step).collect();
    let findings = check(&log);
    assert_eq!((findings.duplicates, findings.late), (1, 1));
    log.records[0] = late("provider_error");
    assert!(found(&log).contains(&"a repeat that no fault explains"));
}

#[test]
fn what_a_killed_server_brings_back_comes_when_it_is_back_or_when_a_consumer_is_made() {
    for (again, struck, anew, explained) in [
        // Killed a minute after the outcome; back at 65,000 and its clients with it at 68,000.
        (66_000, 61_000, None, true),
        (69_000, 61_000, None, true),
        (72_000, 61_000, None, false),
        (90_500, 61_000, Some(90_000), true),
        (106_000, 61_000, Some(90_000), false),
        (60_500, 61_000, Some(60_000), false),
        // What was taken from the queue longer ago is written down.
        (166_000, 161_000, None, false),
    ] {
        let mut log = clean();
        log.receipts.push(Receipt { at: again, ..log.receipts[0].clone() });
        log.faults = vec![fault(struck, struck + 7_000, Explains::Restart)];
        let deleted = |at| Struck { name: "delete a consumer".to_owned(), ..fault(at, at, Explains::Span) };
        log.faults.extend(anew.map(deleted));
        assert_eq!(check(&log).violations.is_empty(), explained, "{again} {struck} {anew:?}");
    }
}

#[test]
fn a_try_is_in_flight_until_its_own_outcome_is_stored() {
    let mut log = clean();
    log.receipts.push(Receipt { at: 31_000, ..log.receipts[0].clone() });
    log.records[0].stored = 31_001;
    // That a send was taken on says nothing of its try.
    let taken = Record { state: "scheduled".to_owned(), attempt: 0, stored: 1_010, ..log.records[0].clone() };
    log.steps.push(step(&taken));
    log.records.push(taken);
    log.faults = vec![fault(5_000, 5_000, Explains::Moment)];
    assert_eq!(found(&log), [""; 0]);
}

#[test]
fn a_cooldown_that_leaks_or_never_opens_is_found() {
    let mut log = clean();
    log.events[0].case = Case::Cool("k".to_owned());
    log.rows[0].rule = Some("cool".to_owned());
    assert_eq!(found(&log), [""; 0]);
    log.rows[0].status = "suppressed".to_owned();
    log.rows[0].reason = "cooldown".to_owned();
    assert!(found(&log).contains(&"cooldown"));
    let mut log = clean();
    log.events[0].case = Case::Cool("k".to_owned());
    log.rows[0].rule = Some("cool".to_owned());
    for number in 0..2 {
        let (event, delivery) = (format!("more-{number}"), format!("more-d{number}"));
        log.events.push(Published { id: event.clone(), ..log.events[0].clone() });
        log.rows.push(Row { event, delivery: delivery.clone(), ..log.rows[0].clone() });
        log.receipts.push(Receipt { delivery: delivery.clone(), ..log.receipts[0].clone() });
        log.records.push(Record { delivery, ..log.records[0].clone() });
    }
    log.steps = log.records.iter().map(step).collect();
    assert_eq!(found(&log), ["cooldown"]);
}
