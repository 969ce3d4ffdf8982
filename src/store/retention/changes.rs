//! Changes of inboxes that no stream is resumed from any more, and marks of broadcasts that are gone.
//!
//! Of an inbox always the first ones go, without a hole: who resumes from before them is told that there is a gap.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::super::inbox::Owner;
use super::super::{Dialect, Store, StoreError};
use super::{BATCH_ROWS, Locked, lock, owner};
/// Changes of one inbox that stay. A notification comes, is handed out, is read and is dismissed: so many are the whole life
/// of the 500 that an inbox holds unless otherwise set, and who missed more reads the list faster than its changes.
pub const CHANGES_MAX: i64 = 2_000;
/// So many more may gather before some go, so that not each change takes one away. With [`CHANGES_MAX`] it is what the index
/// `inboxes_by_changes` is made for.
const SLACK: i64 = 500;
/// Inboxes of one batch.
const INBOXES_MAX: i64 = 100;

impl Store {
    /// Removes a batch of changes from before `since`. 0 when there are none.
    ///
    /// # Errors
    /// When the database is not available; doing it again is safe.
    pub async fn remove_old_changes(&self, since: Timestamp) -> Result<u64, StoreError> {
        let sql = "select workspace, recipient, max(seq) as until from \
                   (select workspace, recipient, seq from changes where at < $1 order by at limit $2) as old \
                   group by workspace, recipient";
        let rows = sqlx::query(sql)
            .bind(since.as_millisecond())
            .bind(i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        let mut until = BTreeMap::new();
        for row in &rows {
            until.insert(owner(row)?, row.try_get("until")?);
        }
        self.trim(until).await
    }

    /// Removes a batch of changes of inboxes that have more than they need. 0 when none has.
    ///
    /// # Errors
    /// When the database is not available; doing it again is safe.
    pub async fn remove_surplus_changes(&self) -> Result<u64, StoreError> {
        // As the index says it.
        let most = CHANGES_MAX + SLACK;
        let sql = format!(
            "select workspace, recipient, seq from inboxes where seq - trimmed > {most} limit {INBOXES_MAX}"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.pool).await?;
        let mut until = BTreeMap::new();
        for row in &rows {
            until.insert(owner(row)?, row.try_get::<i64, _>("seq")? - CHANGES_MAX);
        }
        self.trim(until).await
    }

    /// Removes the first changes of these inboxes, up to those numbers, as many as a batch may have.
    async fn trim(&self, until: BTreeMap<Owner, i64>) -> Result<u64, StoreError> {
        if until.is_empty() {
            return Ok(0);
        }
        let owners: Vec<Owner> = until.keys().cloned().collect();
        let _turn = self.turn().await;
        let mut transaction = self.pool.begin_with(self.dialect.begin()).await?;
        let locked = lock(&mut transaction, self.dialect, &owners).await?;
        let mut left = i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX);
        let mut ends = Vec::new();
        for (owner, Locked { seq, trimmed, .. }) in locked {
            let end = until.get(&owner).copied().unwrap_or_default().min(seq).min(trimmed + left);
            if end > trimmed {
                left -= end - trimmed;
                ends.push((owner, end));
            }
        }
        let mut removed = 0;
        for some in ends.chunks(self.dialect.rows_per_statement()) {
            removed += cut(&mut transaction, self.dialect, some).await?;
        }
        transaction.commit().await?;
        Ok(removed)
    }

    /// Removes a batch of marks of broadcasts that are gone. 0 when there are none.
    ///
    /// They are looked for by the changes that tell of the end of those broadcasts: one that was set while the end was on its way
    /// is found too.
    ///
    /// # Errors
    /// When the database is not available; doing it again is safe.
    pub async fn remove_marks(&self) -> Result<u64, StoreError> {
        let sql = "delete from marks where (workspace, recipient, notification_id) in \
                   (select m.workspace, m.recipient, m.notification_id from changes c \
                    join marks m on m.notification_id = c.notification_id \
                    where c.recipient = '*' and c.kind = 'deleted' \
                    and not exists (select 1 from notifications n where n.id = c.notification_id) limit $1)";
        let _turn = self.turn().await;
        let removed =
            sqlx::query(sql).bind(i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX)).execute(&self.pool).await?;
        Ok(removed.rows_affected())
    }
}

/// Cuts inboxes off at these numbers.
async fn cut(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    ends: &[(Owner, i64)],
) -> Result<u64, StoreError> {
    let parts: Vec<String> = (0..ends.len())
        .map(|at| {
            let [workspace, recipient, end] = [1, 2, 3].map(|number| dialect.place(at * 3 + number));
            format!("(workspace = {workspace} and recipient = {recipient} and seq <= {end})")
        })
        .collect();
    let sql = format!("delete from changes where {}", parts.join(" or "));
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for (owner, end) in ends {
        query = query.bind(owner.workspace.to_string()).bind(owner.recipient.to_string()).bind(*end);
    }
    let removed = query.execute(&mut **transaction).await?.rows_affected();
    let sql = format!(
        "insert into inboxes (workspace, recipient, seq, items, trimmed) values {} \
         on conflict (workspace, recipient) do update set trimmed = excluded.trimmed",
        dialect.placeholders(ends.len(), 5)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (owner, end) in ends {
        query = query
            .bind(owner.workspace.to_string())
            .bind(owner.recipient.to_string())
            .bind(0_i64)
            .bind(0_i64)
            .bind(*end);
    }
    query.execute(&mut **transaction).await?;
    Ok(removed)
}
