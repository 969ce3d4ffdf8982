//! Gathers what a run left behind: the history by psql, the records and dead letters from their streams, the receipts from
//! the receivers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::message::Message;
use futures_util::StreamExt;
use serde_json::Value;

use super::fleet::Fleet;
use super::load::{Ledger, lock};
use super::log::{Letter, Log, Record, Row, Step};
use crate::support::wire::Wire;
use crate::support::{LATER, pause};

const LOOK: Duration = Duration::from_millis(250);

/// Waits until nothing is queued, nothing is timed, and everything is recorded; says what is left when the patience is over.
pub async fn quiet(fleet: &mut Fleet, patience: Duration) -> Vec<String> {
    let began = Instant::now();
    loop {
        fleet.watch();
        let left = match tokio::time::timeout(Duration::from_secs(10), left(fleet)).await {
            Ok(Ok(left)) => left,
            Ok(Err(error)) => vec![error],
            Err(_) => vec!["the broker does not answer".to_owned()],
        };
        if left.is_empty() || began.elapsed() > patience {
            return left;
        }
        pause(LOOK).await;
    }
}

async fn left(fleet: &Fleet) -> Result<Vec<String>, String> {
    let wire = &fleet.wire;
    let mut left = Vec::new();
    let events = wire.js.get_stream(wire.stream_name("EVENTS")).await.map_err(|error| error.to_string())?;
    let router = events.consumer_info("router").await.map_err(|error| error.to_string())?;
    let open = router.num_pending + router.num_ack_pending as u64;
    if open > 0 {
        left.push(format!("{open} events are not routed"));
    }
    let queued = wire.messages("DELIVERIES").await;
    if queued > 0 {
        let waiting = queue(wire).await.map_err(|error| error.to_string())?;
        if !waiting.is_empty() {
            left.push(format!("deliveries are queued or timed: {}", waiting.join("; ")));
        }
    }
    let name = wire.stream_name("RECORDS");
    let records = wire.js.get_stream(&name).await.map_err(|error| error.to_string())?;
    let last = records.cached_info().state.last_sequence;
    let position = sql(fleet, format!("select seq from recorder where stream = '{name}'")).await?;
    if position.trim() != last.to_string() {
        left.push(format!("recorded up to {} of {last}", position.trim()));
    }
    Ok(left)
}

/// What is queued or timed and still to be done; what lies there although its consumer has settled it came back from the
/// files of a killed server, and stays until a consumer is made anew.
async fn queue(wire: &Wire) -> Result<Vec<String>, async_nats::Error> {
    let stream = wire.js.get_stream(wire.stream_name("DELIVERIES")).await?;
    let mut floors = Vec::new();
    let mut consumers = stream.consumers();
    while let Some(info) = consumers.next().await {
        let info = info?;
        floors.push((
            info.config.filter_subject.trim_end_matches('>').to_owned(),
            info.ack_floor.stream_sequence,
        ));
    }
    let mut waiting = Vec::new();
    let mut subjects = stream.info_with_subjects(">").await?;
    while let Some(subject) = subjects.next().await {
        let (subject, count) = subject?;
        let last = stream.get_last_raw_message_by_subject(&subject).await?.sequence;
        if !floors.iter().any(|(filter, floor)| subject.starts_with(filter) && last <= *floor) {
            waiting.push(format!("{count} on {subject}, the last is {last}"));
        }
    }
    if !waiting.is_empty() {
        waiting.push(format!("consumers have settled {floors:?}"));
    }
    Ok(waiting)
}

/// Everything that the checker wants to see.
pub async fn gather(fleet: &Fleet, ledger: &Ledger, pending: Vec<String>) -> Log {
    let (events, sends) = (lock(&ledger.events).clone(), lock(&ledger.sends).clone());
    Log {
        events,
        sends,
        receipts: fleet.sink.receipts(),
        records: messages(&fleet.wire, "RECORDS").await.iter().map(record).collect(),
        rows: rows(fleet).await,
        steps: steps(fleet).await,
        letters: messages(&fleet.wire, "DEAD").await.iter().map(letter).collect(),
        faults: fleet.faults(),
        pending,
    }
}

/// All messages of a stream, in their order.
async fn messages(wire: &Wire, stream: &str) -> Vec<Message> {
    let stream = wire.js.get_stream(wire.stream_name(stream)).await.unwrap();
    let count = stream.cached_info().state.messages;
    let consumer = stream.create_consumer(OrderedConfig::default()).await.unwrap();
    let mut incoming = consumer.messages().await.unwrap();
    let mut found = Vec::new();
    while (found.len() as u64) < count {
        let next = tokio::time::timeout(LATER, incoming.next()).await.unwrap().unwrap();
        // The ordered consumer begins anew by itself where it was interrupted.
        let Ok(message) = next else { continue };
        found.push(message);
    }
    found
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn record(message: &Message) -> Record {
    let outcome: Value = serde_json::from_slice(&message.payload).unwrap();
    let stored = message.info().unwrap().published.unix_timestamp_nanos() / 1_000_000;
    Record {
        delivery: text(&outcome["delivery"]),
        state: text(&outcome["state"]),
        reason: text(&outcome["reason"]),
        redrive: number(&outcome["redrive"]),
        attempt: number(&outcome["attempt"]),
        postponed: number(&outcome["postponed"]),
        stored: u64::try_from(stored).unwrap(),
    }
}

fn letter(message: &Message) -> Letter {
    let header = |name: &str| {
        let value = message.headers.as_ref().and_then(|headers| headers.get(name));
        value.map(|value| value.as_str().to_owned())
    };
    if let Some(reason) = header("Bugle-Reason") {
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        return Letter { reason, delivery: None, text };
    }
    let letter: Value = serde_json::from_slice(&message.payload).unwrap();
    let delivery = Some(text(&letter["delivery"]["id"]));
    Letter { reason: text(&letter["reason"]), delivery, text: String::new() }
}

async fn sql(fleet: &Fleet, statement: String) -> Result<String, String> {
    let (postgres, url) = (Arc::clone(&fleet.postgres), fleet.database.clone());
    tokio::task::spawn_blocking(move || postgres.query(&url, &statement)).await.unwrap()
}

async fn json_rows(fleet: &Fleet, statement: &str) -> Vec<Value> {
    let found = sql(fleet, statement.to_owned()).await.unwrap();
    found.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn rows(fleet: &Fleet) -> Vec<Row> {
    let statement = "select json_build_array(id, event_id, rule, channel, title, status, reason, attempts, redrive) from deliveries";
    let row = |row: &Value| Row {
        delivery: text(&row[0]),
        event: text(&row[1]),
        rule: row[2].as_str().map(str::to_owned),
        channel: text(&row[3]),
        title: text(&row[4]),
        status: text(&row[5]),
        reason: text(&row[6]),
        attempts: number(&row[7]),
        redrive: number(&row[8]),
    };
    json_rows(fleet, statement).await.iter().map(row).collect()
}

async fn steps(fleet: &Fleet) -> Vec<Step> {
    let statement = "select json_build_array(delivery_id, redrive, attempt, postponed, state) from outcomes";
    let step = |step: &Value| Step {
        delivery: text(&step[0]),
        redrive: number(&step[1]),
        attempt: number(&step[2]),
        postponed: number(&step[3]),
        state: text(&step[4]),
    };
    json_rows(fleet, statement).await.iter().map(step).collect()
}
