//! Inboxes on both databases.

use serde_json::json;

use super::super::Store;
use super::super::record::{Batch, Recorded};
use super::super::tests::{at, start, stores};
use super::Owner;
use super::delete::Doomed;
use super::list::InboxFilter;
use super::mark::Mark;
use crate::channel::conformance::sample;
use crate::delivery::Delivery;
use crate::event::{EventType, Severity};
use crate::ids::{DeliveryId, NotificationId, Recipient, WorkspaceId, digest};
use crate::notification::change::{Announcement, ChangeKind};
use crate::notification::item::Item;

pub(in crate::store) fn owner(recipient: &str) -> Owner {
    Owner { workspace: WorkspaceId::default(), recipient: Recipient::parse(recipient).unwrap() }
}

pub(in crate::store) fn item(number: u32, recipient: &str) -> Item {
    let id = DeliveryId::parse(&format!("d_{}", digest(&[&number.to_string()]))).unwrap();
    let severity = Severity::ALL[number as usize % 3];
    let recipient = Some(Recipient::parse(recipient).unwrap());
    let title = format!("Number {number}");
    let delivery = Delivery { id, recipient, severity, title, ..sample() };
    let mut item = Item::of(&delivery, at(i64::from(number))).0;
    item.metadata = json!({ "number": number });
    item
}

fn progress(number: u32, recipient: &str) -> Item {
    let mut item = item(number, recipient);
    item.event.time = at(i64::from(number));
    Item { collapse_id: Some("c_1".to_owned()), ..item }
}

pub(in crate::store) async fn put(store: &Store, items: &[Item]) -> Vec<Announcement> {
    let from = store.position("RECORDS").await.unwrap().unwrap_or_else(start);
    let batch = Batch { outcomes: Vec::new(), items: items.to_vec() };
    let Recorded::Done(announcements) = store.record(&from, from.seq + 1, &batch).await.unwrap() else {
        panic!("somebody else recorded");
    };
    announcements
}

pub(in crate::store) async fn titles(store: &Store, whose: &str, filter: &InboxFilter) -> Vec<String> {
    let page = store.inbox(&owner(whose), filter, None, 500).await.unwrap();
    page.notifications.into_iter().map(|found| found.title).collect()
}

pub(in crate::store) fn id(number: u32) -> NotificationId {
    item(number, "ann").id
}

#[tokio::test]
async fn items_become_notifications_once_and_take_numbers_in_order() {
    for store in stores().await {
        let told = put(&store, &[item(1, "ann"), item(2, "bob"), item(3, "ann"), item(1, "ann")]).await;
        assert_eq!(told.iter().map(|told| (told.before, told.last)).collect::<Vec<_>>(), [(0, 2), (0, 1)]);
        assert!(put(&store, &[item(3, "ann")]).await.is_empty(), "it is there already");
        let page = store.inbox(&owner("ann"), &InboxFilter::default(), None, 1).await.unwrap();
        assert_eq!((page.total, page.unread_count), (2, 2));
        assert_eq!(page.notifications[0], *told[0].changes[1].notification.clone().unwrap());
        let next = store.inbox(&owner("ann"), &InboxFilter::default(), page.next.as_ref(), 1).await.unwrap();
        assert_eq!((next.notifications[0].title.as_str(), next.next), ("Number 1", None));
        assert_eq!(store.notification(&owner("ann"), &id(2)).await.unwrap(), None, "it is bob's");
    }
}

#[tokio::test]
async fn filters_combine() {
    for store in stores().await {
        let mut items: Vec<Item> = (0..12).map(|number| item(number, "ann")).collect();
        items[4].source.kind = "comment".to_owned();
        items[5].project = Some("p".to_owned());
        items[6].body = "100% of it_is".to_owned();
        items[7].body = "Eine \u{dc}bung".to_owned();
        put(&store, &items).await;
        store.mark(&owner("ann"), &[id(11)], Mark::Dismiss, at(50)).await.unwrap();
        store.mark(&owner("ann"), &[id(10)], Mark::Read, at(50)).await.unwrap();
        let none = InboxFilter::default;
        let text = |text: &str| InboxFilter { text: Some(text.to_owned()), ..none() };
        for (filter, found) in [
            (InboxFilter { unread: true, since: Some(at(9)), ..none() }, vec![9]),
            (InboxFilter { dismissed: true, ..none() }, vec![11]),
            (InboxFilter { severities: vec![Severity::Critical], until: Some(at(6)), ..none() }, vec![5, 2]),
            (InboxFilter { source_type: Some("comment".to_owned()), ..none() }, vec![4]),
            (InboxFilter { project: Some("p".to_owned()), ..none() }, vec![5]),
            (InboxFilter { types: vec!["other".to_owned()], ..none() }, vec![]),
            (text("NUMBER 1"), vec![10, 1]),
            (text("100% of it_"), vec![6]),
            (text("100_"), vec![]),
            (text("\u{dc}bung"), vec![7]),
        ] {
            let wanted: Vec<String> = found.iter().map(|number: &u32| format!("Number {number}")).collect();
            assert_eq!(titles(&store, "ann", &filter).await, wanted, "{filter:?}");
            let page = store.inbox(&owner("ann"), &filter, None, 1).await.unwrap();
            assert_eq!((page.total, page.unread_count), (wanted.len() as u64, 10));
        }
    }
}

#[tokio::test]
async fn a_mark_that_changes_nothing_takes_no_number() {
    for store in stores().await {
        put(&store, &[item(1, "ann"), item(2, "ann")]).await;
        let ann = owner("ann");
        let read = store.mark(&ann, &[id(1), id(9)], Mark::Read, at(10)).await.unwrap();
        let told = read.announcement.unwrap();
        assert_eq!((read.changed, read.notifications.len(), told.before, told.last), (1, 1, 2, 3));
        assert_eq!((told.changes[0].kind, told.changes[0].unread), (ChangeKind::Read, -1));
        assert_eq!(read.notifications[0].delivered_at, Some(at(10)));
        let again = store.mark(&ann, &[id(1)], Mark::Read, at(20)).await.unwrap();
        assert_eq!((again.changed, again.announcement), (0, None));
        assert_eq!(again.notifications[0].read_at, Some(at(10)), "it stays as it was");
        store.mark(&ann, &[id(1)], Mark::Unread, at(30)).await.unwrap();
        assert_eq!(store.unread_count(&ann).await.unwrap(), 2);
        store.mark(&ann, &[id(1)], Mark::Dismiss, at(30)).await.unwrap();
        let restored = store.mark(&ann, &[id(1)], Mark::Restore, at(31)).await.unwrap();
        assert_eq!(restored.announcement.unwrap().changes[0].unread, 1);
        assert_eq!(store.mark(&owner("eve"), &[id(1)], Mark::Read, at(40)).await.unwrap().notifications, []);
        let all = store.read_all(&ann, &InboxFilter::default(), at(50)).await.unwrap();
        let told = all.announcement.unwrap();
        assert_eq!((all.changed, told.changes.len(), told.changes[0].unread), (2, 1, -2));
        assert_eq!(store.unread_count(&ann).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn two_who_claim_at_once_never_get_the_same() {
    for store in stores().await {
        put(&store, &(0..40).map(|number| item(number, "bot")).collect::<Vec<_>>()).await;
        put(&store, &[item(40, "*")]).await;
        let bot = owner("bot");
        let claims = (0..8).map(|_| store.claim(&bot, 6, at(100)));
        let mut seen = Vec::new();
        for claimed in futures_util::future::join_all(claims).await {
            let claimed = claimed.unwrap();
            assert!(claimed.notifications.is_sorted_by_key(|found| found.created_at), "oldest first");
            assert!(claimed.notifications.iter().all(|found| found.delivered_at == Some(at(100))));
            seen.extend(claimed.notifications.into_iter().map(|found| found.id));
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((count, seen.len()), (41, 41), "each once");
        assert_eq!(
            store.claim(&owner("other"), 9, at(200)).await.unwrap().changed,
            1,
            "the broadcast is everybody's"
        );
    }
}

#[tokio::test]
async fn a_broadcast_is_read_by_each_for_themselves() {
    for store in stores().await {
        put(&store, &[item(1, "*"), item(2, "ann")]).await;
        let (ann, bob) = (owner("ann"), owner("bob"));
        store.mark(&ann, &[id(1)], Mark::Read, at(10)).await.unwrap();
        assert_eq!(store.unread_count(&ann).await.unwrap(), 1);
        assert_eq!(store.unread_count(&bob).await.unwrap(), 1);
        assert!(store.notification(&ann, &id(1)).await.unwrap().unwrap().read);
        assert!(!store.notification(&bob, &id(1)).await.unwrap().unwrap().read);
        let standing = store.standing(&ann).await.unwrap();
        assert_eq!((standing.own, standing.everybody, standing.unread), (2, 1, 1));
    }
}

#[tokio::test]
async fn a_newer_text_takes_the_place_of_the_one_before_it_unless_that_was_dismissed() {
    for store in stores().await {
        let (ann, none) = (owner("ann"), InboxFilter::default());
        put(&store, &[progress(1, "ann"), item(2, "ann"), progress(3, "ann")]).await;
        assert_eq!(titles(&store, "ann", &none).await, ["Number 2", "Number 3"]);
        store.mark(&ann, &[id(1)], Mark::Read, at(10)).await.unwrap();
        let told = put(&store, &[progress(4, "ann")]).await;
        let change = &told[0].changes[0];
        assert_eq!((change.kind, change.unread, change.seq), (ChangeKind::Updated, 1, 5));
        let shown = change.notification.as_ref().unwrap();
        assert_eq!((&shown.id, shown.read, shown.title.as_str()), (&id(1), false, "Number 4"));
        assert_eq!((shown.created_at, shown.updated_at), (at(1), at(4)));
        put(&store, &[progress(3, "ann")]).await;
        assert_eq!(
            titles(&store, "ann", &none).await,
            ["Number 2", "Number 4"],
            "an older one replaces nothing"
        );
        store.mark(&ann, &[id(1)], Mark::Dismiss, at(20)).await.unwrap();
        put(&store, &[progress(5, "ann")]).await;
        assert_eq!(titles(&store, "ann", &none).await, ["Number 5", "Number 2"]);
    }
}

#[tokio::test]
async fn of_texts_that_come_out_of_order_the_latest_stays_and_a_repeat_changes_nothing() {
    for store in stores().await {
        let (ann, none) = (owner("ann"), InboxFilter::default());
        let mut last = progress(4, "ann");
        last.event.event_type = EventType::parse("task:failed").unwrap();
        put(&store, &[progress(1, "ann"), last.clone(), progress(2, "ann")]).await;
        put(&store, &[progress(3, "ann")]).await;
        assert_eq!(titles(&store, "ann", &none).await, ["Number 4"]);
        put(&store, &[Item { event: progress(5, "ann").event, ..last.clone() }]).await;
        let shown = store.notification(&ann, &id(1)).await.unwrap().unwrap();
        assert_eq!((shown.event_type.as_str(), shown.title.as_str()), ("task:failed", "Number 4"));
        // Told again it is nothing new, also when it was dismissed.
        store.mark(&ann, &[id(1)], Mark::Read, at(10)).await.unwrap();
        put(&store, &[last.clone()]).await;
        assert!(store.notification(&ann, &id(1)).await.unwrap().unwrap().read);
        store.mark(&ann, &[id(1)], Mark::Dismiss, at(11)).await.unwrap();
        put(&store, &[last]).await;
        assert!(titles(&store, "ann", &none).await.is_empty());
        assert_eq!(store.collapsed(&ann, "c_1").await.unwrap(), Some(id(1)));
    }
}

#[tokio::test]
async fn a_new_text_of_a_broadcast_is_new_to_all_but_who_dismissed_it() {
    for store in stores().await {
        let (ann, bob, eve) = (owner("ann"), owner("bob"), owner("eve"));
        put(&store, &[progress(1, "*"), item(2, "*")]).await;
        store.mark(&ann, &[id(1)], Mark::Read, at(10)).await.unwrap();
        store.mark(&bob, &[id(1)], Mark::Dismiss, at(10)).await.unwrap();
        store.claim(&eve, 10, at(10)).await.unwrap();
        put(&store, &[progress(3, "*")]).await;
        for (whose, unread) in [(&ann, 2), (&bob, 1), (&eve, 2)] {
            assert_eq!(store.unread_count(whose).await.unwrap(), unread, "{whose:?}");
        }
        let pending = store.claim(&eve, 10, at(20)).await.unwrap();
        assert_eq!(pending.notifications.iter().map(|one| &one.id).collect::<Vec<_>>(), [&id(1)]);
        // A mark writes what it is about alone.
        let shown = store.mark(&bob, &[id(1)], Mark::Restore, at(30)).await.unwrap();
        assert!(!shown.notifications[0].read);
    }
}

#[tokio::test]
async fn changes_are_read_behind_any_number() {
    for store in stores().await {
        let ann = owner("ann");
        put(&store, &[item(1, "ann"), item(2, "ann")]).await;
        store.mark(&ann, &[id(1)], Mark::Read, at(10)).await.unwrap();
        store.read_all(&ann, &InboxFilter::default(), at(20)).await.unwrap();
        let behind = store.changes(&ann, &ann, 1, 100).await.unwrap();
        let kinds: Vec<(u64, ChangeKind)> =
            behind.changes.iter().map(|change| (change.seq, change.kind)).collect();
        assert_eq!(kinds, [(2, ChangeKind::Created), (3, ChangeKind::Read), (4, ChangeKind::AllRead)]);
        assert_eq!(behind.changes[2].ids, [id(2)]);
        assert!(behind.changes[0].notification.as_ref().unwrap().read, "as it is now");
        assert!(!behind.gap);
        assert!(!store.changes(&ann, &ann, 4, 100).await.unwrap().gap);
        assert!(!store.changes(&owner("eve"), &owner("eve"), 0, 100).await.unwrap().gap);
        sqlx::query("delete from changes where seq < 3").execute(&store.pool).await.unwrap();
        assert!(store.changes(&ann, &ann, 1, 100).await.unwrap().gap);
        assert!(!store.changes(&ann, &ann, 2, 100).await.unwrap().gap);
        let heads = store.last_changes(&[ann.clone(), owner("eve")]).await.unwrap();
        assert_eq!(heads, [(ann, 4)]);
    }
}

#[tokio::test]
async fn what_is_deleted_is_gone_for_all_who_saw_it_and_each_is_told() {
    for store in stores().await {
        let (ann, everybody) = (owner("ann"), owner("*"));
        put(&store, &[item(1, "ann"), item(2, "ann"), item(3, "ann"), item(4, "*"), item(5, "bob")]).await;
        store.mark(&ann, &[id(1), id(4)], Mark::Read, at(10)).await.unwrap();
        let gone = store.delete(&ann, Doomed::Ids(&[id(1), id(2), id(4), id(5)]), at(20)).await.unwrap();
        let told = gone.announcement.unwrap();
        let changes: Vec<(u64, i64)> =
            told.changes.iter().map(|change| (change.seq, change.unread)).collect();
        assert_eq!((gone.count, told.before, changes), (2, 5, vec![(6, 0), (7, -1)]));
        assert_eq!(titles(&store, "ann", &InboxFilter::default()).await, ["Number 4", "Number 3"]);
        assert_eq!(store.unread_count(&owner("bob")).await.unwrap(), 2, "neither bob's nor everybody's went");
        let again = store.delete(&ann, Doomed::Ids(&[id(1)]), at(21)).await.unwrap();
        assert_eq!((again.count, again.announcement), (0, None));
        let behind = store.changes(&ann, &ann, 5, 10).await.unwrap();
        assert_eq!((behind.changes[0].kind, &behind.changes[0].notification), (ChangeKind::Deleted, &None));
        let none = store.delete(&everybody, Doomed::Before(at(4)), at(30)).await.unwrap();
        assert_eq!(none.count, 0, "not at that very moment");
        let all = store.delete(&everybody, Doomed::Before(at(5)), at(30)).await.unwrap();
        assert_eq!((all.count, all.announcement.unwrap().changes[0].unread), (1, -1));
        assert_eq!(store.remove_marks().await.unwrap(), 1, "they go after it");
        for table in ["marks", "notifications where recipient = '*'"] {
            let sql = sqlx::AssertSqlSafe(format!("select * from {table}"));
            assert!(sqlx::query(sql).fetch_all(&store.pool).await.unwrap().is_empty(), "{table}");
        }
        let items = "select recipient, items from inboxes order by recipient";
        let rows = sqlx::query(items).fetch_all(&store.pool).await.unwrap();
        let items: Vec<i64> = rows.iter().map(|row| sqlx::Row::try_get(row, "items").unwrap()).collect();
        assert_eq!(items, [0, 1, 1]);
    }
}

#[tokio::test]
async fn owners_are_found_in_their_workspace_and_a_look_for_pending_ones_hands_out_nothing() {
    for store in stores().await {
        put(&store, &[item(1, "ann"), item(2, "*")]).await;
        let found = store.owners_of(&WorkspaceId::default(), &[id(1), id(2), id(9)]).await.unwrap();
        let found: std::collections::BTreeMap<_, _> = found.into_iter().collect();
        assert_eq!(found, [(id(1), owner("ann")), (id(2), owner("*"))].into());
        let elsewhere = WorkspaceId::parse("red").unwrap();
        assert_eq!(store.owners_of(&elsewhere, &[id(1)]).await.unwrap(), []);
        assert!(store.is_pending(&owner("eve")).await.unwrap(), "the broadcast");
        assert_eq!(store.claim(&owner("eve"), 9, at(10)).await.unwrap().changed, 1);
        assert!(!store.is_pending(&owner("eve")).await.unwrap());
        assert!(store.is_pending(&owner("ann")).await.unwrap());
    }
}

#[tokio::test]
async fn where_many_inboxes_stand_is_what_each_says_for_itself() {
    for store in stores().await {
        put(&store, &[item(1, "ann"), item(2, "*"), item(3, "*"), item(4, "bob"), item(5, "*")]).await;
        let (ann, bob) = (owner("ann"), owner("bob"));
        store.mark(&ann, &[id(2)], Mark::Read, at(10)).await.unwrap();
        store.mark(&ann, &[id(3)], Mark::Dismiss, at(10)).await.unwrap();
        store.mark(&ann, &[id(5)], Mark::Deliver, at(10)).await.unwrap();
        store.mark(&bob, &[id(4)], Mark::Read, at(10)).await.unwrap();
        let all = ["ann", "bob", "nobody"].map(owner);
        let recipients: Vec<&Recipient> = all.iter().map(|owner| &owner.recipient).collect();
        let found = store.standings(&ann.workspace, &recipients).await.unwrap();
        for owner in &all {
            assert_eq!(found[&owner.recipient], store.standing(owner).await.unwrap(), "{owner:?}");
        }
        assert_eq!(found[&ann.recipient].unread, 2);

        let (second, fourth) = (id(2), id(4));
        let marks = store
            .broadcast_marks(
                &ann.workspace,
                &[&second, &fourth],
                &[ann.recipient.clone(), bob.recipient.clone()],
            )
            .await
            .unwrap();
        let (notification, recipient, marks) = &marks[..1][0];
        assert_eq!((notification, recipient), (&second, &ann.recipient));
        let broadcast = store.notification(&owner("*"), &second).await.unwrap().unwrap();
        let seen = store.notification(&ann, &second).await.unwrap().unwrap();
        assert_eq!(marks.over(&broadcast), seen);
        assert!(seen.read && !broadcast.read);
    }
}
