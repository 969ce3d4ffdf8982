//! What is kept no longer, in SQL. Each function here removes one batch in one short transaction and says what it removed: whoever
//! calls it calls it again until nothing is left, with pauses, so that no writer waits for long.
//!
//! Several processes may do it at once. What a batch removes is looked for without a lock, and looked at again under the locks
//! that everybody else takes: the rows of inboxes, in the order of their owners. Statements whose length differs from batch to batch
//! are planned each time.

pub mod changes;
pub mod history;
pub mod inboxes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::inbox::{Owner, row};
use super::{Dialect, Store, StoreError};
use crate::ids::{Recipient, WorkspaceId};

/// Rows that one transaction removes at most.
pub const BATCH_ROWS: usize = 500;

crate::outcome::words! {
    /// What was removed.
    What {
        /// Notifications of inboxes that held too many.
        Excess = "notifications_over_cap",
        /// Notifications that were too old.
        Expired = "notifications_too_old",
        /// Changes that no stream is resumed from any more.
        Changes = "changes",
        /// What recipients did with broadcasts that are gone.
        Marks = "marks",
        Deliveries = "deliveries",
        /// Steps of those deliveries.
        Outcomes = "outcomes",
    }
}

/// An inbox that is locked, as it stands.
#[derive(Debug, Clone, Copy)]
struct Locked {
    seq: i64,
    items: i64,
    trimmed: i64,
}

impl Store {
    /// One value of each workspace that a table has: a jump in its index for each, however many rows there are.
    async fn by_workspace(&self, table: &str, value: &str) -> Result<Vec<(WorkspaceId, i64)>, StoreError> {
        let sql = format!(
            "with recursive known(workspace) as (select min(workspace) from {table} union all \
             select (select min(workspace) from {table} t where t.workspace > known.workspace) from known \
             where known.workspace is not null) \
             select workspace, (select {value} from {table} t where t.workspace = known.workspace) as value \
             from known where workspace is not null"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.pool).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            // Its last row may have gone since the workspace was found.
            if let Some(value) = row.try_get("value")? {
                found.push((row::id(&row, "workspace", WorkspaceId::parse)?, value));
            }
        }
        Ok(found)
    }
}

impl Dialect {
    /// The placeholder of a value that stands at this place among all, from 1 on.
    fn place(self, number: usize) -> String {
        match self {
            Self::Sqlite => "?".to_owned(),
            Self::Postgres => format!("${number}"),
        }
    }
}

/// Locks inboxes until the transaction ends. They are known, and in their order.
async fn lock(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    owners: &[Owner],
) -> Result<BTreeMap<Owner, Locked>, StoreError> {
    let mut locked = BTreeMap::new();
    for some in owners.chunks(dialect.rows_per_statement()) {
        let values: Vec<String> = (0..some.len())
            .map(|at| format!("({}, {}, 0, 0)", dialect.place(at * 2 + 1), dialect.place(at * 2 + 2)))
            .collect();
        let sql = format!(
            "insert into inboxes (workspace, recipient, seq, items) values {} on conflict (workspace, recipient) \
             do update set seq = inboxes.seq returning workspace, recipient, seq, items, trimmed",
            values.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for owner in some {
            query = query.bind(owner.workspace.to_string()).bind(owner.recipient.to_string());
        }
        for row in query.fetch_all(&mut **transaction).await? {
            let found = Locked {
                seq: row.try_get("seq")?,
                items: row.try_get("items")?,
                trimmed: row.try_get("trimmed")?,
            };
            locked.insert(owner(&row)?, found);
        }
    }
    Ok(locked)
}

fn owner(found: &sqlx::any::AnyRow) -> Result<Owner, StoreError> {
    Ok(Owner {
        workspace: row::id(found, "workspace", WorkspaceId::parse)?,
        recipient: row::id(found, "recipient", Recipient::parse)?,
    })
}

#[cfg(test)]
mod tests;
