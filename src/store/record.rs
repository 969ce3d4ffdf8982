//! Writing outcomes, exactly once: a batch's rows and the step of the position over it, in one transaction.

use std::collections::HashMap;

use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::merge::{BEATS, beats, rank};
use super::{Dialect, Store, StoreError, clean, inbox, number};
use crate::channel::Kind;
use crate::ids::{Recipient, RuleId};
use crate::notification::change::Announcement;
use crate::notification::item::Item;
use crate::outcome::Outcome;

/// Up to where a stream is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub stream: String,
    pub epoch: String,
    pub seq: u64,
}

/// What is written at once.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub outcomes: Vec<Outcome>,
    pub items: Vec<Item>,
}

/// Whether the step was ours.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// With what changed in inboxes.
    Done(Vec<Announcement>),
    /// Somebody else moved the position first: nothing was written.
    LostRace,
}

/// What the rows of one batch come to.
struct Folded<'a> {
    standing: Vec<Standing<'a>>,
    /// For each step: its first report, and how many more there were.
    steps: Vec<(&'a Outcome, i64)>,
}

/// One delivery's row.
struct Standing<'a> {
    /// What says where it stands.
    outcome: &'a Outcome,
    /// When its first outcome was recorded.
    created_at: i64,
    /// The tries of this life so far: an outcome without a try does not know them.
    attempts: u32,
}

impl<'a> Standing<'a> {
    fn new(outcome: &'a Outcome) -> Self {
        Self { outcome, created_at: outcome.at.as_millisecond(), attempts: outcome.attempt }
    }

    fn hear(&mut self, outcome: &'a Outcome) {
        if beats(outcome, self.outcome) {
            let same_life = outcome.redrive == self.outcome.redrive;
            self.attempts = if same_life { self.attempts.max(outcome.attempt) } else { outcome.attempt };
            self.outcome = outcome;
        }
    }
}

impl Store {
    /// Where the recorder of a stream stands; None before its first batch.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn position(&self, stream: &str) -> Result<Option<Position>, StoreError> {
        let row = sqlx::query("select epoch, seq from recorder where stream = $1")
            .bind(stream.to_owned())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let seq: i64 = row.try_get("seq")?;
        let seq = u64::try_from(seq).unwrap_or_default();
        Ok(Some(Position { stream: stream.to_owned(), epoch: row.try_get("epoch")?, seq }))
    }

    /// Writes a batch and moves the position from `from` to `to`, or does neither.
    ///
    /// # Errors
    /// When the database is not available; doing it again is safe.
    pub async fn record(&self, from: &Position, to: u64, batch: &Batch) -> Result<Recorded, StoreError> {
        let _turn = self.turn().await;
        let mut transaction = self.pool.begin_with(self.dialect.begin()).await?;
        // The step first: it locks the position, and a loser has written nothing.
        if !step(&mut transaction, from, &Position { seq: to, ..from.clone() }).await? {
            transaction.rollback().await?;
            return Ok(Recorded::LostRace);
        }
        let folded = fold(&batch.outcomes);
        for rows in folded.standing.chunks(self.dialect.rows_per_statement()) {
            upsert_deliveries(&mut transaction, self.dialect, rows).await?;
        }
        for rows in folded.steps.chunks(self.dialect.rows_per_statement()) {
            insert_outcomes(&mut transaction, self.dialect, rows).await?;
        }
        let announcements = inbox::put::put(&mut transaction, self.dialect, &batch.items).await?;
        transaction.commit().await?;
        Ok(Recorded::Done(announcements))
    }

    /// Moves the position without rows: the stream was made anew, or lost its end.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn reset(&self, from: &Position, to: &Position) -> Result<Recorded, StoreError> {
        let _turn = self.turn().await;
        let mut transaction = self.pool.begin_with(self.dialect.begin()).await?;
        let moved = step(&mut transaction, from, to).await?;
        transaction.commit().await?;
        Ok(if moved { Recorded::Done(Vec::new()) } else { Recorded::LostRace })
    }
}

/// True when the position was `from` and is `to` now.
async fn step(
    transaction: &mut Transaction<'_, Any>,
    from: &Position,
    to: &Position,
) -> Result<bool, StoreError> {
    if from.seq == 0 {
        sqlx::query(
            "insert into recorder (stream, epoch, seq) values ($1, $2, 0) on conflict (stream) do nothing",
        )
        .bind(from.stream.clone())
        .bind(from.epoch.clone())
        .execute(&mut **transaction)
        .await?;
    }
    let moved =
        sqlx::query("update recorder set epoch = $1, seq = $2 where stream = $3 and epoch = $4 and seq = $5")
            .bind(to.epoch.clone())
            .bind(number(to.seq))
            .bind(from.stream.clone())
            .bind(from.epoch.clone())
            .bind(number(from.seq))
            .execute(&mut **transaction)
            .await?;
    Ok(moved.rows_affected() == 1)
}

fn fold(batch: &[Outcome]) -> Folded<'_> {
    let mut standing: Vec<Standing<'_>> = Vec::with_capacity(batch.len());
    let mut steps: Vec<(&Outcome, i64)> = Vec::with_capacity(batch.len());
    let (mut by_delivery, mut by_step) = (HashMap::new(), HashMap::new());
    for outcome in batch {
        match by_delivery.get(&outcome.delivery) {
            None => {
                by_delivery.insert(&outcome.delivery, standing.len());
                standing.push(Standing::new(outcome));
            }
            Some(index) => standing[*index].hear(outcome),
        }
        let step = (&outcome.delivery, outcome.redrive, outcome.attempt, outcome.postponed, outcome.state);
        match by_step.get(&step) {
            None => {
                by_step.insert(step, steps.len());
                steps.push((outcome, 0));
            }
            Some(index) => steps[*index].1 += 1,
        }
    }
    Folded { standing, steps }
}

const DELIVERY_COLUMNS: &str = "id, workspace, event_id, event_source, event_type, event_time, rule, scope, channel, kind, \
    recipient, severity, title, body, link, status, reason, detail, code, provider_id, attempts, redrive, postponed, final, \
    created_at, updated_at, next_at, fallback_of";
const DELIVERY_COLUMNS_COUNT: usize = 28;

async fn upsert_deliveries(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    rows: &[Standing<'_>],
) -> Result<(), StoreError> {
    let values = dialect.placeholders(rows.len(), DELIVERY_COLUMNS_COUNT);
    let sql = format!(
        "insert into deliveries ({DELIVERY_COLUMNS}) values {values} on conflict (id) do update set \
         status = excluded.status, reason = excluded.reason, detail = excluded.detail, code = excluded.code, \
         provider_id = excluded.provider_id, redrive = excluded.redrive, postponed = excluded.postponed, \
         final = excluded.final, updated_at = excluded.updated_at, next_at = excluded.next_at, kind = excluded.kind, \
         attempts = case when excluded.redrive = deliveries.redrive and deliveries.attempts > excluded.attempts \
             then deliveries.attempts else excluded.attempts end \
         where {BEATS}"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for Standing { outcome, created_at, attempts } in rows {
        let event = &outcome.event;
        query = query
            .bind(outcome.delivery.to_string())
            .bind(outcome.workspace.to_string())
            .bind(event.id.clone())
            .bind(event.source.clone())
            .bind(event.event_type.as_str().to_owned())
            .bind(event.time.as_millisecond())
            .bind(outcome.rule.as_ref().map(RuleId::to_string))
            .bind(outcome.scope.clone())
            .bind(outcome.channel.to_string())
            .bind(outcome.kind.map(|kind| Kind::as_str(kind).to_owned()))
            .bind(outcome.recipient.as_ref().map(Recipient::to_string))
            .bind(outcome.severity.as_str().to_owned())
            .bind(clean(&outcome.title))
            .bind(clean(&outcome.body))
            .bind(outcome.link.as_deref().map(clean))
            .bind(outcome.state.as_str().to_owned())
            .bind(outcome.reason.as_str().to_owned())
            .bind(outcome.detail.as_deref().map(clean))
            .bind(outcome.code.map(i64::from))
            .bind(outcome.provider_id.as_deref().map(clean))
            .bind(i64::from(*attempts))
            .bind(i64::from(outcome.redrive))
            .bind(i64::from(outcome.postponed))
            .bind(rank(outcome.state))
            .bind(*created_at)
            .bind(outcome.at.as_millisecond())
            .bind(outcome.next_at.map(jiff::Timestamp::as_millisecond))
            .bind(outcome.fallback_of.as_ref().map(ToString::to_string));
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}

const OUTCOME_COLUMNS: &str = "delivery_id, redrive, attempt, postponed, state, reason, detail, code, provider_id, at, duration_ms, next_at, repeats";
const OUTCOME_COLUMNS_COUNT: usize = 13;

async fn insert_outcomes(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    rows: &[(&Outcome, i64)],
) -> Result<(), StoreError> {
    let values = dialect.placeholders(rows.len(), OUTCOME_COLUMNS_COUNT);
    let sql = format!(
        "insert into outcomes ({OUTCOME_COLUMNS}) values {values} \
         on conflict (delivery_id, redrive, attempt, postponed, state) \
         do update set repeats = outcomes.repeats + 1 + excluded.repeats"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (outcome, repeats) in rows {
        query = query
            .bind(outcome.delivery.to_string())
            .bind(i64::from(outcome.redrive))
            .bind(i64::from(outcome.attempt))
            .bind(i64::from(outcome.postponed))
            .bind(outcome.state.as_str().to_owned())
            .bind(outcome.reason.as_str().to_owned())
            .bind(outcome.detail.as_deref().map(clean))
            .bind(outcome.code.map(i64::from))
            .bind(outcome.provider_id.as_deref().map(clean))
            .bind(outcome.at.as_millisecond())
            .bind(outcome.duration_ms.map(number))
            .bind(outcome.next_at.map(jiff::Timestamp::as_millisecond))
            .bind(*repeats);
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}
