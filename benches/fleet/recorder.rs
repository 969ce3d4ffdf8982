//! The recorder against multi-row inserts of the same rows into the same tables, on SQLite and on Postgres.

use std::time::{Duration, Instant};

use bugle::bus::Names;
use bugle::outcome::{Outcome, Reason, State, Verdict};
use bugle::store::Store;
use jiff::Timestamp;
use serde_json::json;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, Transaction};
use testbed::broker::NatsServer;
use testbed::{Folder, postgres};

use crate::fleet::{Fleet, Role, event};
use crate::report::{Goal, Report};
use crate::worker::delivery;
use crate::{Anything, PATIENCE, PAYLOADS, ROUNDS, median, per_second};

const SECTION: &str = "recorder";
const OUTCOMES: u64 = 60_000;
/// A `sent` outcome is one row of the delivery and one of its step.
const ROWS: u64 = 2;
/// Outcomes of one transaction, as the recorder has them.
const BATCH: u64 = 1_000;

pub struct Database {
    pub name: &'static str,
    /// Rows of one statement: the best for this database.
    pub rows: u64,
    pragmas: &'static str,
}

pub const SQLITE: Database =
    Database { name: "SQLite", rows: 50, pragmas: "pragma journal_mode = wal; pragma synchronous = full" };
pub const POSTGRES: Database = Database { name: "Postgres", rows: 100, pragmas: "select 1" };

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    for database in [SQLITE, POSTGRES] {
        let (mut ours, mut limits, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (Some(url), Some(other)) = (fresh(&database), fresh(&database)) else {
                println!("  no PostgreSQL: left out");
                return Ok(());
            };
            let (rate, cpu) = record(&server, url.0.clone()).await?;
            ours.push(rate);
            cpus.push(cpu);
            limits.push(insert(&database, &other.0).await?);
        }
        let (ours, limit, name) = (median(ours), median(limits), database.name);
        report.state(SECTION, format!("{name}, from the stream"), ours, "rows/s");
        report.state(SECTION, format!("{name}, bare multi-row inserts"), limit, "rows/s");
        report.note(SECTION, format!("{name}, ratio"), ours / limit, "", Goal::AtLeast(0.8));
        report.state(SECTION, format!("{name}, CPU"), median(cpus), "s/1,000");
    }
    Ok(())
}

/// A URL, and the folder that goes with it.
pub fn fresh(database: &Database) -> Option<(String, Option<Folder>)> {
    if database.name == SQLITE.name {
        let folder = Folder::new();
        let url = format!("sqlite://{}?mode=rwc", folder.join("history.db").display());
        return Some((url, Some(folder)));
    }
    Some((postgres::fresh_database()?, None))
}

/// Rows a second from the stream into the tables, and CPU seconds for a thousand outcomes.
async fn record(server: &NatsServer, url: String) -> Anything<(f64, f64)> {
    let mut fleet = Fleet::set_up(server, Some(url.clone()), &json!({})).await?;
    let names = Names::new(&fleet.prefix)?;
    fleet
        .publish_all((0..OUTCOMES).map(|number| {
            let outcome = sent(number);
            let body = serde_json::to_vec(&outcome).unwrap_or_default();
            (names.outcome(&outcome), number.to_string(), body)
        }))
        .await?;
    fleet.spawn(Role::Recorder);
    let rate = recorded(&url, &fleet.stream("RECORDS"), OUTCOMES).await? * ROWS as f64;
    let cpu = fleet.usage(Role::Recorder).cpu_seconds * 1_000.0 / OUTCOMES as f64;
    fleet.tear_down().await?;
    Ok((rate, cpu))
}

/// Waits until so many records are in the database; records a second once the first tenth is over.
pub async fn recorded(url: &str, stream: &str, wanted: u64) -> Anything<f64> {
    let store = Store::open(url, 1)?;
    let (started, mut first) = (Instant::now(), None);
    loop {
        let at = store.position(stream).await?.map_or(0, |position| position.seq);
        if first.is_none() && at >= wanted / 10 {
            first = Some((started.elapsed(), at));
        }
        if let (Some((since, before)), true) = (first, at >= wanted) {
            return Ok(per_second(wanted.saturating_sub(before), started.elapsed().saturating_sub(since)));
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("the recorder stands at {at} of {wanted}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn sent(number: u64) -> Outcome {
    let verdict = Verdict { code: Some(200), ..Verdict::new(State::Sent, Reason::Accepted) };
    let took = Some(Duration::from_millis(1));
    Outcome::of(&delivery(number, event(number, PAYLOADS[0])), verdict, took, Timestamp::now())
}

/// One connection to a database with our tables.
pub async fn connect(database: &Database, url: &str) -> Anything<AnyPool> {
    Store::open(url, 1)?.migrate().await?;
    let pragmas = database.pragmas;
    let options = AnyPoolOptions::new().max_connections(1).after_connect(move |connection, _| {
        Box::pin(async move { connection.execute(pragmas).await.map(|_| ()) })
    });
    Ok(options.connect(url).await?)
}

/// The same rows, made beforehand, inserted in statements and transactions of the same size.
async fn insert(database: &Database, url: &str) -> Anything<f64> {
    let pool = connect(database, url).await?;
    let outcomes: Vec<Outcome> = (0..OUTCOMES).map(sent).collect();
    let started = Instant::now();
    for batch in outcomes.chunks(BATCH as usize) {
        let mut transaction = pool.begin().await?;
        for rows in batch.chunks(database.rows as usize) {
            insert_deliveries(database, &mut transaction, rows).await?;
        }
        for rows in batch.chunks(database.rows as usize) {
            insert_outcomes(database, &mut transaction, rows).await?;
        }
        transaction.commit().await?;
    }
    let rate = per_second(OUTCOMES * ROWS, started.elapsed());
    pool.close().await;
    Ok(rate)
}

async fn insert_deliveries(
    database: &Database,
    transaction: &mut Transaction<'_, Any>,
    rows: &[Outcome],
) -> Anything<()> {
    let sql = format!(
        "insert into deliveries (id, workspace, event_id, event_source, event_type, event_time, rule, scope, \
         channel, kind, severity, title, body, status, reason, code, attempts, redrive, postponed, final, \
         created_at, updated_at) values {}",
        placeholders(database, rows.len(), 22)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for outcome in rows {
        query = query
            .bind(outcome.delivery.to_string())
            .bind("default".to_owned())
            .bind(outcome.event.id.clone())
            .bind(outcome.event.source.clone())
            .bind(outcome.event.event_type.as_str().to_owned())
            .bind(outcome.event.time.as_millisecond())
            .bind("rule-7".to_owned())
            .bind(outcome.scope.clone())
            .bind("sink".to_owned())
            .bind("webhook".to_owned())
            .bind("info".to_owned())
            .bind(outcome.title.clone())
            .bind(outcome.body.clone())
            .bind("sent".to_owned())
            .bind("accepted".to_owned())
            .bind(200_i64)
            .bind(1_i64)
            .bind(0_i64)
            .bind(0_i64)
            .bind(3_i64)
            .bind(outcome.at.as_millisecond())
            .bind(outcome.at.as_millisecond());
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}

async fn insert_outcomes(
    database: &Database,
    transaction: &mut Transaction<'_, Any>,
    rows: &[Outcome],
) -> Anything<()> {
    let sql = format!(
        "insert into outcomes (delivery_id, redrive, attempt, postponed, state, reason, code, at, duration_ms, \
         repeats) values {}",
        placeholders(database, rows.len(), 10)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for outcome in rows {
        query = query
            .bind(outcome.delivery.to_string())
            .bind(0_i64)
            .bind(1_i64)
            .bind(0_i64)
            .bind("sent".to_owned())
            .bind("accepted".to_owned())
            .bind(200_i64)
            .bind(outcome.at.as_millisecond())
            .bind(1_i64)
            .bind(0_i64);
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}

pub fn placeholders(database: &Database, rows: usize, columns: usize) -> String {
    let one =
        |number: usize| if database.name == SQLITE.name { "?".to_owned() } else { format!("${number}") };
    let row = |row: usize| {
        let numbers: Vec<String> = (1..=columns).map(|column| one(row * columns + column)).collect();
        format!("({})", numbers.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}
