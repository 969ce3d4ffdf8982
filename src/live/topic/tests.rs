//! Topics without a database or a broker.

use super::*;
use crate::ids::{Recipient, WorkspaceId};
use crate::live::follower::tests::{follower, heard, standing, waiting};
use crate::live::place::Place;

fn topic(recipient: &str) -> Topic {
    let recipient = Recipient::parse(recipient).unwrap();
    Topic::new(Owner { workspace: WorkspaceId::default(), recipient })
}

fn told(before: u64, last: u64) -> Told {
    told_of(before, last, ChangeKind::Created)
}

fn told_of(before: u64, last: u64, kind: ChangeKind) -> Told {
    let changes = (before + 1..=last).map(|seq| heard(seq, kind, 1)).collect();
    Told { v: 1, before, last, changes }
}

/// Follows `ann` live from a place on.
fn joined(topic: &Topic, number: u64, from: u64) -> Arc<Follower> {
    let follower = follower(number, topic.owner.recipient.as_str());
    topic.enter();
    let place = if topic.is_everybody() {
        Place { own: 0, everybody: from }
    } else {
        Place { own: from, everybody: 0 }
    };
    follower.begin(place, standing(from, from, 0));
    assert!(topic.go_live(&follower, from));
    follower
}

fn seqs(follower: &Follower) -> Vec<u64> {
    waiting(follower).into_iter().map(|(seq, _)| seq).collect()
}

#[test]
fn what_leads_on_is_passed_on_and_what_was_missed_is_read() {
    let topic = topic("ann");
    let follower = joined(&topic, 1, 5);
    assert!(!topic.hear(told(5, 7)).catch_up);
    assert!(!topic.hear(told(4, 7)).catch_up, "it is old");
    assert!(!topic.hear(told(6, 8)).catch_up, "a part of it is old");
    assert_eq!(seqs(&follower), [6, 7, 8]);
    assert!(topic.hear(told(9, 10)).catch_up);
    assert!(!topic.hear(told(10, 11)).catch_up, "somebody reads already");
    assert_eq!(seqs(&follower), [0_u64; 0]);
    let missed = (9..=10).map(|seq| heard(seq, ChangeKind::Created, 1)).collect();
    topic.pass_on(missed, &|_, _| None);
    assert!(!topic.caught_up(10), "the eleventh was heard of after that was read");
    topic.pass_on(vec![heard(11, ChangeKind::Created, 1)], &|_, _| None);
    assert!(topic.caught_up(11));
    assert!(!topic.hear(told(11, 12)).catch_up);
    assert_eq!(seqs(&follower), [9, 10, 11, 12]);
}

#[test]
fn changes_that_were_too_long_to_be_told_are_read() {
    let topic = topic("ann");
    let _follower = joined(&topic, 1, 5);
    assert!(topic.hear(Told { changes: Vec::new(), ..told(5, 6) }).catch_up);
}

#[test]
fn whoever_comes_reads_what_was_heard_before_they_are_told() {
    let topic = topic("ann");
    topic.enter();
    assert!(!topic.hear(told(5, 6)).catch_up);
    let late = follower(1, "ann");
    late.begin(Place { own: 5, everybody: 0 }, standing(5, 0, 0));
    assert!(!topic.go_live(&late, 5), "6 was heard, and is not read");
    assert!(topic.go_live(&late, 6));
    assert!(!topic.hear(told(6, 7)).catch_up);
    assert_eq!(seqs(&late), [7]);
}

#[test]
fn whoever_has_read_more_than_was_heard_gets_nothing_twice() {
    let topic = topic("ann");
    let (early, late) = (joined(&topic, 1, 5), joined(&topic, 2, 7));
    topic.hear(told(5, 8));
    assert_eq!(seqs(&early), [6, 7, 8]);
    assert_eq!(seqs(&late), [8]);
}

#[test]
fn a_broadcasts_new_text_is_read_with_the_marks() {
    let (everybody, ann) = (topic("*"), topic("ann"));
    let _follower = joined(&everybody, 1, 5);
    assert!(everybody.hear(told_of(5, 6, ChangeKind::Updated)).catch_up);
    let _follower = joined(&ann, 1, 5);
    assert!(!ann.hear(told_of(5, 6, ChangeKind::Updated)).catch_up);
}

#[test]
fn an_older_database_is_no_reason_to_read_for_ever() {
    let topic = topic("ann");
    let follower = joined(&topic, 1, 5);
    assert!(topic.hear(told(7, 8)).catch_up);
    assert!(topic.caught_up(topic.known()), "8 was heard of, and is not there");
    assert!(topic.doubt());
    topic.begin_anew(3);
    assert!(!topic.has_followers() && topic.last() == 3);
    assert!(!follower.is_live(crate::live::place::Side::Own));
}

#[test]
fn what_was_heard_while_nobody_was_left_is_read_by_whoever_comes() {
    let topic = topic("ann");
    let (first, late) = (joined(&topic, 1, 5), follower(2, "ann"));
    topic.enter();
    late.begin(Place { own: 6, everybody: 0 }, standing(6, 0, 0));
    assert!(topic.hear(told(6, 7)).catch_up);
    topic.leave(&first);
    assert!(topic.caught_up(6));
    assert!(!topic.go_live(&late, 6), "7 was heard of");
    assert!(topic.go_live(&late, 7));
}

#[test]
fn it_ends_with_the_last_feed() {
    let topic = topic("ann");
    let (one, other) = (joined(&topic, 1, 5), joined(&topic, 2, 5));
    assert!(!topic.leave(&one));
    topic.hear(told(5, 6));
    assert_eq!(seqs(&one), [0_u64; 0]);
    assert!(topic.leave(&other));
}
