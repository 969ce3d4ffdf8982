//! Rates that hold for the whole fleet, whoever sends, and what waiting for them costs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, Role, rule, webhook, with};
use crate::support::sink::{Answer, Sink};
use crate::support::telegram::{Message, Telegram};
use crate::support::{LATER, ensure, eventually};

/// A fleet of so many workers with one channel that has these fields too.
async fn fleet(workers: usize, sink: &Sink, more: &Value) -> Bugle {
    let bugle = Bugle::new().await;
    let channel = with(webhook("hook", &sink.url("/hook")), more);
    let urgent = with(rule("urgent", "fire:*", "hook"), &json!({"severity": "critical"}));
    bugle.start_with(&json!({"channels": [channel], "rules": [rule("usual", "a:*", "hook"), urgent]})).await;
    for _ in 1..workers {
        bugle.start_roles(&[Role::Worker]).await;
    }
    bugle
}

async fn publish(bugle: &Bugle, count: usize) {
    let wire = bugle.wire().await;
    for number in 0..count {
        wire.event("a:b", &format!("e-{number}"), &json!({"n": number})).await;
    }
}

/// No window of a second holds more than that.
fn assert_paced(sink: &Sink, most: usize) {
    assert_apart(sink.requests("/hook").iter().map(|request| request.at), most);
}

fn assert_apart(arrivals: impl Iterator<Item = Instant>, most: usize) {
    // The receiver runs beside other tests, and may note one request later than another.
    const NOTED_LATE: Duration = Duration::from_millis(100);
    let mut arrivals: Vec<Instant> = arrivals.collect();
    arrivals.sort_unstable();
    for window in arrivals.windows(most + 1) {
        let length = window[most] - window[0];
        assert!(length + NOTED_LATE >= Duration::from_secs(1), "{} within {length:?}", most + 1);
    }
}

/// Two workers, and a channel to each of these chats of one bot.
async fn one_bot(telegram: &Telegram, chats: &[i64]) -> Bugle {
    let bugle = Bugle::new().await;
    let channel = |(number, chat): (usize, &i64)| {
        with(telegram.channel(*chat, &json!({})), &json!({"id": format!("c-{number}")}))
    };
    let channels: Vec<Value> = chats.iter().enumerate().map(channel).collect();
    let rules: Vec<Value> = (0..chats.len())
        .map(|number| rule(&format!("r-{number}"), &format!("a:{number}"), &format!("c-{number}")))
        .collect();
    bugle.start_with(&json!({"channels": channels, "rules": rules})).await;
    bugle.start_roles(&[Role::Worker]).await;
    bugle
}

/// A figure of all workers together.
async fn summed(bugle: &Bugle, metric: &str) -> f64 {
    let mut sum = 0.0;
    for (_, _, text) in bugle.ask_all("/metrics").await {
        for line in text.lines().filter(|line| line.starts_with(metric)) {
            sum += line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
        }
    }
    sum
}

#[tokio::test]
async fn three_workers_together_stay_under_a_limit_and_lose_nothing() {
    let sink = Sink::start().await;
    let bugle = fleet(3, &sink, &json!({"rateLimit": {"perSecond": 10}})).await;
    publish(&bugle, 60).await;
    let began = Instant::now();
    bugle.api().shows_within(LATER, 60, "status=sent").await;
    let took = began.elapsed();
    assert_paced(&sink, 10);
    assert!(took <= Duration::from_secs(2 * 60 / 10), "{took:?}");
    let counts = sink.counts("/hook");
    assert_eq!((counts.len(), counts.values().max()), (60, Some(&1)));
    // Those who wait for long do so in the broker, in their own lane, and what users feel holds the wait.
    assert!(summed(&bugle, r#"bugle_deliveries_postponed_total{why="pace"}"#).await >= 10.0);
    assert!((summed(&bugle, r#"bugle_pace_wait_seconds_count{kind="webhook"}"#).await - 60.0).abs() < 0.5);
    let waited = summed(&bugle, r#"bugle_pace_wait_seconds_sum{kind="webhook"}"#).await;
    let age = summed(&bugle, r#"bugle_delivery_age_seconds_sum{kind="webhook",lane="normal"}"#).await;
    assert!(waited > 60.0 && age >= waited, "waited {waited}, age {age}");
    let mut numbers: Vec<u64> =
        sink.requests("/hook").iter().map(|request| request.json()["data"]["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..60).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_worker_that_dies_takes_no_turn_along() {
    let sink = Sink::start().await;
    let bugle = fleet(3, &sink, &json!({"rateLimit": {"perSecond": 10, "burst": 3}})).await;
    publish(&bugle, 50).await;
    sink.receives(15, "/hook").await;
    let mut workers = bugle.take(Role::Worker);
    workers.pop().unwrap().process.kill_9();
    for member in workers {
        bugle.adopt(member);
    }
    bugle.start_roles(&[Role::Worker]).await;
    bugle.api().shows_within(LATER, 50, "status=sent").await;
    assert_eq!(sink.counts("/hook").len(), 50);
    // Ten lasting, and a burst of three with the slots between them.
    assert_paced(&sink, 13);
}

#[tokio::test]
async fn an_urgent_one_overtakes_a_long_line() {
    let sink = Sink::start().await;
    let bugle = fleet(2, &sink, &json!({"rateLimit": {"perSecond": 5}})).await;
    publish(&bugle, 150).await;
    eventually("all of them stand in line", LATER, async || {
        let waiting = summed(&bugle, r#"bugle_deliveries_postponed_total{why="pace"}"#).await;
        ensure(waiting >= 120.0, "not yet")
    })
    .await;
    bugle.wire().await.event("fire:out", "urgent", &json!({"n": 1000})).await;
    let position = eventually("the urgent one arrives", LATER, async || {
        let all = sink.requests("/hook");
        all.iter().position(|request| request.json()["data"]["n"] == 1000).ok_or("not yet".to_owned())
    })
    .await;
    assert!(position < 75, "it was number {position} of 150");
    assert_paced(&sink, 5);
}

#[tokio::test]
async fn what_would_wait_longer_than_it_is_worth_is_given_up_at_once_and_takes_no_turn() {
    let sink = Sink::start().await;
    let bugle = fleet(1, &sink, &json!({"rateLimit": {"perSecond": 1}, "expiresInMs": 6_000})).await;
    let began = Instant::now();
    publish(&bugle, 30).await;
    let failed = bugle.api().shows_within(LATER, 20, "status=failed").await;
    assert!(failed.iter().all(|delivery| delivery["reason"] == "expired"), "{failed:?}");
    assert!(
        failed.iter().any(|delivery| delivery["detail"].as_str().unwrap().contains("its turn would come")),
        "{failed:?}"
    );
    // Nobody waited for that until the time was over.
    assert!(began.elapsed() < Duration::from_secs(60));
    let sent = bugle.api().deliveries("status=sent").await.len();
    assert!(sent <= 6, "{sent} of a limit of one a second within 6 s");
    assert_paced(&sink, 1);
}

#[tokio::test]
async fn a_429_moves_those_who_stand_in_line_behind_the_pause() {
    let sink = Sink::start().await;
    sink.script("/hook", [Answer::Header(429, "retry-after", "4".to_owned()), Answer::Status(200)]);
    let bugle = fleet(2, &sink, &json!({"rateLimit": {"perSecond": 10}})).await;
    publish(&bugle, 25).await;
    let requests = sink.receives_within(LATER, 26, "/hook").await;
    let first = requests[0].at;
    let early: Vec<Duration> = requests[1..]
        .iter()
        .map(|request| request.at - first)
        .filter(|wait| *wait < Duration::from_secs(4))
        .collect();
    // Those that were on their way when the answer came.
    assert!(early.len() <= 2 && early.iter().all(|wait| *wait < Duration::from_secs(1)), "{early:?}");
    assert_paced(&sink, 10);
    bugle.api().shows_within(LATER, 25, "status=sent").await;
}

#[tokio::test]
async fn many_chats_of_one_bot_keep_their_own_limits_and_the_bots() {
    let chats: Vec<i64> = (1..=40).collect();
    let telegram = Telegram::with_chats(&chats).await;
    let bugle = one_bot(&telegram, &chats).await;
    let wire = bugle.wire().await;
    for round in 0..3 {
        for number in 0..chats.len() {
            wire.event(&format!("a:{number}"), &format!("e-{round}-{number}"), &json!({})).await;
        }
    }
    let sent = bugle.api().shows_within(LATER, 3 * chats.len(), "status=sent").await;
    assert_eq!(sent.len(), 3 * chats.len());
    let messages = telegram.shows(3 * chats.len()).await;
    assert_eq!(messages.len(), 3 * chats.len());
    assert_apart(messages.iter().map(|message| message.at), 30);
    for chat in chats {
        let of_chat = |message: &&Message| message.chat == chat;
        assert_apart(messages.iter().filter(of_chat).map(|message| message.at), 1);
    }
}

#[tokio::test]
async fn a_429_pauses_the_other_channels_of_the_same_chat_and_no_more() {
    let telegram = Telegram::with_chats(&[7, 8]).await;
    let bugle = one_bot(&telegram, &[7, 7, 8]).await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    telegram.asks_for_pauses(&[4]);
    let began = Instant::now();
    wire.event("a:0", "e-0", &json!({})).await;
    api.shows(1, "channel=c-0&status=retrying").await;
    wire.event("a:1", "e-1", &json!({})).await;
    wire.event("a:2", "e-2", &json!({})).await;
    api.shows_within(LATER, 3, "status=sent").await;
    let messages = telegram.shows(3).await;
    let waits = |chat: i64| {
        messages.iter().filter(move |message| message.chat == chat).map(|message| message.at - began)
    };
    assert!(waits(7).all(|wait| wait >= Duration::from_secs(4)), "{:?}", waits(7).collect::<Vec<_>>());
    assert!(waits(8).all(|wait| wait < Duration::from_secs(4)), "{:?}", waits(8).collect::<Vec<_>>());
}
