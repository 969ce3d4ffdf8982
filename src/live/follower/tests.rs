//! Followers without a database or a broker.

use std::task::{Context, Poll, Waker};

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::*;
use crate::ids::{NotificationId, Recipient, WorkspaceId};
use crate::notification::change::Change;

/// Whoever has it may.
pub struct Anybody;

impl Pass for Anybody {
    fn holds(&self) -> bool {
        true
    }

    fn look_up(&self) -> Option<LookUp> {
        None
    }
}

pub fn follower(number: u64, recipient: &str) -> Arc<Follower> {
    let recipient = Recipient::parse(recipient).unwrap();
    let owner = Owner { workspace: WorkspaceId::default(), recipient };
    Arc::new(Follower::new(number, owner, Box::new(Anybody), Transport::Sse))
}

/// A change of a notification that is `{"n": seq}`.
pub fn heard(seq: u64, kind: ChangeKind, unread: i64) -> Heard {
    let id = NotificationId::parse(&format!("n_{}", "a".repeat(24))).ok();
    let change =
        Change { seq, kind, at: Timestamp::UNIX_EPOCH, unread, id, notification: None, ids: Vec::new() };
    let notification = (kind != ChangeKind::AllRead && kind != ChangeKind::Deleted)
        .then(|| RawValue::from_string(format!("{{\"n\":{seq}}}")).unwrap());
    Heard { notification, ..Heard::of(change) }
}

pub fn standing(own: u64, everybody: u64, unread: u64) -> Standing {
    Standing { own, everybody, unread }
}

pub fn take(follower: &Follower) -> Option<Taken> {
    match follower.take(false, &Context::from_waker(Waker::noop())) {
        Poll::Ready(taken) => Some(taken),
        Poll::Pending => None,
    }
}

/// The numbers of the changes that wait, with the unread counts told with them.
pub fn waiting(follower: &Follower) -> Vec<(u64, Option<u64>)> {
    match take(follower) {
        Some(Taken::Entries(entries)) => {
            entries.into_iter().map(|entry| (entry.heard.seq, entry.unread)).collect()
        }
        Some(_) | None => Vec::new(),
    }
}

fn live(recipient: &str, from: Standing) -> Arc<Follower> {
    let follower = follower(1, recipient);
    follower.begin(Place { own: from.own, everybody: from.everybody }, from);
    assert!(follower.go_live(Side::Own, from.own) && follower.go_live(Side::Everybody, from.everybody));
    follower
}

fn created(seq: u64) -> Arc<Heard> {
    Arc::new(heard(seq, ChangeKind::Created, 1))
}

#[test]
fn a_change_that_was_seen_does_not_come_again() {
    let follower = live("ann", standing(5, 2, 0));
    for seq in [4, 5, 6, 6, 7] {
        assert_eq!(follower.tell(Side::Own, &created(seq)), Took::Yes);
    }
    follower.tell(Side::Everybody, &created(3));
    assert_eq!(waiting(&follower), [(6, Some(1)), (7, Some(2)), (3, Some(3))]);
    assert!(take(&follower).is_none());
}

#[test]
fn a_full_queue_is_delivered_and_the_rest_is_left_to_sql() {
    let follower = live("ann", standing(0, 0, 0));
    for seq in 1..=QUEUE_MAX as u64 {
        assert_eq!(follower.tell(Side::Own, &created(seq)), Took::Yes);
    }
    assert_eq!(follower.tell(Side::Own, &created(65)), Took::Left);
    assert_eq!(follower.tell(Side::Everybody, &created(1)), Took::Left, "nothing is told over a hole");
    assert!(!follower.is_live(Side::Own) && !follower.is_live(Side::Everybody));
    assert_eq!(waiting(&follower).len(), QUEUE_MAX);
    assert!(matches!(take(&follower), Some(Taken::Behind(Behind::Full))));
    assert_eq!(follower.ended(Instant::now()), None);
}

#[test]
fn marks_that_everybody_set_on_a_broadcast_are_nobody_elses() {
    let ann = live("ann", standing(0, 0, 1));
    let everybody = live("*", standing(0, 0, 1));
    for follower in [&ann, &everybody] {
        follower.tell(Side::Everybody, &Arc::new(heard(1, ChangeKind::Read, -1)));
        follower.tell(Side::Everybody, &created(2));
    }
    assert_eq!(waiting(&ann), [(2, Some(2))]);
    assert_eq!(waiting(&everybody), [(1, Some(0)), (2, Some(1))]);
}

#[test]
fn what_a_change_does_not_say_is_counted_and_told_then() {
    let follower = live("ann", standing(0, 0, 1));
    let updated = Arc::new(heard(1, ChangeKind::Updated, 1));
    assert_eq!(follower.tell(Side::Everybody, &updated), Took::Uncounted);
    assert_eq!(follower.tell(Side::Everybody, &Arc::new(heard(2, ChangeKind::Deleted, 0))), Took::Yes);
    assert_eq!(waiting(&follower), [(1, None), (2, None)]);
    assert!(!follower.count(standing(0, 1, 9)), "the second one came after that");
    assert!(follower.count(standing(0, 2, 4)));
    assert!(matches!(take(&follower), Some(Taken::Unread(4))));
    assert!(take(&follower).is_none());
}

#[test]
fn what_is_gone_is_not_told_and_counts() {
    let follower = live("ann", standing(0, 0, 0));
    let gone = Arc::new(Heard { notification: None, ..heard(1, ChangeKind::Created, 1) });
    follower.tell(Side::Own, &gone);
    follower.tell(Side::Own, &Arc::new(heard(2, ChangeKind::Deleted, -1)));
    assert_eq!(waiting(&follower), [(2, Some(0))]);
}

#[test]
fn a_shutdown_lets_out_what_waits_and_a_revocation_does_not() {
    let follower = live("ann", standing(0, 0, 0));
    follower.tell(Side::Own, &created(1));
    follower.end(End::Shutdown);
    assert_eq!(waiting(&follower), [(1, Some(1))]);
    assert!(matches!(take(&follower), Some(Taken::End(End::Shutdown))));

    let follower = live("ann", standing(0, 0, 0));
    follower.tell(Side::Own, &created(1));
    follower.end(End::Revoked);
    assert!(matches!(take(&follower), Some(Taken::End(End::Revoked))));
}

#[test]
fn a_heartbeat_that_is_not_taken_until_the_next_one_ends_it() {
    let follower = live("ann", standing(0, 0, 0));
    follower.beat();
    assert!(matches!(take(&follower), Some(Taken::Heartbeat)));
    follower.beat();
    assert_eq!(follower.ended(Instant::now()), None);
    follower.beat();
    assert_eq!(follower.ended(Instant::now()), Some(End::Slow));
}

#[test]
fn who_takes_nothing_of_what_waits_is_slow_however_little_it_is() {
    let follower = live("ann", standing(0, 0, 0));
    let later = || Instant::now() + SLOW_AFTER + Duration::from_secs(1);
    assert_eq!(follower.ended(later()), None, "nothing waits");
    follower.tell(Side::Own, &created(1));
    assert_eq!(follower.ended(Instant::now()), None);
    assert!(follower.is_slow(later()));
    assert_eq!(follower.ended(later()), Some(End::Slow));
    waiting(&follower);
    assert_eq!(follower.ended(later()), None, "it was taken");
}
