//! Notifications into a thousand inboxes: items from the stream into SQL beside bare inserts of the same rows, and the whole chain,
//! event → rule → worker → recorder → SQL, at an offered rate, as fast as it goes, and with full inboxes.

use std::time::{Duration, Instant};

use bugle::bus::Names;
use bugle::ids::Recipient;
use bugle::notification::change::Announcement;
use bugle::notification::item::Item;
use bugle::store::Store;
use futures_util::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{Any, AssertSqlSafe, Transaction};
use testbed::broker::NatsServer;

use crate::chain::steadily;
use crate::fleet::{Fleet, Role, event, publish};
use crate::recorder::{Database, POSTGRES, SQLITE, connect, fresh, placeholders, recorded};
use crate::report::{Goal, Report};
use crate::worker::delivery;
use crate::{Anything, PAYLOADS, ROUNDS, median, now_micros, per_second, percentile};

const SECTION: &str = "inbox";
pub const INBOXES: u64 = 1_000;
const ITEMS: u64 = 50_000;
/// A notification is its own row and one of its change.
const ROWS: u64 = 2;
const BATCH: usize = 1_000;
/// Notifications a second that are asked for, and for how long.
const OFFERED: f64 = 5_000.0;
const SECONDS: u64 = 10;
const WARM_UP: u64 = 2_000;
/// Inboxes that are followed for their latency: more would be work of the bench's own.
const FOLLOWED: u64 = 20;
/// The smallest cap: with it an inbox is full at once.
const FULL: u64 = 10;

pub async fn measure(report: &mut Report) -> Anything<()> {
    let server = NatsServer::start().await;
    for database in [SQLITE, POSTGRES] {
        if fresh(&database).is_none() {
            println!("  no PostgreSQL: left out");
            return Ok(());
        }
        items_alone(report, &server, &database).await?;
        let name = database.name;
        let offered = chain(&server, &database, Load::Offered).await?;
        report.note(
            SECTION,
            format!("{name}, chain at {OFFERED}/s, in SQL"),
            offered.rate,
            "notifications/s",
            Goal::AtLeast(0.97 * OFFERED),
        );
        for (part, words) in [(0.5, "p50"), (0.99, "p99"), (1.0, "max")] {
            let what = format!("{name}, the same, from publish to told live, {words}");
            report.state(SECTION, what, percentile(&offered.told_ms, part), "ms");
        }
        let free = chain(&server, &database, Load::Free).await?;
        let goal = Goal::AtLeast(OFFERED);
        report.note(SECTION, format!("{name}, chain unthrottled"), free.rate, "notifications/s", goal);
        for (role, cpu) in &free.cpu {
            report.state(SECTION, format!("{name}, the same, {role}: CPU"), *cpu, "s/1,000");
        }
        let full = chain(&server, &database, Load::Full).await?;
        report.state(SECTION, format!("{name}, unthrottled into full inboxes"), full.rate, "notifications/s");
        report.state(SECTION, format!("{name}, the same: within the cap after"), full.settled, "s");
    }
    Ok(())
}

/// Rows a second of items alone, and of bare inserts.
async fn items_alone(report: &mut Report, server: &NatsServer, database: &Database) -> Anything<()> {
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (Some(url), Some(other)) = (fresh(database), fresh(database)) else { return Ok(()) };
        ours.push(record(server, url.0.clone()).await?);
        limits.push(insert(database, &other.0).await?);
    }
    let (ours, limit, name) = (median(ours), median(limits), database.name);
    let into_inboxes = format!("{name}, from the stream into 1,000 inboxes");
    report.note(SECTION, into_inboxes, ours / ROWS as f64, "notifications/s", Goal::AtLeast(OFFERED));
    report.state(SECTION, format!("{name}, the same"), ours, "rows/s");
    report.state(SECTION, format!("{name}, bare multi-row inserts of the same"), limit, "rows/s");
    report.note(SECTION, format!("{name}, ratio"), ours / limit, "", Goal::AtLeast(0.5));
    Ok(())
}

pub fn item(number: u64) -> Item {
    let mut delivery = delivery(number, event(number, PAYLOADS[0]));
    delivery.recipient = Recipient::parse(&format!("r-{}", number % INBOXES)).ok();
    Item::of(&delivery, Timestamp::now()).0
}

async fn record(server: &NatsServer, url: String) -> Anything<f64> {
    let mut fleet = Fleet::set_up(server, Some(url.clone()), &json!({})).await?;
    let names = Names::new(&fleet.prefix)?;
    fleet
        .publish_all((0..ITEMS).map(|number| {
            let item = item(number);
            let body = serde_json::to_vec(&item).unwrap_or_default();
            (names.inbox(&item.workspace, &item.recipient), number.to_string(), body)
        }))
        .await?;
    fleet.spawn(Role::Recorder);
    let rate = recorded(&url, &fleet.stream("RECORDS"), ITEMS).await? * ROWS as f64;
    fleet.tear_down().await?;
    Ok(rate)
}

/// The same rows, made beforehand.
async fn insert(database: &Database, url: &str) -> Anything<f64> {
    let pool = connect(database, url).await?;
    let items: Vec<Item> = (0..ITEMS).map(item).collect();
    let started = Instant::now();
    for (number, batch) in items.chunks(BATCH).enumerate() {
        let mut transaction = pool.begin().await?;
        for rows in batch.chunks(database.rows as usize) {
            insert_notifications(database, &mut transaction, rows).await?;
        }
        for (part, rows) in batch.chunks(database.rows as usize).enumerate() {
            let first = number * BATCH + part * database.rows as usize;
            insert_changes(database, &mut transaction, (first, rows)).await?;
        }
        transaction.commit().await?;
    }
    let rate = per_second(ITEMS * ROWS, started.elapsed());
    pool.close().await;
    Ok(rate)
}

async fn insert_notifications(
    database: &Database,
    transaction: &mut Transaction<'_, Any>,
    rows: &[Item],
) -> Anything<()> {
    let sql = format!(
        "insert into notifications (id, workspace, recipient, type, severity, urgency, title, body, metadata, source_type, \
         source_id, source, delivery_id, item, event_time, created_at, updated_at) values {}",
        placeholders(database, rows.len(), 17)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for item in rows {
        query = query
            .bind(item.id.to_string())
            .bind("default".to_owned())
            .bind(item.recipient.to_string())
            .bind(item.event.event_type.as_str().to_owned())
            .bind("info".to_owned())
            .bind(item.urgency.clone())
            .bind(item.title.clone())
            .bind(item.body.clone())
            .bind(item.metadata.to_string())
            .bind(item.source.kind.clone())
            .bind(item.source.id.clone())
            .bind("{}".to_owned())
            .bind(item.delivery.to_string())
            .bind(item.id.to_string())
            .bind(item.event.time.as_millisecond())
            .bind(item.at.as_millisecond())
            .bind(item.at.as_millisecond());
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}

async fn insert_changes(
    database: &Database,
    transaction: &mut Transaction<'_, Any>,
    (first, rows): (usize, &[Item]),
) -> Anything<()> {
    let sql = format!(
        "insert into changes (workspace, recipient, seq, kind, notification_id, unread, at) values {}",
        placeholders(database, rows.len(), 7)
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (number, item) in rows.iter().enumerate() {
        query = query
            .bind("default".to_owned())
            .bind(item.recipient.to_string())
            .bind(i64::try_from(first + number)?)
            .bind("created".to_owned())
            .bind(item.id.to_string())
            .bind(1_i64)
            .bind(item.at.as_millisecond());
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Offered,
    Free,
    Full,
}

struct Run {
    /// Notifications a second, from the first publish until the last is in SQL.
    rate: f64,
    /// From an event's publish until its notification was told, sorted.
    told_ms: Vec<f64>,
    cpu: Vec<(&'static str, f64)>,
    /// Seconds from the last publish until no inbox holds too many.
    settled: f64,
}

fn documents() -> Value {
    json!({
        "channels": [{"id": "inbox", "kind": "in_app"}],
        "rules": [{"id": "inbox", "events": ["bench7:*"], "channels": ["inbox"], "recipients": ["{{to}}"],
            "template": {"title": "{{taskId}} failed", "body": "Task {{taskId}} moved on"}}],
    })
}

/// The data of event `number`, which goes to one of a thousand.
fn data(number: u64) -> Vec<u8> {
    let head = format!(r#"{{"taskId":"t-{number}","to":"r-{}","n":{number},"note":""#, number % INBOXES);
    let filler = "x".repeat(PAYLOADS[0].saturating_sub(head.len() + 2));
    format!(r#"{head}{filler}"}}"#).into_bytes()
}

async fn chain(server: &NatsServer, database: &Database, load: Load) -> Anything<Run> {
    let (url, _folder) = fresh(database).ok_or("no database")?;
    let mut fleet = Fleet::set_up(server, Some(url), &documents()).await?;
    fleet.set("WORKER__KINDS", "in_app");
    if load == Load::Full {
        fleet.set("INBOX__KEEP_PER_RECIPIENT", &FULL.to_string());
    }
    let roles = [Role::Router, Role::Worker, Role::Recorder];
    fleet.start(&roles).await?;
    let subject = format!("{}.events.default.bench7.done", fleet.prefix);
    let message = |number: u64| (subject.clone(), data(number));
    for number in 0..WARM_UP {
        let (subject, body) = message(number);
        publish(&fleet.js, subject, format!("bench-{number}"), body).await?;
    }
    in_sql(&fleet, WARM_UP).await?;
    let told = follow(server, &fleet).await?;
    let before = roles.map(|role| fleet.usage(role).cpu_seconds);
    let (started, count) = (Instant::now(), OFFERED as u64 * SECONDS);
    let numbers = WARM_UP..WARM_UP + count;
    let mut sent_at = std::collections::BTreeMap::new();
    if load == Load::Offered {
        sent_at = steadily(&fleet, OFFERED, numbers, message).await?;
    } else {
        let messages = numbers.map(|number| {
            let (subject, body) = message(number);
            (subject, format!("bench-{number}"), body)
        });
        fleet.publish_all(messages).await?;
    }
    let published = Instant::now();
    in_sql(&fleet, WARM_UP + count).await?;
    let rate = per_second(count, started.elapsed());
    let used = roles.iter().zip(before).map(|(role, before)| {
        (role.word(), (fleet.usage(*role).cpu_seconds - before) * 1_000.0 / count as f64)
    });
    let cpu = used.collect();
    if load == Load::Full {
        within_the_cap(&fleet).await?;
    }
    let settled = published.elapsed().as_secs_f64();
    let mut told_ms: Vec<f64> = told
        .stop()
        .await
        .into_iter()
        .filter_map(|(number, at)| Some(at.saturating_sub(*sent_at.get(&number)?) as f64 / 1_000.0))
        .collect();
    told_ms.sort_by(f64::total_cmp);
    fleet.tear_down().await?;
    Ok(Run { rate, told_ms, cpu, settled })
}

/// Each notification is two records: the item and the outcome of its delivery.
async fn in_sql(fleet: &Fleet, notifications: u64) -> Anything<()> {
    recorded(&fleet.database_url, &fleet.stream("RECORDS"), notifications * 2).await.map(|_| ())
}

async fn within_the_cap(fleet: &Fleet) -> Anything<()> {
    let (store, started) = (Store::open(&fleet.database_url, 1)?, Instant::now());
    loop {
        let fullest =
            store.fullest_inboxes().await?.into_iter().map(|(_, items)| items).max().unwrap_or_default();
        if fullest <= FULL.cast_signed() {
            return Ok(());
        }
        if started.elapsed() > crate::PATIENCE {
            return Err(format!("an inbox holds {fullest}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Listens to some inboxes: which number was told when.
struct Follower {
    stop: tokio::sync::oneshot::Sender<()>,
    heard: tokio::task::JoinHandle<Vec<(u64, u64)>>,
}

impl Follower {
    async fn stop(self) -> Vec<(u64, u64)> {
        // What was told last is on its way.
        tokio::time::sleep(Duration::from_millis(200)).await;
        if self.stop.send(()).is_err() {
            return Vec::new();
        }
        self.heard.await.unwrap_or_default()
    }
}

async fn follow(server: &NatsServer, fleet: &Fleet) -> Anything<Follower> {
    let (client, names) = (async_nats::connect(server.url()).await?, Names::new(&fleet.prefix)?);
    let mut subscriptions = Vec::new();
    for number in 0..FOLLOWED {
        let item = item(number);
        subscriptions.push(client.subscribe(names.live(&item.workspace, &item.recipient)).await?);
    }
    client.flush().await?;
    let mut told = futures_util::stream::select_all(subscriptions);
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        loop {
            let message = tokio::select! {
                message = told.next() => message,
                _ = &mut stopped => None,
            };
            let Some(message) = message else {
                drop(client);
                return heard;
            };
            let at = now_micros();
            let Ok(told) = serde_json::from_slice::<Announcement>(&message.payload) else { continue };
            let shown = told.changes.iter().filter_map(|change| change.notification.as_ref());
            heard.extend(shown.filter_map(|shown| Some((shown.metadata["n"].as_u64()?, at))));
        }
    });
    Ok(Follower { stop, heard })
}
