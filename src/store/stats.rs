//! Counting the history: totals, by channel and by hour.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row};

use super::deliveries::{Bind, Filter, conditions, where_clause};
use super::{Store, StoreError, time};
use crate::outcome::State;

/// Deliveries by where they stand.
pub type Counts = BTreeMap<State, u64>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub total: u64,
    pub states: Counts,
    pub channels: Vec<(String, Option<String>, Counts)>,
    /// By the hour in which they were first recorded, oldest first.
    pub hours: Vec<(Timestamp, Counts)>,
}

impl Store {
    /// Counts what the filter lists.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn stats(&self, filter: &Filter) -> Result<Stats, StoreError> {
        let (parts, binds) = conditions(filter);
        let sql = format!(
            "select channel, kind, status, created_at / 3600000 as hour, cast(count(*) as bigint) as n from deliveries{} \
             group by channel, kind, status, created_at / 3600000",
            where_clause(&parts)
        );
        let rows = bound(&sql, &binds).fetch_all(&self.pool).await?;
        let mut stats = Stats::default();
        let mut channels: BTreeMap<(String, Option<String>), Counts> = BTreeMap::new();
        let mut hours: BTreeMap<i64, Counts> = BTreeMap::new();
        for row in rows {
            let status: String = row.try_get("status")?;
            let state = State::parse(&status)
                .ok_or_else(|| StoreError::Broken(format!("status {status} is unknown")))?;
            let n = u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or_default();
            stats.total += n;
            *stats.states.entry(state).or_default() += n;
            let channel = (row.try_get("channel")?, row.try_get("kind")?);
            *channels.entry(channel).or_default().entry(state).or_default() += n;
            *hours.entry(row.try_get("hour")?).or_default().entry(state).or_default() += n;
        }
        stats.channels =
            channels.into_iter().map(|((channel, kind), counts)| (channel, kind, counts)).collect();
        stats.hours = hours.into_iter().map(|(hour, counts)| (time(hour * 3_600_000), counts)).collect();
        Ok(stats)
    }
}

/// A query whose text this module wrote, with its values bound in order.
pub(super) fn bound<'a>(sql: &str, binds: &[Bind]) -> Query<'a, Any, AnyArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for bind in binds {
        query = match bind {
            Bind::Text(text) => query.bind(text.clone()),
            Bind::Number(number) => query.bind(*number),
        };
    }
    query
}
