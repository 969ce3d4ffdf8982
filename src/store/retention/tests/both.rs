//! Two keepers, a recorder and readers who mark, all at the same inboxes at once.

use std::collections::BTreeMap;

use super::super::super::Store;
use super::super::super::StoreError;
use super::super::super::inbox::Owner;
use super::super::super::inbox::list::InboxFilter;
use super::super::super::inbox::mark::Mark;
use super::super::super::inbox::tests::{item, owner, put};
use super::super::super::tests::stores;
use super::{is_exact, later, shrink, workspace};
use crate::ids::NotificationId;
use crate::notification::change::{Announcement, ChangeKind};

const RECIPIENTS: [&str; 5] = ["*", "ann", "bob", "cyd", "dan"];
const ROUNDS: u32 = 30;
const ITEMS: u32 = 40;

/// Puts items, as a recorder does.
async fn record(store: &Store) -> Vec<Announcement> {
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        let items: Vec<_> = (0..ITEMS)
            .map(|number| item(round * ITEMS + number, RECIPIENTS[number as usize % RECIPIENTS.len()]))
            .collect();
        told.extend(put(store, &items).await);
    }
    told
}

async fn keep(store: &Store) -> Vec<Announcement> {
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        told.extend(store.remove_excess(&workspace(), 20, later(i64::from(round))).await.unwrap());
        let since = super::at(i64::from(round * ITEMS / 2));
        told.extend(store.remove_expired(&workspace(), since, later(i64::from(round))).await.unwrap());
        store.remove_marks().await.unwrap();
        store.remove_old_changes(since).await.unwrap();
    }
    told
}

async fn read(store: &Store, whose: &Owner) -> Result<Vec<Announcement>, StoreError> {
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        let page = store.inbox(whose, &InboxFilter::default(), None, 10).await?;
        let ids: Vec<NotificationId> = page.notifications.into_iter().map(|found| found.id).collect();
        let mark = if round.is_multiple_of(3) { Mark::Dismiss } else { Mark::Read };
        told.extend(store.mark(whose, &ids, mark, later(i64::from(round))).await?.announcement);
    }
    Ok(told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_keepers_a_recorder_and_readers_leave_exact_counters_and_an_unbroken_row_of_changes() {
    for store in stores().await {
        // A second process: a pool and a line of its own.
        let other = Store { line: std::sync::Arc::default(), ..store.clone() };
        let (ann, bob) = (owner("ann"), owner("bob"));
        let (recorded, first, second, by_ann, by_bob) =
            tokio::join!(record(&store), keep(&store), keep(&other), read(&other, &ann), read(&store, &bob));
        let last = shrink(&store, 20).await;
        let all = [recorded, first, second, by_ann.unwrap(), by_bob.unwrap(), last].concat();
        let mut inboxes: BTreeMap<String, Vec<Announcement>> = BTreeMap::new();
        for told in all {
            inboxes.entry(told.recipient.to_string()).or_default().push(told);
        }
        for (recipient, mut told) in inboxes {
            told.sort_by_key(|told| told.before);
            let (mut last, mut items) = (0, 0);
            for one in told {
                assert_eq!(one.before, last, "of {recipient} a number is missing or twice");
                for change in &one.changes {
                    last += 1;
                    assert_eq!(change.seq, last);
                    items += i64::from(change.kind == ChangeKind::Created);
                    items -= i64::from(change.kind == ChangeKind::Deleted);
                }
            }
            let left = is_exact(&store, &owner(&recipient)).await;
            assert_eq!((left, items), (left.min(20), left), "of {recipient} each was removed once");
        }
        while store.remove_marks().await.unwrap() > 0 {}
        let orphans = "marks where notification_id not in (select id from notifications)";
        assert_eq!(super::count(&store, orphans).await, 0);
    }
}
