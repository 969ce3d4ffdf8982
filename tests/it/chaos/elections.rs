//! When the cluster chose new leaders for what holds the deliveries, as the servers themselves announce it.
//!
//! Between two leaders nobody takes acknowledgements, and a starved cluster chooses new ones without anybody's doing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;

use super::log::{Explains, Struck, now_ms};
use crate::support::wire::Wire;

/// A follower waits for up to so long before it takes its leader for dead.
const LEADERLESS_MS: u64 = 10_000;
/// An announcement is heard within this time.
const HEARD_MS: u64 = 500;
const NAME: &str = "the cluster elects a leader";

/// Ears at each server: an announcement is heard through any that lives.
pub struct Elections {
    heard: Arc<Mutex<BTreeSet<u64>>>,
}

impl Elections {
    pub async fn listen(urls: &[String], wire: &Wire) -> Self {
        let heard = Arc::new(Mutex::new(BTreeSet::new()));
        for url in urls {
            let options = async_nats::ConnectOptions::new().ignore_discovered_servers();
            let client = options.connect(url).await.unwrap();
            let stream = wire.stream_name("DELIVERIES");
            for subject in [
                format!("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.{stream}"),
                format!("$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.{stream}.*"),
            ] {
                let (mut announced, heard) = (client.subscribe(subject).await.unwrap(), Arc::clone(&heard));
                tokio::spawn(async move {
                    while announced.next().await.is_some() {
                        heard.lock().unwrap().insert(now_ms());
                    }
                });
            }
        }
        Self { heard }
    }

    /// What was heard, as faults of the cluster's own; those that follow each other closely are one.
    pub fn struck(&self) -> Vec<Struck> {
        let mut struck: Vec<Struck> = Vec::new();
        for at in self.heard.lock().unwrap().iter() {
            let (from, to) = (at.saturating_sub(LEADERLESS_MS), at + HEARD_MS);
            match struck.last_mut() {
                Some(last) if last.to >= from => last.to = to,
                _ => struck.push(Struck { name: NAME.to_owned(), from, to, explains: Explains::Span }),
            }
        }
        struck
    }
}
