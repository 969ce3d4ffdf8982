//! Deliveries of the history that go, with their steps. What is not at its end stays, however old it is.
//!
//! They are found by when they began, which the history is sorted by: what began in time is not looked at, and of the others only those
//! are left where they are that changed lately or still wait.

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::super::deliveries::Bind;
use super::super::stats::bound;
use super::super::{Store, StoreError, time};
use super::BATCH_ROWS;
use crate::ids::WorkspaceId;

/// How far a walk through the old deliveries has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    created_at: i64,
    id: String,
}

/// What one batch removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    pub deliveries: u64,
    pub outcomes: u64,
    /// Where the next batch goes on; None at the end.
    pub next: Option<Place>,
}

/// What goes with one batch.
#[derive(Default)]
struct Chosen {
    ids: Vec<String>,
    /// The first of those looked at, when it has more steps than a batch may remove: some of them.
    of_one: Option<String>,
    /// The last one that need not be looked at again.
    until: Option<Place>,
    /// Some that were looked at must be looked at again.
    more: bool,
}

impl Store {
    /// When the oldest delivery of each workspace began.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn oldest_deliveries(&self) -> Result<Vec<(WorkspaceId, Timestamp)>, StoreError> {
        let found = self.by_workspace("deliveries", "min(created_at)").await?;
        Ok(found.into_iter().map(|(workspace, at)| (workspace, time(at))).collect())
    }

    /// Removes a batch of a workspace's deliveries that ended before `since`, and their steps.
    ///
    /// # Errors
    /// When the database is not available; doing it again is safe.
    pub async fn remove_deliveries(
        &self,
        workspace: &WorkspaceId,
        since: Timestamp,
        after: Option<&Place>,
    ) -> Result<Removed, StoreError> {
        let since = since.as_millisecond();
        let rows = self.old_deliveries(workspace, since, after).await?;
        let Chosen { ids, of_one, until, more } = choose(&rows, since)?;
        let mut removed = Removed::default();
        if let Some(id) = &of_one {
            removed.outcomes = self.remove_steps(id, since).await?;
        } else if !ids.is_empty() {
            (removed.deliveries, removed.outcomes) = self.remove_whole(&ids, since).await?;
        }
        if more || rows.len() == BATCH_ROWS {
            removed.next = until.or_else(|| after.cloned()).or(Some(Place::START));
        }
        Ok(removed)
    }

    async fn old_deliveries(
        &self,
        workspace: &WorkspaceId,
        since: i64,
        after: Option<&Place>,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let Place { created_at, id } = after.cloned().unwrap_or(Place::START);
        let sql = "select id, created_at, updated_at, final, \
                   (select cast(count(*) as bigint) from outcomes o where o.delivery_id = d.id) as steps \
                   from deliveries d where workspace = $1 and created_at < $2 \
                   and (created_at > $3 or (created_at = $3 and id > $4)) order by created_at, id limit $5";
        let batch = i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX);
        let binds = [
            Bind::Text(workspace.to_string()),
            Bind::Number(since),
            Bind::Number(created_at),
            Bind::Text(id),
            Bind::Number(batch),
        ];
        Ok(bound(sql, &binds).fetch_all(&self.pool).await?)
    }

    async fn remove_whole(&self, ids: &[String], since: i64) -> Result<(u64, u64), StoreError> {
        let _turn = self.turn().await;
        let mut transaction = self.pool.begin_with(self.dialect.begin()).await?;
        let places: Vec<String> = (0..ids.len()).map(|at| self.dialect.place(at + 2)).collect();
        // Asked again, since a redrive may have begun a new life meanwhile.
        let sql = format!(
            "delete from deliveries where final > 0 and updated_at < {} and id in ({}) returning id",
            self.dialect.place(1),
            places.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(since);
        for id in ids {
            query = query.bind(id.clone());
        }
        let gone = query.fetch_all(&mut *transaction).await?;
        let mut outcomes = 0;
        if !gone.is_empty() {
            let places = self.dialect.placeholders(1, gone.len());
            let sql = format!("delete from outcomes where delivery_id in {places}");
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
            for row in &gone {
                query = query.bind(row.try_get::<String, _>("id")?);
            }
            outcomes = query.execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        Ok((gone.len() as u64, outcomes))
    }

    /// Some steps of a delivery that has too many for a batch; it goes when they are gone.
    async fn remove_steps(&self, id: &str, since: i64) -> Result<u64, StoreError> {
        let _turn = self.turn().await;
        let mut transaction = self.pool.begin_with(self.dialect.begin()).await?;
        let sql = "update deliveries set final = final where id = $1 and final > 0 and updated_at < $2";
        let held = sqlx::query(sql).bind(id.to_owned()).bind(since).execute(&mut *transaction).await?;
        if held.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(0);
        }
        let sql = "delete from outcomes where (delivery_id, redrive, attempt, postponed, state) in \
                   (select delivery_id, redrive, attempt, postponed, state from outcomes where delivery_id = $1 \
                    order by at limit $2)";
        let removed = sqlx::query(sql)
            .bind(id.to_owned())
            .bind(i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(removed.rows_affected())
    }
}

impl Place {
    const START: Self = Self { created_at: i64::MIN, id: String::new() };
}

/// Those that ended before `since`, as many as a batch may remove with their steps.
fn choose(rows: &[AnyRow], since: i64) -> Result<Chosen, StoreError> {
    let mut chosen = Chosen::default();
    let mut left = BATCH_ROWS;
    for row in rows {
        let id: String = row.try_get("id")?;
        let (is_final, updated_at) =
            (row.try_get::<i64, _>("final")? > 0, row.try_get::<i64, _>("updated_at")?);
        if is_final && updated_at < since {
            let needed = usize::try_from(row.try_get::<i64, _>("steps")?).unwrap_or_default() + 1;
            if needed > left {
                chosen.of_one = (left == BATCH_ROWS).then_some(id);
                chosen.more = true;
                return Ok(chosen);
            }
            left -= needed;
            chosen.ids.push(id.clone());
        }
        chosen.until = Some(Place { created_at: row.try_get("created_at")?, id });
    }
    Ok(chosen)
}
