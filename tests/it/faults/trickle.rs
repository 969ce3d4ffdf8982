//! Few events through small batches, for a minute: the way a client's pull is known to stall.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bugle::{Bugle, everything_to};
use crate::support::sink::Sink;
use crate::support::{LATER, pause};

const EVERY: Duration = Duration::from_millis(200);
const FOR: Duration = Duration::from_secs(60);
const STALL: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_trickle_through_two_slots_never_stalls() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set("ROUTER__SLOTS", "2");
    bugle.set("WORKER__SLOTS", "2");
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let wire = bugle.wire().await;
    let (began, mut published) = (Instant::now(), Vec::new());
    while began.elapsed() < FOR {
        wire.event("a:b", &published.len().to_string(), &json!({ "n": published.len() })).await;
        published.push(Instant::now());
        pause(EVERY).await;
    }
    let requests = sink.receives_within(LATER, published.len(), "/hook").await;
    let mut worst = Duration::ZERO;
    for request in &requests {
        let number = request.json()["data"]["n"].as_u64().unwrap();
        worst = worst.max(request.at.saturating_duration_since(published[usize::try_from(number).unwrap()]));
    }
    assert!(worst < STALL, "an event waited {worst:?}");
    assert_eq!(requests.len(), published.len());
}
