//! What servers, their disks and the room on them mean.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{listed, unseen};
use crate::doctor::{Check, Found, Sync};

/// An event is a quarter of it.
const PAYLOAD_MIN: usize = 256 * 1024;
/// Fuller than this and there is no room for a bad day.
const FULL_PERCENT: u64 = 80;
/// Longer, and the failure of one machine takes more with it than anybody expects.
const SYNC_MAX: Duration = Duration::from_secs(10);

pub(in crate::doctor) fn servers(found: &Found) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut versions = BTreeSet::new();
    for server in &found.servers {
        match &server.version {
            Ok(version) => {
                versions.insert(version.as_str());
                checks.push(Check::ok("server", format!("{} runs nats-server {version}", server.address)));
            }
            Err(why) => {
                let said = format!("{} cannot be used: {why}", server.address);
                let (matters, next) = if server.named {
                    (
                        "a server that is away takes the safety of its replicas with it",
                        "start it, or correct nats.url",
                    )
                } else {
                    (
                        "other servers name it, and processes connect there when theirs goes away",
                        "start it, or let servers advertise addresses that can be reached (client_advertise)",
                    )
                };
                checks.push(Check::warn("server", said, matters, next));
            }
        }
    }
    if versions.len() > 1 {
        let said = format!("versions differ: {}", listed(&versions));
        checks.push(Check::warn(
            "server",
            said,
            "a cluster of several versions is for the time of an update",
            "update the older ones",
        ));
    }
    checks.push(if found.max_payload < PAYLOAD_MIN {
        let said =
            format!("max_payload is {} bytes: events have room for a quarter of it", found.max_payload);
        Check::warn(
            "max_payload",
            said,
            "larger events are refused",
            "set max_payload: 1MB in the servers' configuration",
        )
    } else {
        Check::ok("max_payload", format!("{} bytes: an event may have a quarter of it", found.max_payload))
    });
    checks.push(sync(found));
    checks.push(storage(found));
    checks
}

fn sync(found: &Found) -> Check {
    const NAME: &str = "sync_interval";
    const WHY: &str = "what was acknowledged since the last sync is lost when the power fails";
    match &found.sync_interval {
        None => Check::warn(
            NAME,
            "unknown",
            WHY,
            "say where a server's monitoring port is: --monitor http://host:8222",
        ),
        Some(Err(error)) => {
            Check::warn(NAME, format!("could not be looked up: {error}"), WHY, "check the URL of --monitor")
        }
        Some(Ok(Sync::Always)) => {
            Check::ok(NAME, "always: each message is on the disk before it is acknowledged")
        }
        Some(Ok(Sync::Every(every))) if found.replicas == 1 => {
            let said = format!("every {} s, with one replica", every.as_secs_f64());
            Check::fail(
                NAME,
                said,
                WHY,
                "set jetstream { sync_interval: always }, or have three servers and nats.replicas = 3",
            )
        }
        Some(Ok(Sync::Every(every))) if *every > SYNC_MAX => {
            let said = format!("every {} s", every.as_secs_f64());
            Check::warn(
                NAME,
                said,
                WHY,
                "set jetstream { sync_interval: \"1s\" }, or always where servers share their power",
            )
        }
        Some(Ok(Sync::Every(every))) => {
            Check::ok(NAME, format!("every {} s, on {} replicas", every.as_secs_f64(), found.replicas))
        }
    }
}

fn storage(found: &Found) -> Check {
    const NAME: &str = "storage";
    const WHY: &str = "JetStream refuses publishes when its storage is full: events are not taken any more";
    match &found.account {
        Err(error) => unseen(NAME, error),
        Ok(account) => match account.limit {
            None => Check::ok(NAME, format!("{} MiB are used, without a limit", account.storage >> 20)),
            Some(limit) => {
                let said = format!("{} of {} MiB are used", account.storage >> 20, limit >> 20);
                if account.storage * 100 >= limit * FULL_PERCENT {
                    Check::fail(
                        NAME,
                        said,
                        WHY,
                        "raise max_file_store, or keep less (keep.events_days, keep.records_days)",
                    )
                } else {
                    Check::ok(NAME, said)
                }
            }
        },
    }
}
