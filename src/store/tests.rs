//! The whole store on both databases: every test runs on a fresh SQLite file and a fresh Postgres database.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use testbed::postgres;

use super::Store;
use super::deliveries::{Cursor, DeliveryRow, Filter};
use super::record::{Batch, Position, Recorded};
use crate::channel::Kind;
use crate::delivery::ENVELOPE_VERSION;
use crate::event::{EventRef, EventType, Severity};
use crate::ids::{ChannelId, DeliveryKey, Recipient, RuleId, WorkspaceId};
use crate::outcome::{Outcome, Reason, State};

const STREAM: &str = "RECORDS";

/// A fresh store on each database that there is.
pub(super) async fn stores() -> Vec<Store> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("bugle-store-{}-{number}.db", std::process::id()));
    let cluster = tokio::task::spawn_blocking(postgres::fresh_database).await.unwrap();
    let mut stores = Vec::new();
    for url in [Some(format!("sqlite://{}?mode=rwc", file.display())), cluster].into_iter().flatten() {
        let store = Store::open(&url, 5).unwrap();
        store.migrate().await.unwrap();
        stores.push(store);
    }
    stores
}

pub(super) fn start() -> Position {
    Position { stream: STREAM.to_owned(), epoch: "1".to_owned(), seq: 0 }
}

pub(super) fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
}

pub(super) fn outcome(number: u32, state: State, attempt: u32) -> Outcome {
    let pick = |words: &[&str]| words[number as usize % words.len()].to_owned();
    let workspace = WorkspaceId::parse(&pick(&["default", "default", "team-b"])).unwrap();
    let channel = ChannelId::parse(&pick(&["hook", "slack", "hook", "tele", "hook"])).unwrap();
    let rule = RuleId::parse(&pick(&["r1", "r2", "r1", "r3"])).unwrap();
    let event = format!("e-{}", number / 3);
    let recipient = number.is_multiple_of(4).then(|| Recipient::parse("ann").unwrap());
    let key = DeliveryKey {
        workspace: &workspace,
        source: "test",
        event: &format!("{event}/{number}"),
        scope: "global",
        rule: Some(&rule),
        channel: &channel,
        recipient: recipient.as_ref(),
    };
    Outcome {
        v: ENVELOPE_VERSION,
        delivery: key.id(),
        event: EventRef {
            id: event,
            source: "test".to_owned(),
            event_type: EventType::parse(&pick(&["task:done", "task:failed"])).unwrap(),
            time: at(0),
            traceparent: None,
            tracestate: None,
            hops: 0,
        },
        rule: (!number.is_multiple_of(7)).then_some(rule),
        scope: "global".to_owned(),
        kind: (!number.is_multiple_of(5)).then_some(Kind::Webhook),
        recipient,
        severity: Severity::ALL[number as usize % 3],
        title: format!("title {number}"),
        body: "body".to_owned(),
        link: None,
        state,
        reason: Reason::Accepted,
        detail: None,
        code: Some(200),
        attempt,
        redrive: 0,
        postponed: 0,
        at: at(i64::from(number / 2) * 1_800_000),
        duration_ms: Some(3),
        next_at: None,
        provider_id: None,
        fallback_of: None,
        workspace,
        channel,
    }
}

pub(super) async fn write(store: &Store, from: u64, batch: &[Outcome]) -> u64 {
    let to = from + batch.len() as u64;
    let position = Position { seq: from, ..start() };
    let batch = Batch { outcomes: batch.to_vec(), items: Vec::new() };
    assert_eq!(store.record(&position, to, &batch).await.unwrap(), Recorded::Done(Vec::new()));
    to
}

async fn all(store: &Store, filter: &Filter, limit: u32) -> Vec<DeliveryRow> {
    let (mut rows, mut cursor): (Vec<DeliveryRow>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = store.list(filter, cursor.as_ref(), limit).await.unwrap();
        rows.extend(page.deliveries);
        let Some(next) = page.next else { return rows };
        cursor = Some(Cursor::parse(&next.text()).unwrap());
    }
}

fn history(count: u32) -> Vec<Outcome> {
    (0..count).map(|number| outcome(number, State::ALL[number as usize % State::ALL.len()], 1)).collect()
}

/// Filters of every combination of fields.
fn filters() -> Vec<Filter> {
    let mut filters = vec![Filter::default()];
    let fields: [fn(&mut Filter); 10] = [
        |filter| filter.workspace = Some(WorkspaceId::default()),
        |filter| filter.status = vec![State::Failed, State::Sent],
        |filter| filter.channel = Some(ChannelId::parse("hook").unwrap()),
        |filter| filter.kind = Some(Kind::Webhook),
        |filter| filter.rule = Some(RuleId::parse("r1").unwrap()),
        |filter| filter.event_type = Some("task:done".to_owned()),
        |filter| filter.recipient = Some(Recipient::parse("ann").unwrap()),
        |filter| filter.severity = Some(Severity::Info),
        |filter| filter.since = Some(at(5 * 1_800_000)),
        |filter| filter.until = Some(at(50 * 1_800_000)),
    ];
    for set in fields {
        let more: Vec<Filter> = filters
            .iter()
            .map(|filter| {
                let mut filter = filter.clone();
                set(&mut filter);
                filter
            })
            .collect();
        filters.extend(more);
    }
    filters.push(Filter { event: Some("e-7".to_owned()), ..Filter::default() });
    filters
}

fn keeps(filter: &Filter, outcome: &Outcome) -> bool {
    filter.workspace.as_ref().is_none_or(|wanted| *wanted == outcome.workspace)
        && (filter.status.is_empty() || filter.status.contains(&outcome.state))
        && filter.channel.as_ref().is_none_or(|wanted| *wanted == outcome.channel)
        && filter.kind.is_none_or(|wanted| Some(wanted) == outcome.kind)
        && filter.rule.as_ref().is_none_or(|wanted| Some(wanted) == outcome.rule.as_ref())
        && filter.event.as_ref().is_none_or(|wanted| *wanted == outcome.event.id)
        && filter.event_type.as_ref().is_none_or(|wanted| wanted == outcome.event.event_type.as_str())
        && filter.recipient.as_ref().is_none_or(|wanted| Some(wanted) == outcome.recipient.as_ref())
        && filter.severity.is_none_or(|wanted| wanted == outcome.severity)
        && filter.since.is_none_or(|since| outcome.at >= since)
        && filter.until.is_none_or(|until| outcome.at < until)
}

#[tokio::test]
async fn every_combination_of_filters_lists_and_counts_what_a_plain_scan_finds() {
    let outcomes = history(120);
    for store in stores().await {
        write(&store, 0, &outcomes).await;
        for filter in filters() {
            let mut expected: Vec<&Outcome> =
                outcomes.iter().filter(|outcome| keeps(&filter, outcome)).collect();
            expected.sort_by_key(|outcome| std::cmp::Reverse((outcome.at, outcome.delivery.to_string())));
            let expected: Vec<String> = expected.iter().map(|outcome| outcome.delivery.to_string()).collect();
            let found: Vec<String> = all(&store, &filter, 17).await.into_iter().map(|row| row.id).collect();
            assert_eq!(found, expected, "{filter:?}");
            let stats = store.stats(&filter).await.unwrap();
            assert_eq!(stats.total, expected.len() as u64, "{filter:?}");
            let by_channel: u64 = stats.channels.iter().flat_map(|(_, _, counts)| counts.values()).sum();
            let by_hour: u64 = stats.hours.iter().flat_map(|(_, counts)| counts.values()).sum();
            assert_eq!((by_channel, by_hour), (stats.total, stats.total), "{filter:?}");
        }
    }
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_deliveries_arrive_and_change() {
    for store in stores().await {
        let old = history(60);
        let mut seq = write(&store, 0, &old).await;
        let (mut seen, mut cursor) = (Vec::new(), None);
        for round in 0.. {
            let page = store.list(&Filter::default(), cursor.as_ref(), 7).await.unwrap();
            seen.extend(page.deliveries.into_iter().map(|row| row.id));
            let Some(next) = page.next else { break };
            cursor = Some(next);
            let newer = [outcome(1_000 + round, State::Sent, 1), outcome(round, State::Sent, 2)];
            seq = write(&store, seq, &newer).await;
        }
        let mut expected: Vec<String> = old.iter().map(|outcome| outcome.delivery.to_string()).collect();
        expected.sort();
        let total = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), total, "a row came twice");
        assert_eq!(seen, expected);
    }
}

/// All outcomes of one delivery's two lives, in an order of chance.
fn shuffled(seed: u64) -> Vec<Outcome> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut steps = Vec::new();
    for redrive in 0..random.u32(1..3) {
        for (state, attempt, postponed) in [
            (State::Scheduled, 0, 0),
            (State::Retrying, 1, 0),
            (State::Retrying, 2, 0),
            (State::Retrying, 2, 1),
            (State::Sent, 3, 0),
            (State::Failed, 3, 0),
            (State::Suppressed, 0, 0),
        ] {
            if random.bool() {
                let at = at(random.i64(0..5));
                steps.push(Outcome { redrive, postponed, at, ..outcome(1, state, attempt) });
            }
        }
    }
    random.shuffle(&mut steps);
    steps
}

#[tokio::test]
async fn it_makes_no_difference_whether_outcomes_come_one_by_one_or_in_one_batch() {
    for (alone, together) in stores().await.into_iter().zip(stores().await) {
        for seed in 0..60 {
            let mut steps = shuffled(seed);
            let workspace = WorkspaceId::parse(&format!("w{seed}")).unwrap();
            for step in &mut steps {
                let event = format!("{seed}");
                let key = DeliveryKey {
                    workspace: &workspace,
                    source: "test",
                    event: &event,
                    scope: "global",
                    rule: None,
                    channel: &step.channel,
                    recipient: None,
                };
                step.delivery = key.id();
                step.workspace = workspace.clone();
            }
            for step in &steps {
                let from = alone.position(STREAM).await.unwrap().map_or(0, |position| position.seq);
                write(&alone, from, std::slice::from_ref(step)).await;
            }
            if !steps.is_empty() {
                let from = together.position(STREAM).await.unwrap().map_or(0, |position| position.seq);
                write(&together, from, &steps).await;
            }
            let filter = Filter { workspace: Some(workspace), ..Filter::default() };
            assert_eq!(
                all(&alone, &filter, 5).await,
                all(&together, &filter, 5).await,
                "seed {seed}: {steps:#?}"
            );
        }
    }
}

#[tokio::test]
async fn sent_stands_against_any_other_final_outcome_whichever_comes_first() {
    for store in stores().await {
        let orders =
            [[State::Suppressed, State::Sent], [State::Sent, State::Failed], [State::Failed, State::Sent]];
        let mut seq = 0;
        for (number, states) in orders.into_iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            for state in states {
                seq = write(&store, seq, &[outcome(number, state, 1)]).await;
            }
            let row = store.get(None, &outcome(number, State::Sent, 1).delivery).await.unwrap().unwrap();
            assert_eq!(row.status.as_str(), "sent", "{states:?}");
        }
    }
}

#[tokio::test]
async fn the_first_of_equal_outcomes_stands_and_a_repeat_is_counted() {
    for store in stores().await {
        let sent = outcome(1, State::Sent, 2);
        let failed = Outcome { state: State::Failed, at: at(9), ..outcome(1, State::Failed, 3) };
        let seq = write(&store, 0, &[outcome(1, State::Retrying, 1), sent.clone(), sent.clone()]).await;
        write(&store, seq, &[sent.clone(), failed]).await;
        let row = store.get(None, &sent.delivery).await.unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 2));
        let timeline = store.timeline(&sent.delivery).await.unwrap();
        let repeats: Vec<(String, i64)> =
            timeline.into_iter().map(|step| (step.state, step.repeats)).collect();
        assert!(repeats.contains(&("sent".to_owned(), 2)), "{repeats:?}");
        assert_eq!(repeats.len(), 3);
    }
}

#[tokio::test]
async fn a_redrive_opens_a_delivery_again_and_its_outcome_stands() {
    for store in stores().await {
        let failed = outcome(1, State::Failed, 8);
        let again = Outcome { redrive: 1, ..outcome(1, State::Scheduled, 0) };
        let seq = write(&store, 0, &[failed.clone(), again]).await;
        let row = store.get(None, &failed.delivery).await.unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.redrive, row.attempts), ("scheduled", 1, 0));
        write(&store, seq, &[Outcome { redrive: 1, ..outcome(1, State::Sent, 1) }, failed.clone()]).await;
        let row = store.get(None, &failed.delivery).await.unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 1));
    }
}

#[tokio::test]
async fn of_two_recorders_at_one_position_one_writes_and_the_other_writes_nothing() {
    for store in stores().await {
        let batch =
            |writer: u32| Batch { outcomes: vec![outcome(100 + writer, State::Sent, 1)], items: Vec::new() };
        let (batches, position): (Vec<Batch>, _) = ((0..8).map(batch).collect(), start());
        let races = batches.iter().map(|batch| store.record(&position, 1, batch));
        let results: Vec<_> = futures_util::future::join_all(races).await;
        let done = results.iter().filter(|result| matches!(result, Ok(Recorded::Done(_)))).count();
        assert_eq!(done, 1, "{results:?}");
        assert_eq!(all(&store, &Filter::default(), 50).await.len(), 1);
        assert_eq!(store.position(STREAM).await.unwrap().unwrap().seq, 1);
    }
}

#[tokio::test]
async fn a_stream_made_anew_starts_over_and_its_old_position_is_worth_nothing() {
    for store in stores().await {
        let seq = write(&store, 0, &history(3)).await;
        let old = Position { seq, ..start() };
        let anew = Position { epoch: "2".to_owned(), seq: 0, ..start() };
        assert_eq!(store.reset(&old, &anew).await.unwrap(), Recorded::Done(Vec::new()));
        assert_eq!(store.record(&old, seq + 1, &Batch::default()).await.unwrap(), Recorded::LostRace);
        assert_eq!(store.record(&anew, 5, &Batch::default()).await.unwrap(), Recorded::Done(Vec::new()));
    }
}

#[tokio::test]
async fn hostile_texts_come_back_as_they_went_in() {
    let texts = ["'; drop table deliveries; --", "\u{202e}abc", "😀 \"quoted\" \\", &"x".repeat(65_536)];
    for store in stores().await {
        for (number, text) in texts.iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            let mut hostile = outcome(number, State::Sent, 1);
            (hostile.title, hostile.detail) = ((*text).to_owned(), Some((*text).to_owned()));
            let from = store.position(STREAM).await.unwrap().map_or(0, |position| position.seq);
            write(&store, from, std::slice::from_ref(&hostile)).await;
            let row = store.get(None, &hostile.delivery).await.unwrap().unwrap();
            assert_eq!((row.title.as_str(), row.detail.as_deref()), (*text, Some(*text)));
        }
        let mut nul = outcome(50, State::Sent, 1);
        nul.body = "a\0b".to_owned();
        write(&store, 4, &[nul.clone()]).await;
        assert_eq!(store.get(None, &nul.delivery).await.unwrap().unwrap().body, "a\u{fffd}b");
    }
}

#[tokio::test]
async fn a_delivery_of_another_workspace_is_not_found() {
    for store in stores().await {
        let sent = outcome(2, State::Sent, 1);
        write(&store, 0, std::slice::from_ref(&sent)).await;
        assert_eq!(sent.workspace.as_str(), "team-b");
        assert!(store.get(Some(&WorkspaceId::default()), &sent.delivery).await.unwrap().is_none());
        assert!(store.get(Some(&sent.workspace), &sent.delivery).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn several_processes_may_migrate_at_once() {
    for store in stores().await {
        let races = (0..4).map(|_| store.migrate());
        for result in futures_util::future::join_all(races).await {
            result.unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable_and_its_password_stays_hidden() {
    let store = Store::open("postgres://someone:secret@127.0.0.1:1/x", 1).unwrap();
    let error =
        tokio::time::timeout(Duration::from_secs(20), store.position("x")).await.unwrap().unwrap_err();
    assert!(matches!(error, super::StoreError::Unavailable(_)), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("secret"));
    let error = Store::open("mysql://someone:secret@h/x", 1).unwrap_err();
    assert!(!format!("{error:?}").contains("secret"));
}
