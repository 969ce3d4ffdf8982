//! The inboxes in SQL. Whoever changes one locks its row in `inboxes` first, in the same transaction takes the next numbers, and
//! writes a row of `changes` for each: so that a number says which changes somebody has seen.
//!
//! A broadcast (recipient `*`) is one row that everybody of the workspace sees; what one of them did with it is in `marks`.

pub mod changes;
pub mod delete;
pub mod followed;
pub mod list;
pub mod mark;
pub mod put;
pub(super) mod row;

use jiff::Timestamp;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::{Dialect, StoreError, number};
use crate::delivery::ENVELOPE_VERSION;
use crate::ids::{NotificationId, Recipient, WorkspaceId};
use crate::notification::change::{Announcement, Change, ChangeKind};

#[cfg(test)]
pub(super) mod tests;

/// Whose inbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub workspace: WorkspaceId,
    pub recipient: Recipient,
}

impl Owner {
    /// What everybody of the workspace sees.
    #[must_use]
    pub fn everybody(&self) -> Self {
        Self { workspace: self.workspace.clone(), recipient: Recipient::everybody() }
    }

    pub(super) fn announce(&self, before: u64, changes: Vec<Change>) -> Announcement {
        Announcement {
            v: ENVELOPE_VERSION,
            workspace: self.workspace.clone(),
            recipient: self.recipient.clone(),
            before,
            last: changes.last().map_or(before, |change| change.seq),
            changes,
        }
    }
}

/// Locks an inbox until the transaction ends, and gives the number of its last change.
async fn lock(transaction: &mut Transaction<'_, Any>, owner: &Owner) -> Result<u64, StoreError> {
    let sql = "insert into inboxes (workspace, recipient, seq, items) values ($1, $2, 0, 0) \
               on conflict (workspace, recipient) do update set seq = inboxes.seq returning seq";
    let row = sqlx::query(sql)
        .bind(owner.workspace.to_string())
        .bind(owner.recipient.to_string())
        .fetch_one(&mut **transaction)
        .await?;
    Ok(u64::try_from(row.try_get::<i64, _>("seq")?).unwrap_or_default())
}

/// Moves a locked inbox on, to its new last number and by so many notifications.
async fn move_on(
    transaction: &mut Transaction<'_, Any>,
    owner: &Owner,
    seq: u64,
    items: i64,
) -> Result<(), StoreError> {
    sqlx::query("update inboxes set seq = $1, items = items + $2 where workspace = $3 and recipient = $4")
        .bind(number(seq))
        .bind(items)
        .bind(owner.workspace.to_string())
        .bind(owner.recipient.to_string())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

const CHANGE_COLUMNS: &str = "workspace, recipient, seq, kind, notification_id, unread, detail, at";
const CHANGE_COLUMNS_COUNT: usize = 8;

pub(super) async fn insert_changes(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    changes: &[(&Owner, &Change)],
) -> Result<(), StoreError> {
    for rows in changes.chunks(dialect.rows_per_statement()) {
        let values = dialect.placeholders(rows.len(), CHANGE_COLUMNS_COUNT);
        let sql = format!("insert into changes ({CHANGE_COLUMNS}) values {values}");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (owner, change) in rows {
            query = query
                .bind(owner.workspace.to_string())
                .bind(owner.recipient.to_string())
                .bind(number(change.seq))
                .bind(change.kind.as_str().to_owned())
                .bind(change.id.as_ref().map(NotificationId::to_string))
                .bind(change.unread)
                .bind((!change.ids.is_empty()).then(|| ids_text(&change.ids)))
                .bind(change.at.as_millisecond());
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

fn ids_text(ids: &[NotificationId]) -> String {
    ids.iter().map(NotificationId::as_str).collect::<Vec<_>>().join(",")
}

/// A change of one notification, as it is after it.
pub(super) fn change(seq: u64, kind: ChangeKind, at: Timestamp, unread: i64) -> Change {
    Change { seq, kind, at, unread, id: None, notification: None, ids: Vec::new() }
}
