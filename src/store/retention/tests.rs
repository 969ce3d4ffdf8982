//! Retention on both databases: what goes, in which order, how much at once, and that numbers and counters stay exact.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row};

use super::super::Store;
use super::super::deliveries::Filter;
use super::super::inbox::Owner;
use super::super::inbox::list::InboxFilter;
use super::super::inbox::mark::Mark;
use super::super::inbox::tests::{id, item, owner, put, titles};
use super::super::tests::{at, outcome, stores, write};
use super::BATCH_ROWS;
use super::changes::CHANGES_MAX;
use crate::ids::WorkspaceId;
use crate::notification::change::{Announcement, ChangeKind};
use crate::outcome::State;

mod both;

fn workspace() -> WorkspaceId {
    WorkspaceId::default()
}

fn removed(told: &[Announcement]) -> usize {
    told.iter().map(|told| told.changes.len()).sum()
}

/// Removes until nothing is left over the cap, and checks the size of each batch.
async fn shrink(store: &Store, most: u32) -> Vec<Announcement> {
    let mut all = Vec::new();
    loop {
        let told = store.remove_excess(&workspace(), most, at(9_000)).await.unwrap();
        assert!(removed(&told) <= BATCH_ROWS, "{} in one batch", removed(&told));
        if told.is_empty() {
            return all;
        }
        all.extend(told);
    }
}

/// The counters of an inbox are what its rows say, and its changes have no hole behind those that are gone.
async fn is_exact(store: &Store, whose: &Owner) -> i64 {
    let sql = "select seq, items, trimmed, \
        (select cast(count(*) as bigint) from notifications n where n.workspace = i.workspace and n.recipient = i.recipient) as rows, \
        (select cast(count(*) as bigint) from changes c where c.workspace = i.workspace and c.recipient = i.recipient) as kept, \
        (select min(seq) from changes c where c.workspace = i.workspace and c.recipient = i.recipient) as oldest \
        from inboxes i where workspace = $1 and recipient = $2";
    let row = sqlx::query(sql)
        .bind(whose.workspace.to_string())
        .bind(whose.recipient.to_string())
        .fetch_one(&store.pool)
        .await
        .unwrap();
    let number = |name: &str| row.get::<i64, _>(name);
    assert_eq!(number("items"), number("rows"), "items of {whose:?}");
    assert_eq!(number("kept"), number("seq") - number("trimmed"), "changes of {whose:?}");
    if number("kept") > 0 {
        assert_eq!(number("oldest"), number("trimmed") + 1, "changes of {whose:?}");
    }
    number("items")
}

async fn count(store: &Store, table: &str) -> i64 {
    let sql = format!("select cast(count(*) as bigint) as n from {table}");
    sqlx::query(AssertSqlSafe(sql)).fetch_one(&store.pool).await.unwrap().get("n")
}

#[tokio::test]
async fn over_the_cap_dismissed_ones_go_first_then_read_ones_then_unread_ones_oldest_first() {
    for store in stores().await {
        let ann = owner("ann");
        put(&store, &(0..12).map(|number| item(number, "ann")).collect::<Vec<_>>()).await;
        put(&store, &[item(20, "bob")]).await;
        store.mark(&ann, &[id(3), id(7)], Mark::Read, at(100)).await.unwrap();
        store.mark(&ann, &[id(9), id(5), id(7)], Mark::Dismiss, at(101)).await.unwrap();
        // Dismissed: 5, 7, 9. Read: 3. Unread: all others.
        for (most, gone) in [(10, vec![5, 7]), (8, vec![9, 3]), (6, vec![0, 1])] {
            let told = store.remove_excess(&workspace(), most, at(200)).await.unwrap();
            let ids: Vec<_> = told[0].changes.iter().map(|change| change.id.clone().unwrap()).collect();
            assert_eq!(ids, gone.into_iter().map(id).collect::<Vec<_>>(), "down to {most}");
            assert_eq!(told.len(), 1, "only hers");
            assert!(store.remove_excess(&workspace(), most, at(200)).await.unwrap().is_empty());
            assert_eq!(is_exact(&store, &ann).await, i64::from(most));
        }
        assert_eq!(titles(&store, "ann", &InboxFilter::default()).await.len(), 6);
        let behind = store.changes(&ann, &ann, 17, 100).await.unwrap().changes;
        let seen: Vec<_> = behind.iter().map(|change| (change.seq, change.kind, change.unread)).collect();
        let deleted = |seq, unread| (seq, ChangeKind::Deleted, unread);
        assert_eq!(
            seen,
            [
                deleted(18, 0),
                deleted(19, 0),
                deleted(20, 0),
                deleted(21, 0),
                deleted(22, -1),
                deleted(23, -1)
            ]
        );
        assert_eq!((behind[0].id.clone(), behind[0].notification.clone()), (Some(id(5)), None));
    }
}

#[tokio::test]
async fn what_is_too_old_goes_from_its_workspace_alone_and_is_told_inbox_by_inbox() {
    for store in stores().await {
        let other = WorkspaceId::parse("other").unwrap();
        let mut items: Vec<_> =
            (0..6).map(|number| item(number, ["ann", "bob", "*"][number as usize % 3])).collect();
        items.push(item(6, "ann"));
        items[6].workspace = other.clone();
        items[6].at = at(0);
        put(&store, &items).await;
        let oldest = store.oldest_notifications().await.unwrap();
        assert_eq!(oldest, [(workspace(), at(0)), (other, at(0))]);
        let fullest = store.fullest_inboxes().await.unwrap();
        assert_eq!(fullest.iter().map(|(_, items)| *items).collect::<Vec<_>>(), [2, 1]);
        store.mark(&owner("bob"), &[id(1)], Mark::Read, at(100)).await.unwrap();
        let told = store.remove_expired(&workspace(), at(4), at(200)).await.unwrap();
        let seen: Vec<_> = told
            .iter()
            .map(|told| (told.recipient.as_str(), told.before, told.last, told.changes[0].unread))
            .collect();
        assert_eq!(seen, [("*", 2, 3, -1), ("ann", 2, 4, -1), ("bob", 3, 4, 0)]);
        assert!(store.remove_expired(&workspace(), at(4), at(200)).await.unwrap().is_empty());
        for (whose, items) in [("ann", 0), ("bob", 1), ("*", 1)] {
            assert_eq!(is_exact(&store, &owner(whose)).await, items, "{whose}");
        }
        assert_eq!(count(&store, "notifications").await, 3, "the other workspace keeps its own");
        put(&store, &[item(7, "ann")]).await;
        assert_eq!(store.standing(&owner("ann")).await.unwrap().own, 5, "numbers never begin again");
    }
}

#[tokio::test]
async fn no_batch_is_larger_than_its_bound() {
    for store in stores().await {
        let items: Vec<_> =
            (0..1_300).map(|number| item(number, ["ann", "bob"][number as usize % 2])).collect();
        put(&store, &items).await;
        let told = shrink(&store, 50).await;
        assert_eq!((removed(&told), is_exact(&store, &owner("ann")).await), (1_200, 50));
        put(&store, &(2_000..3_200).map(|number| item(number, "*")).collect::<Vec<_>>()).await;
        let mut left = 1_300;
        while left > 0 {
            let told = store.remove_expired(&workspace(), at(9_999), at(10_000)).await.unwrap();
            assert_eq!(removed(&told), left.min(BATCH_ROWS));
            left -= removed(&told);
        }
        let mut left = 2 * (1_300 + 1_200);
        while left > 0 {
            let gone = store.remove_old_changes(at(20_000)).await.unwrap();
            assert_eq!(gone, left.min(BATCH_ROWS as u64));
            left -= gone;
        }
        for whose in ["ann", "bob", "*"] {
            assert_eq!(is_exact(&store, &owner(whose)).await, 0);
        }
    }
}

#[tokio::test]
async fn marks_go_after_the_broadcasts_that_they_are_of() {
    for store in stores().await {
        put(&store, &[item(1, "*"), item(2, "*"), item(3, "*")]).await;
        let (ann, bob) = (owner("ann"), owner("bob"));
        for reader in [&ann, &bob] {
            store.mark(reader, &[id(1), id(2)], Mark::Read, at(10)).await.unwrap();
        }
        assert_eq!(store.remove_marks().await.unwrap(), 0, "all are there");
        let told = store.remove_excess(&workspace(), 2, at(20)).await.unwrap();
        assert_eq!(told[0].changes[0].id, Some(id(1)), "of broadcasts nobody has read the row itself");
        assert_eq!((store.remove_marks().await.unwrap(), count(&store, "marks").await), (2, 2));
        // One that was set while its broadcast went is found by the next run.
        sqlx::query("insert into marks select workspace, 'eve', $1, 1, 1, null from marks limit 1")
            .bind(id(1).to_string())
            .execute(&store.pool)
            .await
            .unwrap();
        assert_eq!((store.remove_marks().await.unwrap(), count(&store, "marks").await), (1, 2));
        let many: Vec<String> =
            (0..1_100).map(|number| format!("('default', 'r{number}', '{}', 1)", id(3))).collect();
        let sql = format!(
            "insert into marks (workspace, recipient, notification_id, read_at) values {}",
            many.join(", ")
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&store.pool).await.unwrap();
        store.remove_excess(&workspace(), 0, at(30)).await.unwrap();
        let mut batches = Vec::new();
        while batches.last() != Some(&0) {
            batches.push(store.remove_marks().await.unwrap());
        }
        assert_eq!(batches, [500, 500, 102, 0]);
    }
}

#[tokio::test]
async fn changes_go_from_the_front_without_a_hole_and_who_missed_them_is_told() {
    for store in stores().await {
        let ann = owner("ann");
        // The third was made before the second by its clock: still none stays in front of one that goes.
        let mut items = [item(1, "ann"), item(500, "ann"), item(2, "ann"), item(600, "ann")];
        items[1].at = at(500);
        put(&store, &items).await;
        put(&store, &[item(700, "bob")]).await;
        assert_eq!(store.remove_old_changes(at(100)).await.unwrap(), 3);
        assert_eq!(store.remove_old_changes(at(100)).await.unwrap(), 0);
        assert_eq!(is_exact(&store, &ann).await, 4, "notifications stay");
        assert!(store.changes(&ann, &ann, 2, 10).await.unwrap().gap);
        let behind = store.changes(&ann, &ann, 3, 10).await.unwrap();
        assert_eq!((behind.gap, behind.changes.len()), (false, 1));
        assert!(store.changes(&owner("bob"), &owner("bob"), 0, 10).await.unwrap().changes.len() == 1);
    }
}

#[tokio::test]
async fn of_an_inbox_that_changes_all_the_time_the_last_changes_stay() {
    for store in stores().await {
        let many = |from: u32, to: u32| (from..to).map(|number| item(number, "ann")).collect::<Vec<_>>();
        put(&store, &many(0, 2_500)).await;
        assert_eq!(store.remove_surplus_changes().await.unwrap(), 0, "some more may gather");
        put(&store, &many(2_500, 3_200)).await;
        let mut batches = Vec::new();
        while batches.last() != Some(&0) {
            batches.push(store.remove_surplus_changes().await.unwrap());
        }
        // Once it is below what may gather it is left alone.
        assert_eq!(batches, [500, 500, 0]);
        is_exact(&store, &owner("ann")).await;
        let kept = count(&store, "changes").await;
        assert!((CHANGES_MAX..=CHANGES_MAX + 500).contains(&kept), "{kept}");
    }
}

#[tokio::test]
async fn the_history_loses_what_ended_long_ago_and_keeps_what_waits() {
    for store in stores().await {
        // outcome() lets half an hour pass for each two.
        let hour = 3_600_000;
        let old: Vec<_> = (0..40)
            .flat_map(|number| {
                let tried = outcome(number, State::Retrying, 1);
                let ended = if number % 4 == 3 { None } else { Some(outcome(number, State::Sent, 2)) };
                [Some(tried), ended].into_iter().flatten()
            })
            .collect();
        let mut late = outcome(0, State::Sent, 1);
        late.redrive = 1;
        late.at = at(100 * hour);
        let to = write(&store, 0, &old).await;
        write(&store, to, &[late]).await;
        let oldest = store.oldest_deliveries().await.unwrap();
        assert_eq!(
            oldest.iter().map(|(workspace, _)| workspace.as_str()).collect::<Vec<_>>(),
            ["default", "team-b"]
        );
        let since = at(5 * hour);
        let before: BTreeSet<String> = ids(&store).await;
        for (workspace, _) in oldest {
            let gone = store.remove_deliveries(&workspace, since, None).await.unwrap();
            assert_eq!(gone.next, None);
            assert_eq!(gone.outcomes, 2 * gone.deliveries, "{workspace}");
        }
        let kept: BTreeSet<String> = ids(&store).await;
        let expected: BTreeSet<String> = (0..40)
            .filter(|number| number % 4 == 3 || *number == 0 || number / 2 >= 10)
            .map(|number| outcome(number, State::Sent, 1).delivery.to_string())
            .collect();
        assert_eq!((before.len(), &kept), (40, &expected));
        let orphans = "outcomes where delivery_id not in (select id from deliveries)";
        assert_eq!(count(&store, orphans).await, 0);
    }
}

async fn ids(store: &Store) -> BTreeSet<String> {
    let page = store.list(&Filter::default(), None, 5_000).await.unwrap();
    page.deliveries.into_iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn the_history_goes_in_batches_also_one_delivery_of_very_many_steps() {
    for store in stores().await {
        let in_default = |mut outcome: crate::outcome::Outcome, milliseconds: i64| {
            outcome.workspace = workspace();
            outcome.at = at(milliseconds);
            outcome
        };
        let mut batch = Vec::new();
        for number in 0..300 {
            batch.push(in_default(outcome(number, State::Retrying, 1), 1));
            batch.push(in_default(outcome(number, State::Failed, 2), 2));
        }
        for postponed in 0..1_200 {
            let mut step = in_default(outcome(300, State::Scheduled, 0), 3);
            step.postponed = postponed;
            batch.push(step);
        }
        batch.push(in_default(outcome(300, State::Sent, 1), 4));
        batch.push(in_default(outcome(301, State::Scheduled, 0), 1));
        write(&store, 0, &batch).await;
        let (mut place, mut deliveries, mut outcomes) = (None, 0, 0);
        loop {
            let gone = store.remove_deliveries(&workspace(), at(100), place.as_ref()).await.unwrap();
            assert!(gone.deliveries + gone.outcomes <= BATCH_ROWS as u64, "{gone:?}");
            deliveries += gone.deliveries;
            outcomes += gone.outcomes;
            let Some(next) = gone.next else { break };
            place = Some(next);
        }
        assert_eq!((deliveries, outcomes), (301, 600 + 1_201));
        assert_eq!((count(&store, "deliveries").await, count(&store, "outcomes").await), (1, 1), "one waits");
    }
}

fn later(milliseconds: i64) -> Timestamp {
    at(1_000_000 + milliseconds)
}
