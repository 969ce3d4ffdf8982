//! Sources: events from subjects, streams and webhooks of others arrive like any other, and once.

mod attached;
mod carried;
mod documents;
mod webhooks;

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::bugle::{Bugle, Role, everything_to, with};
use crate::support::sink::{Request, Sink};
use crate::support::wire::Wire;

/// A fleet that sends every event to the path `/hook`, with these sources.
async fn fleet(sources: &Value) -> (Bugle, Sink, Wire) {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&with(everything_to(&sink.url("/hook")), &json!({ "sources": sources }))).await;
    let wire = bugle.wire().await;
    (bugle, sink, wire)
}

/// Waits until the source's stream is read by this installation.
async fn attached(bugle: &Bugle, wire: &Wire, stream: &str, id: &str) {
    let durable = format!("{}-source-default={id}", bugle.prefix);
    crate::support::eventually(&format!("{id} is attached"), crate::support::SOON, async || {
        let stream = wire.js.get_stream(stream).await.map_err(|error| error.to_string())?;
        stream.consumer_info(&durable).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

fn types(requests: &[Request]) -> Vec<String> {
    let mut types: Vec<String> =
        requests.iter().map(|request| request.json()["type"].as_str().unwrap().to_owned()).collect();
    types.sort_unstable();
    types
}

/// A stream of somebody else's.
async fn foreign_stream(wire: &Wire, name: &str, subject: &str) {
    let config = async_nats::jetstream::stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        ..Default::default()
    };
    wire.js.create_stream(config).await.unwrap();
}

async fn put(api: &Api, id: &str, source: &Value) -> Value {
    let reply = crate::support::api::json(api.request("PUT", &format!("/v1/sources/{id}")), source);
    let reply = crate::support::api::reply(reply).await;
    assert!([200, 201].contains(&reply.status), "{reply:?}");
    reply.body
}

fn metric(text: &str, line: &str) -> u64 {
    let found =
        text.lines().find_map(|one| one.strip_prefix(line)).unwrap_or_else(|| panic!("no {line} in {text}"));
    found.trim().parse().unwrap()
}

const ROUTING: [Role; 3] = [Role::Router, Role::Worker, Role::Recorder];
