//! Looks at servers, processes and documents for the doctor. Changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::TryStreamExt;
use serde_json::Value;

use super::{Account, Consumer, Database, Documents, Found, Server, Sync};
use crate::bus::{Bus, StreamName, redacted, topology, waiting};
use crate::channel::ChannelSpec;
use crate::clock;
use crate::config::Settings;
use crate::connection::ConnectionSpec;
use crate::documents::{Document, Key};
use crate::overview;
use crate::presence;
use crate::rule::RuleSpec;
use crate::rule::scope::ScopeSpec;
use crate::secrets::{Purpose, published, seal};
use crate::shelf;
use crate::source::SourceSpec;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A monitoring port answers at once, or not at all.
const VARZ_MAX: Duration = Duration::from_secs(5);
const DATABASE_MAX: Duration = Duration::from_secs(5);

/// Looks at everything; `monitor` is the monitoring port of a server.
pub async fn gather(bus: &Bus, settings: &Settings, monitor: Option<&str>) -> Found {
    let account = account(bus).await;
    // Who may not ask for this may ask for nothing, and each refusal is a silence of seconds.
    let refused = account.as_ref().err().cloned();
    let allowed = || refused.clone().map_or(Ok(()), Err);
    let keep = &settings.keep;
    let (servers, sync_interval, processes, database) = tokio::join!(
        servers(bus, settings),
        sync_interval(monitor),
        presence::ask(bus),
        Box::pin(database(bus, settings)),
    );
    let streams = match allowed() {
        Ok(()) => topology::compare(bus, keep).await.map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    let (consumers, queued) = match allowed() {
        Ok(()) => (consumers(bus, settings).await, queued(bus).await),
        Err(error) => (Err(error.clone()), Err(error)),
    };
    let (documents, channels) = match allowed() {
        Ok(()) => (documents(bus).await, overview::held_back(bus).await.map_err(|error| error.to_string())),
        Err(error) => (Err(error.clone()), Err(error)),
    };
    Found {
        at: clock::now(),
        servers,
        max_payload: bus.client().server_info().max_payload,
        replicas: settings.nats.replicas,
        sync_interval,
        account,
        streams,
        consumers,
        queued,
        processes: processes.map_err(|error| error.to_string()),
        database,
        documents,
        channels,
    }
}

/// Each server by a connection of its own.
async fn servers(bus: &Bus, settings: &Settings) -> Vec<Server> {
    let url = settings.nats_url();
    let named: Vec<&str> = url.split(',').map(str::trim).collect();
    // Servers tell each other's addresses bare; who we are stands in front of those that were written down.
    let host = |url: &str| url.rsplit(['/', '@']).next().unwrap_or(url).to_owned();
    let head = named.first().map(|first| first[..first.len() - host(first).len()].to_owned());
    let head = head.unwrap_or_default();
    let mut addresses: Vec<(String, bool)> = named.iter().map(|url| ((*url).to_owned(), true)).collect();
    for told in bus.client().server_info().connect_urls {
        if !addresses.iter().any(|(known, _)| host(known) == told) {
            addresses.push((format!("{head}{told}"), false));
        }
    }
    let look = addresses.into_iter().map(|(url, named)| async move {
        let version = Bus::connect(&settings.nats, settings.keep, &url, "cli").await;
        let version =
            version.map(|bus| bus.client().server_info().version).map_err(|error| error.to_string());
        Server { address: redacted(&url), version, named }
    });
    futures_util::future::join_all(look).await
}

async fn account(bus: &Bus) -> Result<Account, String> {
    let found = bus.js.query_account().await.map_err(|error| format!("JetStream does not tell: {error}"))?;
    let limit = found.limits.max_storage.and_then(|bytes| u64::try_from(bytes).ok());
    Ok(Account { storage: found.storage, limit: limit.filter(|bytes| *bytes > 0) })
}

async fn sync_interval(monitor: Option<&str>) -> Option<Result<Sync, String>> {
    let url = format!("{}/varz", monitor?.trim_end_matches('/'));
    let asked = async {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(VARZ_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        let answer = client.get(&url).send().await.map_err(|_| format!("nobody answers at {url}"))?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        read_varz(&text).ok_or_else(|| format!("{url} does not say how JetStream syncs"))
    };
    Some(asked.await)
}

fn read_varz(text: &str) -> Option<Sync> {
    let varz: Value = serde_json::from_str(text).ok()?;
    let config = varz.pointer("/jetstream/config")?;
    if config["sync_always"] == true {
        return Some(Sync::Always);
    }
    config["sync_interval"].as_u64().map(|nanoseconds| Sync::Every(Duration::from_nanos(nanoseconds)))
}

async fn consumers(bus: &Bus, settings: &Settings) -> Result<Vec<Consumer>, String> {
    let found = waiting::now(bus).await.map_err(|error| error.to_string())?;
    let events = DAY * settings.keep.events_days;
    let consumer = |waiting: waiting::Waiting| Consumer {
        kept: waiting.kind.is_none().then_some(events).filter(|kept| !kept.is_zero()),
        in_hand_max: topology::ACK_PENDING_MAX.unsigned_abs(),
        waiting,
    };
    Ok(found.into_iter().map(consumer).collect())
}

/// How many deliveries of each kind lie in the queue, also of kinds that no worker has ever taken.
async fn queued(bus: &Bus) -> Result<Vec<(String, u64)>, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let stream = topology::stream(bus, StreamName::Deliveries).await.map_err(|error| failed(&error))?;
    let subjects = stream.info_with_subjects(bus.names.queued_filter()).await;
    let mut subjects = subjects.map_err(|error| failed(&error))?;
    let mut kinds = BTreeMap::new();
    while let Some((subject, count)) = subjects.try_next().await.map_err(|error| failed(&error))? {
        if let Some(kind) = bus.names.queued_kind(&subject) {
            *kinds.entry(kind.to_owned()).or_insert(0) += count as u64;
        }
    }
    Ok(kinds.into_iter().collect())
}

async fn database(bus: &Bus, settings: &Settings) -> Database {
    let looked = async {
        let Some(store) = overview::database(settings)? else { return Ok(Database::Unseen) };
        let steps = store.steps().await.map_err(|error| error.to_string())?;
        if steps.0 != steps.1 {
            return Ok(Database::There { steps, behind: 0, oldest: None, kept: None });
        }
        let behind = overview::behind(bus, &store).await?;
        let kept = Some(DAY * settings.keep.records_days).filter(|kept| !kept.is_zero());
        Ok::<_, String>(Database::There { steps, behind: behind.records, oldest: behind.oldest, kept })
    };
    match tokio::time::timeout(DATABASE_MAX, looked).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Database::Away(error),
        Err(_) => Database::Away("it does not answer".to_owned()),
    }
}

async fn documents(bus: &Bus) -> Result<Documents, String> {
    let (there, mut unreadable) = shelf::read_whole(bus).await.map_err(|error| error.to_string())?;
    let mut current = BTreeMap::new();
    for purpose in Purpose::ALL {
        let key = published::current(bus, *purpose).await.map_err(|error| error.to_string())?;
        current.insert(purpose.to_string(), key.map(|key| key.id.to_string()));
    }
    let mut old_keys = Vec::new();
    for (key, held) in &there {
        if !reads(key, &held.document) {
            unreadable.push(key.as_written());
        }
        let Some(purpose) = Purpose::of(key) else { continue };
        let now = current.get(&purpose.to_string()).cloned().flatten();
        let is_old = |id: &str| now.as_deref() != Some(id);
        if seal::keys_in(&held.document.spec).into_iter().any(is_old) {
            old_keys.push(key.as_written());
        }
    }
    Ok(Documents { unreadable, old_keys })
}

/// True when this version understands what a document says.
fn reads(key: &Key, document: &Document<Value>) -> bool {
    let spec = || document.spec.clone();
    match key {
        Key::Channel(..) => serde_json::from_value::<ChannelSpec>(spec()).is_ok(),
        Key::Connection(..) => serde_json::from_value::<ConnectionSpec>(spec()).is_ok(),
        Key::Rule(..) => serde_json::from_value::<RuleSpec>(spec()).is_ok(),
        Key::Scope(..) => serde_json::from_value::<ScopeSpec>(spec()).is_ok(),
        Key::Source(..) => serde_json::from_value::<SourceSpec>(spec()).is_ok(),
        Key::Recipient(..)
        | Key::Preferences(..)
        | Key::Token(_)
        | Key::SealingKey(_)
        | Key::Standing(..) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_tells_how_it_syncs() {
        let varz = |config: &str| format!(r#"{{ "jetstream": {{ "config": {config} }} }}"#);
        assert_eq!(
            read_varz(&varz(r#"{ "sync_always": true, "sync_interval": 120000000000 }"#)),
            Some(Sync::Always)
        );
        let every = read_varz(&varz(r#"{ "sync_interval": 120000000000 }"#));
        assert_eq!(every, Some(Sync::Every(Duration::from_secs(120))));
        assert_eq!(read_varz("{}"), None);
    }
}
