//! Moments that no test can bring about from outside: the library's own hands, on a real broker.

use std::sync::Arc;
use std::time::Duration;

use bugle::bus::Bus;
use bugle::bus::directory::{Directory, Holdings};
use bugle::channel::ChannelSpec;
use bugle::config::Settings;
use bugle::deliver::circuit::state::{Mode, Whose};
use bugle::deliver::circuit::{self, Circuits, TryEnd};
use bugle::deliver::pauses::Pauses;
use bugle::delivery::Delivery;
use bugle::health::Health;
use bugle::ids::{ChannelId, WorkspaceId};
use bugle::outcome::Outcome;
use bugle::secrets::KeyRing;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::bugle::{Bugle, webhook, with};
use crate::support::{SOON, ensure, eventually};

/// An installation without processes, and its broker as they see it.
async fn installed() -> (Bugle, Bus, Settings) {
    let bugle = Bugle::new().await;
    bugle.cli(&["setup"]).await.ok();
    let settings = Settings::from_parts(None, &bugle.variables()).unwrap();
    let bus = Bus::connect(&settings.nats, settings.keep, &bugle.nats_url, "test").await.unwrap();
    (bugle, bus, settings)
}

/// A delivery's fields and those of its outcome.
fn delivery() -> Value {
    json!({
        "v": 1, "id": "d_aaaaaaaaaaaaaaaaaaaaaaaa", "workspace": "default", "scope": "global", "channel": "hook",
        "event": {"id": "e", "source": "s", "type": "a:b", "time": "2026-01-01T00:00:00Z"}, "severity": "info",
        "kind": "webhook", "title": "t", "body": "b", "data": null, "expiresAt": "2126-01-02T00:00:00Z", "attempt": 1,
    })
}

/// A try on the channel `hook` that ended so, at a second of the test's own time.
async fn tried(circuits: &Circuits, state: &str, reason: &str, second: i64) {
    let whole = delivery();
    // Data can be read from a text alone.
    let delivery: Delivery = serde_json::from_str(&whole.to_string()).unwrap();
    let at = Timestamp::now() + SignedDuration::from_secs(second);
    let ended = json!({"delivery": delivery.id, "state": state, "reason": reason, "redrive": 0, "at": at});
    let outcome: Outcome = serde_json::from_value(with(whole, &ended)).unwrap();
    let spec: ChannelSpec = serde_json::from_value(webhook("hook", "https://a.example/")).unwrap();
    let end = TryEnd { probe: None, whose: Whose::Channel, some_reached: false };
    circuits.note(&delivery, &spec, &outcome, end).await;
}

#[tokio::test]
async fn a_circuit_moves_when_that_could_be_told_and_is_told_once_by_all_who_move_it() {
    let (bugle, bus, settings) = installed().await;
    let (wire, stop, health) = (bugle.wire().await, CancellationToken::new(), Health::default());
    let held = (Holdings::Channels, KeyRing::default());
    let documents =
        Directory::start(bus.clone(), held, stop.clone(), health.pulse("documents")).await.unwrap();
    let follow = |name: &str| {
        let pulse = health.pulse(name);
        Circuits::start(bus.clone(), Arc::clone(&documents), settings.keep, stop.clone(), pulse)
    };
    let (one, other) = (follow("one"), follow("other"));
    let mode = async || {
        let (workspace, channel) = (WorkspaceId::default(), ChannelId::parse("hook").unwrap());
        circuit::read(&bus, &workspace, &channel).await.unwrap().state
    };
    let fails = async |circuits: &Circuits, second| {
        tried(circuits, "retrying", "provider_error", second).await;
    };
    wire.refuses("EVENTS", true).await;
    for second in [0, 10, 20, 30, 40] {
        fails(&one, second).await;
    }
    assert_eq!(mode().await, Mode::Closed, "nobody could be told yet");
    wire.refuses("EVENTS", false).await;
    for second in [0, 10, 20, 30] {
        fails(&other, second).await;
    }
    tokio::join!(fails(&one, 50), fails(&other, 50));
    assert_eq!((mode().await, wire.messages("EVENTS").await), (Mode::Open, 1));

    eventually("both know", SOON, async || {
        let spec: ChannelSpec = serde_json::from_value(webhook("hook", "https://b.example/")).unwrap();
        let know = |circuits: &Circuits| {
            let passage = circuits.look(&WorkspaceId::default(), &spec, Timestamp::now());
            passage == circuit::state::Passage::Probe
        };
        ensure(know(&one) && know(&other), "not yet")
    })
    .await;
    wire.refuses("EVENTS", true).await;
    tried(&one, "sent", "accepted", 60).await;
    assert_eq!(mode().await, Mode::Open, "nobody could be told yet");
    wire.refuses("EVENTS", false).await;
    tokio::join!(tried(&one, "sent", "accepted", 70), tried(&other, "sent", "accepted", 70));
    assert_eq!((mode().await, wire.messages("EVENTS").await), (Mode::Closed, 2));
    stop.cancel();
}

#[tokio::test]
async fn a_shorter_pause_never_takes_the_place_of_a_longer_one() {
    let (_bugle, bus, settings) = installed().await;
    let (stop, health) = (CancellationToken::new(), Health::default());
    // Two that have not heard of each other yet.
    let deaf = CancellationToken::new();
    deaf.cancel();
    let start = |stop: &CancellationToken| {
        Pauses::start(bus.clone(), settings.keep, stop.clone(), health.pulse("pauses"))
    };
    let (one, other) = (start(&deaf), start(&deaf));
    let (workspace, channel) = (WorkspaceId::default(), ChannelId::parse("hook").unwrap());
    let in_seconds = |seconds| Timestamp::now() + SignedDuration::from_secs(seconds);
    one.pause(&workspace, &channel, in_seconds(60)).await.unwrap();
    other.pause(&workspace, &channel, in_seconds(5)).await.unwrap();
    let until = other.until(&workspace, &channel, Timestamp::now()).unwrap();
    assert!(until > in_seconds(40), "it has learned of the longer one: {until}");
    let third = start(&stop);
    let heard = eventually("another worker hears of it", SOON, async || {
        third.until(&workspace, &channel, Timestamp::now()).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert!(heard > in_seconds(40), "{heard}");
    one.pause(&workspace, &channel, in_seconds(120)).await.unwrap();
    eventually("a longer one takes its place", Duration::from_secs(10), async || {
        let until = third.until(&workspace, &channel, Timestamp::now());
        ensure(until.is_some_and(|until| until > in_seconds(90)), format!("{until:?}"))
    })
    .await;
    stop.cancel();
}
