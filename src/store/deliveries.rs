//! Reading the history: lists by any combination of filters, newest first, and one delivery with its steps.

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Store, StoreError, time};
use crate::channel::Kind;
use crate::event::Severity;
use crate::ids::{ChannelId, DeliveryId, Recipient, RuleId, WorkspaceId};
use crate::outcome::{Reason, State};

/// What to list. Everything that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub workspace: Option<WorkspaceId>,
    /// Any of them; empty: all.
    pub status: Vec<State>,
    pub channel: Option<ChannelId>,
    pub kind: Option<Kind>,
    pub rule: Option<RuleId>,
    /// The event's id.
    pub event: Option<String>,
    pub event_type: Option<String>,
    pub recipient: Option<Recipient>,
    pub severity: Option<Severity>,
    /// The delivery that they were made in place of.
    pub fallback_of: Option<DeliveryId>,
    /// First recorded at or after.
    pub since: Option<Timestamp>,
    /// First recorded before.
    pub until: Option<Timestamp>,
}

/// A place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    created_at: i64,
    id: String,
}

impl Cursor {
    #[must_use]
    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(format!("{}.{}", self.created_at, self.id).as_bytes())
    }

    /// None for a text that is no cursor of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (created_at, id) = text.split_once('.')?;
        Some(Self { created_at: created_at.parse().ok()?, id: DeliveryId::parse(id).ok()?.to_string() })
    }
}

/// A delivery as the history has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    pub id: String,
    pub workspace: String,
    pub event_id: String,
    pub event_source: String,
    pub event_type: String,
    pub event_time: Timestamp,
    pub rule: Option<String>,
    pub scope: String,
    pub channel: String,
    pub kind: Option<String>,
    pub recipient: Option<String>,
    pub severity: String,
    pub title: String,
    pub body: String,
    pub link: Option<String>,
    pub status: String,
    pub reason: String,
    pub detail: Option<String>,
    pub code: Option<i64>,
    pub provider_id: Option<String>,
    pub attempts: i64,
    pub redrive: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub next_at: Option<Timestamp>,
    pub fallback_of: Option<String>,
}

/// Where a delivery stands, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub state: State,
    pub reason: Reason,
    pub detail: Option<String>,
    /// How many lives it had before this one.
    pub redrive: u32,
}

/// One step of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeRow {
    pub state: String,
    pub reason: String,
    pub detail: Option<String>,
    pub code: Option<i64>,
    pub provider_id: Option<String>,
    /// 0 when nothing was tried.
    pub attempt: i64,
    pub redrive: i64,
    pub at: Timestamp,
    pub duration_ms: Option<i64>,
    pub next_at: Option<Timestamp>,
    /// How often the same step was reported again.
    pub repeats: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub deliveries: Vec<DeliveryRow>,
    /// None at the end.
    pub next: Option<Cursor>,
}

/// A bound value of either type there is.
#[derive(Debug, Clone)]
pub(super) enum Bind {
    Text(String),
    Number(i64),
}

/// The conditions of a filter and their values, in the order of their placeholders.
pub(super) fn conditions(filter: &Filter) -> (Vec<String>, Vec<Bind>) {
    let (mut parts, mut binds) = (Vec::new(), Vec::new());
    let texts = [
        ("workspace", filter.workspace.as_ref().map(ToString::to_string)),
        ("channel", filter.channel.as_ref().map(ToString::to_string)),
        ("kind", filter.kind.map(|kind| kind.to_string())),
        ("rule", filter.rule.as_ref().map(ToString::to_string)),
        ("event_id", filter.event.clone()),
        ("event_type", filter.event_type.clone()),
        ("recipient", filter.recipient.as_ref().map(ToString::to_string)),
        ("fallback_of", filter.fallback_of.as_ref().map(ToString::to_string)),
        ("severity", filter.severity.map(|severity| severity.as_str().to_owned())),
    ];
    for (column, value) in texts {
        if let Some(value) = value {
            binds.push(Bind::Text(value));
            parts.push(format!("{column} = ${}", binds.len()));
        }
    }
    if !filter.status.is_empty() {
        // Our own words, so that the index over the unsettled ones can serve.
        let words: Vec<String> = filter.status.iter().map(|state| format!("'{state}'")).collect();
        parts.push(format!("status in ({})", words.join(", ")));
    }
    for (comparison, moment) in [(">=", filter.since), ("<", filter.until)] {
        if let Some(moment) = moment {
            binds.push(Bind::Number(moment.as_millisecond()));
            parts.push(format!("created_at {comparison} ${}", binds.len()));
        }
    }
    (parts, binds)
}

pub(super) fn where_clause(parts: &[String]) -> String {
    if parts.is_empty() { String::new() } else { format!(" where {}", parts.join(" and ")) }
}

impl Store {
    /// A page of the history, newest first. A page never skips or repeats what was there when the list began.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let (mut parts, mut binds) = conditions(filter);
        if let Some(cursor) = after {
            binds.push(Bind::Number(cursor.created_at));
            let at = binds.len();
            binds.push(Bind::Text(cursor.id.clone()));
            let id = binds.len();
            parts.push(format!("(created_at < ${at} or (created_at = ${at} and id < ${id}))"));
        }
        // One more than asked for tells whether there is a next page.
        binds.push(Bind::Number(i64::from(limit) + 1));
        let sql = format!(
            "select * from deliveries{} order by created_at desc, id desc limit ${}",
            where_clause(&parts),
            binds.len()
        );
        let rows = super::stats::bound(&sql, &binds).fetch_all(&self.pool).await?;
        let mut deliveries = rows.iter().map(delivery).collect::<Result<Vec<_>, _>>()?;
        let more = deliveries.len() > limit as usize;
        deliveries.truncate(limit as usize);
        let last = deliveries.last().filter(|_| more);
        let next = last.map(|row| Cursor { created_at: row.created_at.as_millisecond(), id: row.id.clone() });
        Ok(Page { deliveries, next })
    }

    /// One delivery, if it is of that workspace.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn get(
        &self,
        workspace: Option<&WorkspaceId>,
        id: &DeliveryId,
    ) -> Result<Option<DeliveryRow>, StoreError> {
        let row = sqlx::query("select * from deliveries where id = $1").bind(id.to_string());
        let row = row.fetch_optional(&self.pool).await?;
        let row = row.as_ref().map(delivery).transpose()?;
        Ok(row.filter(|row| workspace.is_none_or(|workspace| row.workspace == workspace.as_str())))
    }

    /// Where these deliveries stand, of those that the history has.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn seen(
        &self,
        workspace: &WorkspaceId,
        ids: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Seen>, StoreError> {
        let mut seen = HashMap::new();
        for some in ids.chunks(self.dialect.rows_per_statement()) {
            let places: Vec<String> = (0..some.len()).map(|at| format!("${}", at + 2)).collect();
            let places = places.join(", ");
            let sql = format!(
                "select id, status, reason, detail, redrive from deliveries where workspace = $1 and id in ({places})"
            );
            let ids = some.iter().map(|id| Bind::Text(id.to_string()));
            let binds: Vec<Bind> = [Bind::Text(workspace.to_string())].into_iter().chain(ids).collect();
            for row in super::stats::bound(&sql, &binds).fetch_all(&self.pool).await? {
                let (id, found) = stands(&row)?;
                seen.insert(id, found);
            }
        }
        Ok(seen)
    }

    /// The steps of a delivery, oldest first.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn timeline(&self, id: &DeliveryId) -> Result<Vec<OutcomeRow>, StoreError> {
        let sql = "select * from outcomes where delivery_id = $1 order by at, redrive, attempt, postponed";
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_all(&self.pool).await?;
        rows.iter().map(outcome).collect()
    }
}

fn stands(row: &AnyRow) -> Result<(DeliveryId, Seen), StoreError> {
    let broken = |what: &str| StoreError::Broken(format!("{what} of a delivery is unknown"));
    let (id, state, reason): (String, String, String) =
        (row.try_get("id")?, row.try_get("status")?, row.try_get("reason")?);
    let seen = Seen {
        state: State::parse(&state).ok_or_else(|| broken("the state"))?,
        reason: Reason::parse(&reason).ok_or_else(|| broken("the reason"))?,
        detail: row.try_get("detail")?,
        redrive: u32::try_from(row.try_get::<i64, _>("redrive")?).unwrap_or(u32::MAX),
    };
    Ok((DeliveryId::parse(&id).map_err(|_| broken("the id"))?, seen))
}

fn delivery(row: &AnyRow) -> Result<DeliveryRow, StoreError> {
    Ok(DeliveryRow {
        id: row.try_get("id")?,
        workspace: row.try_get("workspace")?,
        event_id: row.try_get("event_id")?,
        event_source: row.try_get("event_source")?,
        event_type: row.try_get("event_type")?,
        event_time: time(row.try_get("event_time")?),
        rule: row.try_get("rule")?,
        scope: row.try_get("scope")?,
        channel: row.try_get("channel")?,
        kind: row.try_get("kind")?,
        recipient: row.try_get("recipient")?,
        severity: row.try_get("severity")?,
        title: row.try_get("title")?,
        body: row.try_get("body")?,
        link: row.try_get("link")?,
        status: row.try_get("status")?,
        reason: row.try_get("reason")?,
        detail: row.try_get("detail")?,
        code: row.try_get("code")?,
        provider_id: row.try_get("provider_id")?,
        attempts: row.try_get("attempts")?,
        redrive: row.try_get("redrive")?,
        created_at: time(row.try_get("created_at")?),
        updated_at: time(row.try_get("updated_at")?),
        next_at: row.try_get::<Option<i64>, _>("next_at")?.map(time),
        fallback_of: row.try_get("fallback_of")?,
    })
}

fn outcome(row: &AnyRow) -> Result<OutcomeRow, StoreError> {
    Ok(OutcomeRow {
        state: row.try_get("state")?,
        reason: row.try_get("reason")?,
        detail: row.try_get("detail")?,
        code: row.try_get("code")?,
        provider_id: row.try_get("provider_id")?,
        attempt: row.try_get("attempt")?,
        redrive: row.try_get("redrive")?,
        at: time(row.try_get("at")?),
        duration_ms: row.try_get("duration_ms")?,
        next_at: row.try_get::<Option<i64>, _>("next_at")?.map(time),
        repeats: row.try_get("repeats")?,
    })
}
