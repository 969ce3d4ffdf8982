//! The limits: loops that do nothing but what nobody can leave out, in processes of their own like ours.
//!
//! They know no rules, no retries, no signatures and no shutdown. Each is pipelined as well as it can be.

mod fan_out;

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, Context, Message};
use futures_util::TryStreamExt;
use testbed::process::{Process, Usage};

use crate::Anything;
use crate::fleet::{Fleet, publish};

/// Copies in flight; more gain nothing.
const COPIES: usize = 512;
const BATCH: usize = 1_000;

/// A bare loop in a process of its own; it ends when this is dropped.
pub struct Bare(Process);

impl Bare {
    /// Reads EVENTS, publishes each to DELIVERIES under an id, and acks.
    pub fn router(fleet: &Fleet, server_url: &str) -> Anything<Self> {
        Self::start(fleet, &["--bare-router", server_url, &fleet.prefix])
    }

    /// Takes from DELIVERIES, posts the bytes, publishes one outcome and acks; so many at once.
    pub fn worker(fleet: &Fleet, server_url: &str, url: &str, slots: usize) -> Anything<Self> {
        Self::start(fleet, &["--bare-worker", server_url, &fleet.prefix, url, &slots.to_string()])
    }

    fn start(fleet: &Fleet, arguments: &[&str]) -> Anything<Self> {
        let log = fleet.file("bare.log");
        Ok(Self(Process::start("bare", &std::env::current_exe()?, arguments, &[], &log)))
    }

    pub fn usage(&self) -> Usage {
        self.0.usage().unwrap_or_default()
    }
}

/// The life of such a process, when the arguments ask for one.
pub fn run(arguments: &[String]) -> Option<Anything<()>> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--bare-router", url, prefix] => Some(crate::block_on(route(url, prefix))),
        ["--bare-worker", url, prefix, target, slots] => {
            Some(crate::block_on(deliver(url, prefix, target, slots)))
        }
        ["--bare-fan-out", port, control] => {
            let ports = (port.parse().ok()?, control.parse().ok()?);
            Some(crate::block_on(fan_out::run(ports.0, ports.1)))
        }
        _ => None,
    }
}

async fn messages(js: &Context, stream: String) -> Anything<pull::Stream> {
    let stream = js.get_stream(stream).await?;
    let config = pull::Config {
        durable_name: Some("bare".to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 20_000,
        ..Default::default()
    };
    let consumer = stream.get_or_create_consumer("bare", config).await?;
    Ok(consumer.stream().max_messages_per_batch(BATCH).expires(Duration::from_secs(5)).messages().await?)
}

async fn connect(url: &str) -> Anything<Context> {
    let client = async_nats::ConnectOptions::new().subscription_capacity(65_536).connect(url).await?;
    Ok(jetstream::context::ContextBuilder::new()
        .timeout(Duration::from_secs(10))
        .max_ack_inflight(4_096)
        .build(client))
}

async fn route(url: &str, prefix: &str) -> Anything<()> {
    let js = connect(url).await?;
    let subject = format!("{prefix}.deliveries.webhook.normal.default.sink");
    let messages = messages(&js, format!("{}_EVENTS", prefix.to_uppercase())).await?;
    messages.map_err(Into::into).try_for_each_concurrent(COPIES, |message| copy(&js, &subject, message)).await
}

async fn copy(js: &Context, subject: &str, message: Message) -> Anything<()> {
    let id = message.info()?.stream_sequence.to_string();
    publish(js, subject.to_owned(), id, message.payload.to_vec()).await?;
    message.ack().await
}

async fn deliver(url: &str, prefix: &str, target: &str, slots: &str) -> Anything<()> {
    let js = connect(url).await?;
    bugle::channel::http::install_tls_provider();
    let http = reqwest::Client::builder().no_proxy().build()?;
    let subject = format!("{prefix}.outcomes.sent.default.sink");
    let messages = messages(&js, format!("{}_DELIVERIES", prefix.to_uppercase())).await?;
    messages
        .map_err(Into::into)
        .try_for_each_concurrent(slots.parse::<usize>()?, |message| {
            post(&js, &http, &subject, target, message)
        })
        .await
}

async fn post(
    js: &Context,
    http: &reqwest::Client,
    subject: &str,
    target: &str,
    message: Message,
) -> Anything<()> {
    let response = http.post(target).body(message.payload.clone()).send().await?;
    response.error_for_status()?.bytes().await?;
    let id = message.info()?.stream_sequence.to_string();
    publish(js, subject.to_owned(), id, message.payload.to_vec()).await?;
    message.ack().await
}
