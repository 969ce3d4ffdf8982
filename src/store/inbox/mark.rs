//! Marks: read, unread, dismissed, restored, claimed. Each is one transaction that locks the inbox, so that two at once never
//! both do it; what is marked so already changes nothing and takes no number.

use jiff::Timestamp;
use sqlx::{Any, AssertSqlSafe, Transaction};

use super::super::deliveries::Bind;
use super::super::stats::bound;
use super::super::{Dialect, Store, StoreError};
use super::list::{InboxFilter, conditions};
use super::row::{FROM, IS_PENDING, SEEN, milliseconds, notification};
use super::{Owner, change, insert_changes, lock, move_on};
use crate::ids::NotificationId;
use crate::notification::Notification;
use crate::notification::change::{Announcement, Change, ChangeKind};

/// At once; an inbox holds a few hundred.
pub const MARKED_MAX: usize = 5_000;

/// What somebody says of notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Read,
    Unread,
    Dismiss,
    Restore,
    /// Handed to an agent.
    Deliver,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Marked {
    /// All that were named and are in this inbox, as they are now.
    pub notifications: Vec<Notification>,
    /// How many of them it changed.
    pub changed: usize,
    /// None when nothing changed.
    pub announcement: Option<Announcement>,
}

impl Mark {
    fn kind(self) -> ChangeKind {
        match self {
            Self::Read => ChangeKind::Read,
            Self::Unread => ChangeKind::Unread,
            Self::Dismiss => ChangeKind::Dismissed,
            Self::Restore => ChangeKind::Restored,
            Self::Deliver => ChangeKind::Delivered,
        }
    }

    /// True when it changed something. Who read or dismissed something was reached.
    fn apply(self, shown: &mut Notification, now: Timestamp) -> bool {
        let before = (shown.delivered_at, shown.read_at, shown.dismissed_at);
        match self {
            Self::Read => shown.read_at = shown.read_at.or(Some(now)),
            Self::Unread => shown.read_at = None,
            Self::Dismiss => shown.dismissed_at = shown.dismissed_at.or(Some(now)),
            Self::Restore => shown.dismissed_at = None,
            Self::Deliver => {}
        }
        match self {
            Self::Read | Self::Dismiss | Self::Deliver => {
                shown.delivered_at = shown.delivered_at.or(Some(now));
            }
            Self::Unread | Self::Restore => {}
        }
        shown.read = shown.read_at.is_some();
        before != (shown.delivered_at, shown.read_at, shown.dismissed_at)
    }
}

/// Which of an inbox's notifications.
enum Which<'a> {
    Ids(&'a [NotificationId]),
    /// What the filter lists.
    All(&'a InboxFilter),
    /// So many of those that nobody was handed yet, oldest first.
    Pending(u32),
}

impl Store {
    /// Marks these. Ids that are not in this inbox are left out.
    ///
    /// # Errors
    /// When the database is not available; marking again is safe.
    pub async fn mark(
        &self,
        owner: &Owner,
        ids: &[NotificationId],
        mark: Mark,
        now: Timestamp,
    ) -> Result<Marked, StoreError> {
        self.mark_some(owner, Which::Ids(ids), (mark, false), now).await
    }

    /// Reads all that the filter lists, as one change.
    ///
    /// # Errors
    /// When the database is not available; doing it again is safe.
    pub async fn read_all(
        &self,
        owner: &Owner,
        filter: &InboxFilter,
        now: Timestamp,
    ) -> Result<Marked, StoreError> {
        let filter = InboxFilter { unread: true, ..filter.clone() };
        self.mark_some(owner, Which::All(&filter), (Mark::Read, true), now).await
    }

    /// Hands out what is pending, oldest first: each notification once, however many ask at once.
    ///
    /// # Errors
    /// When the database is not available. What was handed out in an answer that got lost is listed as unread.
    pub async fn claim(&self, owner: &Owner, limit: u32, now: Timestamp) -> Result<Marked, StoreError> {
        self.mark_some(owner, Which::Pending(limit), (Mark::Deliver, false), now).await
    }

    async fn mark_some(
        &self,
        owner: &Owner,
        which: Which<'_>,
        (mark, as_one): (Mark, bool),
        now: Timestamp,
    ) -> Result<Marked, StoreError> {
        let _turn = self.turn().await;
        let mut transaction = self.pool.begin_with(self.dialect.begin()).await?;
        let before = lock(&mut transaction, owner).await?;
        let mut notifications = find(&mut transaction, self.dialect, owner, which).await?;
        let mut changed = Vec::new();
        let mut changes = Vec::new();
        for shown in &mut notifications {
            let was_unread = shown.is_unread();
            if !mark.apply(shown, now) {
                continue;
            }
            let unread = i64::from(shown.is_unread()) - i64::from(was_unread);
            changed.push(shown.clone());
            let (id, notification) = (Some(shown.id.clone()), Some(Box::new(shown.clone())));
            let seq = before + changed.len() as u64;
            changes.push(Change { id, notification, ..change(seq, mark.kind(), now, unread) });
        }
        if changed.is_empty() {
            transaction.rollback().await?;
            return Ok(Marked { notifications, changed: 0, announcement: None });
        }
        if as_one {
            let ids = changed.iter().map(|shown| shown.id.clone()).collect();
            let unread = changes.iter().map(|change| change.unread).sum();
            changes = vec![Change { ids, ..change(before + 1, ChangeKind::AllRead, now, unread) }];
        }
        // Whoever writes marks does so in this order, or two of them would wait for each other.
        changed.sort_by(|one, other| one.id.cmp(&other.id));
        write(&mut transaction, self.dialect, (owner, mark), &changed).await?;
        let rows: Vec<(&Owner, &Change)> = changes.iter().map(|change| (owner, change)).collect();
        insert_changes(&mut transaction, self.dialect, &rows).await?;
        let last = before + changes.len() as u64;
        move_on(&mut transaction, owner, last, 0).await?;
        transaction.commit().await?;
        let changed = changed.len();
        Ok(Marked { notifications, changed, announcement: Some(owner.announce(before, changes)) })
    }
}

async fn find(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    owner: &Owner,
    which: Which<'_>,
) -> Result<Vec<Notification>, StoreError> {
    let whose = [Bind::Text(owner.workspace.to_string()), Bind::Text(owner.recipient.to_string())];
    let mut asked = Vec::new();
    match which {
        Which::Ids(ids) => {
            for some in ids.chunks(dialect.rows_per_statement()) {
                let places: Vec<String> = (0..some.len()).map(|at| format!("${}", at + 3)).collect();
                let ids = some.iter().map(|id| Bind::Text(id.to_string()));
                let binds: Vec<Bind> = whose.iter().cloned().chain(ids).collect();
                asked.push((format!("select {SEEN} {FROM} and n.id in ({})", places.join(", ")), binds));
            }
        }
        Which::All(filter) => {
            let (conditions, binds) = conditions(owner, filter);
            let order = format!("order by n.created_at, n.id limit {MARKED_MAX}");
            asked.push((format!("select {SEEN} {FROM}{conditions} {order}"), binds));
        }
        Which::Pending(limit) => {
            let sql = format!("select {SEEN} {FROM} and {IS_PENDING} order by n.created_at, n.id limit $3");
            asked.push((sql, whose.iter().cloned().chain([Bind::Number(i64::from(limit))]).collect()));
        }
    }
    let mut found = Vec::new();
    for (sql, binds) in asked {
        for row in bound(&sql, &binds).fetch_all(&mut **transaction).await? {
            found.push(notification(&row)?);
        }
    }
    Ok(found)
}

/// The marks of rows of one's own stand in them, those of broadcasts beside them.
async fn write(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    (owner, mark): (&Owner, Mark),
    changed: &[Notification],
) -> Result<(), StoreError> {
    let (own, broadcast): (Vec<_>, Vec<_>) =
        changed.iter().partition(|shown| shown.recipient == owner.recipient);
    let column = match mark {
        Mark::Read | Mark::Unread => "read_at",
        Mark::Dismiss | Mark::Restore => "dismissed_at",
        Mark::Deliver => "delivered_at",
    };
    for rows in own.chunks(dialect.rows_per_statement()) {
        let reached = match mark {
            Mark::Read | Mark::Dismiss => ", delivered_at = coalesce(delivered_at, $1)",
            Mark::Unread | Mark::Restore | Mark::Deliver => "",
        };
        let places: Vec<String> = (0..rows.len()).map(|at| format!("${}", at + 2)).collect();
        let sql =
            format!("update notifications set {column} = $1{reached} where id in ({})", places.join(", "));
        let value = match mark {
            Mark::Read => rows[0].read_at,
            Mark::Dismiss => rows[0].dismissed_at,
            Mark::Deliver => rows[0].delivered_at,
            Mark::Unread | Mark::Restore => None,
        };
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(milliseconds(value));
        for shown in rows {
            query = query.bind(shown.id.to_string());
        }
        query.execute(&mut **transaction).await?;
    }
    for rows in broadcast.chunks(dialect.rows_per_statement()) {
        let values = dialect.placeholders(rows.len(), 6);
        // What this mark is not about may have been changed meanwhile, by a new text.
        let written = match mark {
            Mark::Read | Mark::Dismiss => {
                format!(
                    "{column} = excluded.{column}, delivered_at = coalesce(marks.delivered_at, excluded.delivered_at)"
                )
            }
            Mark::Unread | Mark::Restore | Mark::Deliver => format!("{column} = excluded.{column}"),
        };
        let sql = format!(
            "insert into marks (workspace, recipient, notification_id, delivered_at, read_at, dismissed_at) values {values} \
             on conflict (workspace, recipient, notification_id) do update set {written}"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for shown in rows {
            query = query
                .bind(owner.workspace.to_string())
                .bind(owner.recipient.to_string())
                .bind(shown.id.to_string())
                .bind(milliseconds(shown.delivered_at))
                .bind(milliseconds(shown.read_at))
                .bind(milliseconds(shown.dismissed_at));
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}
