//! Putting items into inboxes, in the recorder's transaction: only it inserts, so that what is there already is known.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::super::{Dialect, StoreError, clean};
use super::row::{FROM, SEEN, broken, id, milliseconds, notification};
use super::{Owner, change, insert_changes};
use crate::ids::{NotificationId, Recipient, WorkspaceId};
use crate::notification::Notification;
use crate::notification::change::{Announcement, Change, ChangeKind};
use crate::notification::item::Item;

/// Ids that are looked for at once.
const IDS_PER_STATEMENT: usize = 500;

/// A row that is new in this batch.
struct Fresh<'a> {
    item: &'a Item,
    shown: Notification,
}

/// One inbox in this batch.
struct Inbox<'a> {
    owner: Owner,
    /// The number before this batch.
    before: u64,
    items: Vec<&'a Item>,
    fresh: Vec<Fresh<'a>>,
    /// Those that were there before and have a new text.
    renewed: BTreeSet<NotificationId>,
    changes: Vec<Change>,
}

/// Puts the items of a batch into their inboxes. An item that is there already changes nothing.
pub(in super::super) async fn put(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    items: &[Item],
) -> Result<Vec<Announcement>, StoreError> {
    let known = known(transaction, dialect, items).await?;
    let mut seen = HashSet::new();
    let mut inboxes: BTreeMap<Owner, Inbox<'_>> = BTreeMap::new();
    for item in items.iter().filter(|item| !known.contains(&item.id) && seen.insert(&item.id)) {
        let owner = Owner { workspace: item.workspace.clone(), recipient: item.recipient.clone() };
        let inbox = inboxes.entry(owner.clone()).or_insert_with(|| Inbox {
            owner,
            before: 0,
            items: Vec::new(),
            fresh: Vec::new(),
            renewed: BTreeSet::new(),
            changes: Vec::new(),
        });
        inbox.items.push(item);
    }
    let mut inboxes: Vec<Inbox<'_>> = inboxes.into_values().collect();
    take_numbers(transaction, dialect, &mut inboxes).await?;
    for inbox in &mut inboxes {
        inbox.fill(transaction).await?;
    }
    let fresh: Vec<&Fresh<'_>> = inboxes.iter().flat_map(|inbox| &inbox.fresh).collect();
    for rows in fresh.chunks(dialect.rows_per_statement()) {
        insert(transaction, dialect, rows).await?;
    }
    let changes: Vec<(&Owner, &Change)> =
        inboxes.iter().flat_map(|inbox| inbox.changes.iter().map(|change| (&inbox.owner, change))).collect();
    insert_changes(transaction, dialect, &changes).await?;
    Ok(inboxes.into_iter().map(|inbox| inbox.owner.announce(inbox.before, inbox.changes)).collect())
}

/// Those of the items that lie in an inbox by their own row.
async fn known(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    items: &[Item],
) -> Result<HashSet<NotificationId>, StoreError> {
    let mut known = HashSet::new();
    for some in items.chunks(IDS_PER_STATEMENT) {
        let sql = format!("select id from notifications where id in {}", dialect.placeholders(1, some.len()));
        // Planned each time: Postgres would keep the plan that it made while the table was empty, and read all of it.
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        for item in some {
            query = query.bind(item.id.to_string());
        }
        for row in query.fetch_all(&mut **transaction).await? {
            known.insert(id(&row, "id", NotificationId::parse)?);
        }
    }
    Ok(known)
}

/// Locks the inboxes, in their order, and takes a number for each item.
async fn take_numbers(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    inboxes: &mut [Inbox<'_>],
) -> Result<(), StoreError> {
    for some in inboxes.chunks_mut(dialect.rows_per_statement()) {
        let values = dialect.placeholders(some.len(), 4);
        let sql = format!(
            "insert into inboxes (workspace, recipient, seq, items) values {values} \
             on conflict (workspace, recipient) \
             do update set seq = inboxes.seq + excluded.seq, items = inboxes.items + excluded.items \
             returning workspace, recipient, seq"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for inbox in some.iter() {
            let count = i64::try_from(inbox.items.len()).unwrap_or(i64::MAX);
            query = query
                .bind(inbox.owner.workspace.to_string())
                .bind(inbox.owner.recipient.to_string())
                .bind(count)
                .bind(count);
        }
        let mut taken = HashMap::new();
        for row in query.fetch_all(&mut **transaction).await? {
            let owner = Owner {
                workspace: id(&row, "workspace", WorkspaceId::parse)?,
                recipient: id(&row, "recipient", Recipient::parse)?,
            };
            taken.insert(owner, u64::try_from(row.try_get::<i64, _>("seq")?).unwrap_or_default());
        }
        for inbox in some {
            let last = taken.get(&inbox.owner).ok_or_else(|| broken("inbox", "it was not locked"))?;
            inbox.before = last.saturating_sub(inbox.items.len() as u64);
        }
    }
    Ok(())
}

impl<'a> Inbox<'a> {
    async fn fill(&mut self, transaction: &mut Transaction<'_, Any>) -> Result<(), StoreError> {
        let mut seq = self.before;
        let mut updated = 0;
        for item in std::mem::take(&mut self.items) {
            seq += 1;
            let made = match &item.collapse_id {
                Some(collapse_id) => self.renew(transaction, item, collapse_id, seq).await?,
                None => None,
            };
            if let Some(renewed) = made {
                updated += 1;
                self.changes.push(renewed);
                continue;
            }
            let shown = shown(item);
            let created = change(seq, ChangeKind::Created, item.at, 1);
            let (id, notification) = (Some(item.id.clone()), Some(Box::new(shown.clone())));
            self.changes.push(Change { id, notification, ..created });
            self.fresh.push(Fresh { item, shown });
        }
        if updated > 0 {
            super::move_on(transaction, &self.owner, seq, -updated).await?;
        }
        if self.owner.recipient.is_everybody() {
            unmark(transaction, &self.renewed).await?;
        }
        Ok(())
    }

    /// The change of the notification whose text this item replaces, where there is one that nobody has dismissed.
    async fn renew(
        &mut self,
        transaction: &mut Transaction<'_, Any>,
        item: &'a Item,
        collapse_id: &str,
        seq: u64,
    ) -> Result<Option<Change>, StoreError> {
        let renewed = |shown: &Notification, unread: i64| Change {
            id: Some(shown.id.clone()),
            notification: Some(Box::new(shown.clone())),
            ..change(seq, ChangeKind::Updated, item.at, unread)
        };
        let same = |fresh: &&mut Fresh<'_>| fresh.item.collapse_id.as_deref() == Some(collapse_id);
        if let Some(fresh) = self.fresh.iter_mut().find(same) {
            if item.event.time >= fresh.item.event.time {
                renew(&mut fresh.shown, item);
                fresh.item = item;
            }
            return Ok(Some(renewed(&fresh.shown, 0)));
        }
        let sql = format!(
            "select {SEEN}, n.event_time, n.item {FROM} and n.collapse_id = $3 and n.recipient = $2 \
             order by case when n.dismissed_at is null then 0 else 1 end, n.created_at desc limit 1"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(self.owner.workspace.to_string())
            .bind(self.owner.recipient.to_string())
            .bind(collapse_id.to_owned())
            .fetch_optional(&mut **transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (mut shown, event_time) = (notification(&row)?, row.try_get::<i64, _>("event_time")?);
        if row.try_get::<String, _>("item")? == item.id.as_str() {
            return Ok(Some(renewed(&shown, 0)));
        }
        if shown.dismissed_at.is_some() {
            return Ok(None);
        }
        let was_read = shown.read;
        if item.event.time.as_millisecond() >= event_time {
            renew(&mut shown, item);
            update(transaction, item, &shown).await?;
            self.renewed.insert(shown.id.clone());
        }
        let unread = i64::from(was_read && !shown.read);
        Ok(Some(renewed(&shown, unread)))
    }
}

/// The text of the item in place of the one before it: unread and pending again, and still where it was in the list.
fn renew(shown: &mut Notification, item: &Item) {
    let Notification { id, delivery_id, created_at, .. } = shown.clone();
    *shown = Notification { id, delivery_id, created_at, ..self::shown(item) };
}

fn shown(item: &Item) -> Notification {
    Notification {
        id: item.id.clone(),
        workspace: item.workspace.clone(),
        recipient: item.recipient.clone(),
        event_type: item.event.event_type.as_str().to_owned(),
        severity: item.severity,
        urgency: clean(&item.urgency),
        title: clean(&item.title),
        body: clean(&item.body),
        link: item.link.as_deref().map(clean),
        metadata: item.metadata.clone(),
        source: item.source.clone(),
        project: item.project.as_deref().map(clean),
        actions: item.actions.clone(),
        delivery_id: item.delivery.clone(),
        created_at: item.at,
        updated_at: item.at,
        delivered_at: None,
        read_at: None,
        dismissed_at: None,
        read: false,
    }
}

async fn update(
    transaction: &mut Transaction<'_, Any>,
    item: &Item,
    shown: &Notification,
) -> Result<(), StoreError> {
    let sql = "update notifications set severity = $1, urgency = $2, title = $3, body = $4, link = $5, metadata = $6, \
               source_type = $7, source_id = $8, source = $9, project = $10, actions = $11, item = $12, event_time = $13, \
               updated_at = $14, type = $15, read_at = null, delivered_at = null where id = $16";
    let [metadata, source, actions] = json(shown)?;
    sqlx::query(sql)
        .bind(shown.severity.as_str().to_owned())
        .bind(shown.urgency.clone())
        .bind(shown.title.clone())
        .bind(shown.body.clone())
        .bind(shown.link.clone())
        .bind(metadata)
        .bind(clean(&shown.source.kind))
        .bind(clean(&shown.source.id))
        .bind(source)
        .bind(shown.project.clone())
        .bind(actions)
        .bind(item.id.to_string())
        .bind(item.event.time.as_millisecond())
        .bind(shown.updated_at.as_millisecond())
        .bind(shown.event_type.clone())
        .bind(shown.id.to_string())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Broadcasts with a new text are unread and pending again for everybody. Who dismissed one has said that they want to see it no
/// more. In the order in which marks are written: see [`super::mark`].
async fn unmark(
    transaction: &mut Transaction<'_, Any>,
    broadcasts: &BTreeSet<NotificationId>,
) -> Result<(), StoreError> {
    let sql = "update marks set read_at = null, delivered_at = null where notification_id = $1 \
               and (read_at is not null or delivered_at is not null)";
    for id in broadcasts {
        sqlx::query(sql).bind(id.to_string()).execute(&mut **transaction).await?;
    }
    Ok(())
}

const COLUMNS: &str = "id, workspace, recipient, type, severity, urgency, title, body, link, metadata, source_type, source_id, \
    source, project, actions, delivery_id, item, collapse_id, event_time, created_at, updated_at, delivered_at, read_at, \
    dismissed_at";
const COLUMNS_COUNT: usize = 24;

async fn insert(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    rows: &[&Fresh<'_>],
) -> Result<(), StoreError> {
    let values = dialect.placeholders(rows.len(), COLUMNS_COUNT);
    let mut query =
        sqlx::query(AssertSqlSafe(format!("insert into notifications ({COLUMNS}) values {values}")));
    for Fresh { item, shown } in rows {
        let [metadata, source, actions] = json(shown)?;
        query = query
            .bind(shown.id.to_string())
            .bind(shown.workspace.to_string())
            .bind(shown.recipient.to_string())
            .bind(shown.event_type.clone())
            .bind(shown.severity.as_str().to_owned())
            .bind(shown.urgency.clone())
            .bind(shown.title.clone())
            .bind(shown.body.clone())
            .bind(shown.link.clone())
            .bind(metadata)
            .bind(clean(&shown.source.kind))
            .bind(clean(&shown.source.id))
            .bind(source)
            .bind(shown.project.clone())
            .bind(actions)
            .bind(shown.delivery_id.to_string())
            .bind(item.id.to_string())
            .bind(item.collapse_id.clone())
            .bind(item.event.time.as_millisecond())
            .bind(shown.created_at.as_millisecond())
            .bind(shown.updated_at.as_millisecond())
            .bind(milliseconds(shown.delivered_at))
            .bind(milliseconds(shown.read_at))
            .bind(milliseconds(shown.dismissed_at));
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}

/// Metadata, source and actions as texts. JSON writes a NUL as an escape, which Postgres takes in a text.
fn json(shown: &Notification) -> Result<[Option<String>; 3], StoreError> {
    let written = |value: Result<String, serde_json::Error>| value.map_err(|error| broken("fields", error));
    let is_empty = shown.metadata.as_object().is_none_or(serde_json::Map::is_empty);
    let metadata = (!is_empty).then(|| shown.metadata.to_string());
    let actions = (!shown.actions.is_empty()).then(|| serde_json::to_string(&shown.actions));
    Ok([metadata, Some(written(serde_json::to_string(&shown.source))?), actions.map(written).transpose()?])
}
