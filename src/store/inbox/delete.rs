//! Taking notifications out of an inbox for good. One transaction takes a bounded part and tells of each as a change, so that
//! whoever follows the inbox drops it too; a broadcast goes for everybody. The marks on it, as many as there are readers, go after it:
//! see `store::retention::marks`.

use jiff::Timestamp;
use sqlx::{Any, AssertSqlSafe, Transaction};

use super::super::deliveries::Bind;
use super::super::stats::bound;
use super::super::{Dialect, Store, StoreError};
use super::row::{FROM, SEEN, notification};
use super::{Owner, change, insert_changes, lock, move_on};
use crate::ids::NotificationId;
use crate::notification::Notification;
use crate::notification::change::{Announcement, Change, ChangeKind};

/// In one transaction: an inbox is not locked for longer than a moment.
pub const DELETED_MAX: usize = 500;

/// Which notifications go.
#[derive(Debug, Clone, Copy)]
pub enum Doomed<'a> {
    /// Up to [`DELETED_MAX`] of them.
    Ids(&'a [NotificationId]),
    /// The oldest [`DELETED_MAX`] of those that were created before.
    Before(Timestamp),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Deleted {
    pub count: usize,
    /// None when there was nothing to delete.
    pub announcement: Option<Announcement>,
}

impl Store {
    /// Deletes what is in this very inbox: for a recipient none of the broadcasts, which are everybody's.
    ///
    /// # Errors
    /// When the database is not available; deleting again is safe.
    pub async fn delete(
        &self,
        owner: &Owner,
        doomed: Doomed<'_>,
        now: Timestamp,
    ) -> Result<Deleted, StoreError> {
        let _turn = self.turn().await;
        let mut transaction = self.pool.begin_with(self.dialect.begin()).await?;
        let before = lock(&mut transaction, owner).await?;
        let found = find(&mut transaction, self.dialect, owner, doomed).await?;
        if found.is_empty() {
            transaction.rollback().await?;
            return Ok(Deleted { count: 0, announcement: None });
        }
        let mut changes = Vec::with_capacity(found.len());
        for (index, gone) in found.iter().enumerate() {
            // Of a broadcast it is what it changes for those who have not marked it.
            let counted = owner.recipient.is_everybody() || gone.is_unread();
            let seq = before + index as u64 + 1;
            let deleted = change(seq, ChangeKind::Deleted, now, -i64::from(counted));
            changes.push(Change { id: Some(gone.id.clone()), ..deleted });
        }
        remove(&mut transaction, self.dialect, &found).await?;
        let rows: Vec<(&Owner, &Change)> = changes.iter().map(|change| (owner, change)).collect();
        insert_changes(&mut transaction, self.dialect, &rows).await?;
        let count = found.len();
        let last = before + count as u64;
        move_on(&mut transaction, owner, last, -i64::try_from(count).unwrap_or(i64::MAX)).await?;
        transaction.commit().await?;
        Ok(Deleted { count, announcement: Some(owner.announce(before, changes)) })
    }
}

async fn find(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    owner: &Owner,
    doomed: Doomed<'_>,
) -> Result<Vec<Notification>, StoreError> {
    let whose = [Bind::Text(owner.workspace.to_string()), Bind::Text(owner.recipient.to_string())];
    let own = format!("select {SEEN} {FROM} and n.recipient = $2");
    let mut asked = Vec::new();
    match doomed {
        Doomed::Ids(ids) => {
            for some in ids.chunks(dialect.rows_per_statement()) {
                let places: Vec<String> = (0..some.len()).map(|at| format!("${}", at + 3)).collect();
                let ids = some.iter().map(|id| Bind::Text(id.to_string()));
                let binds: Vec<Bind> = whose.iter().cloned().chain(ids).collect();
                asked.push((format!("{own} and n.id in ({})", places.join(", ")), binds));
            }
        }
        Doomed::Before(moment) => {
            let sql = format!("{own} and n.created_at < $3 order by n.created_at, n.id limit {DELETED_MAX}");
            asked.push((sql, whose.into_iter().chain([Bind::Number(moment.as_millisecond())]).collect()));
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

async fn remove(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    found: &[Notification],
) -> Result<(), StoreError> {
    for some in found.chunks(dialect.rows_per_statement()) {
        let places = dialect.placeholders(1, some.len());
        let mut query = sqlx::query(AssertSqlSafe(format!("delete from notifications where id in {places}")));
        for gone in some {
            query = query.bind(gone.id.to_string());
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}
