//! Each thing that would lose data or stall is told, and nothing else is.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::bus::topology::Compared;
use crate::bus::waiting::Waiting;
use crate::channel::Kind;
use crate::doctor::{Account, Check, Consumer, Database, Documents, Found, Server, Sync, Verdict, judge};
use crate::ids::{ChannelId, WorkspaceId};
use crate::overview::{HeldBack, Hold};
use crate::presence::{Heard, Presence, Process};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> Timestamp {
    Timestamp::from_second(10 * 24 * 3600).unwrap()
}

fn heard(role: &str, kinds: &[&str]) -> Heard {
    let process = Process {
        role: role.to_owned(),
        version: "1".to_owned(),
        host: "h".to_owned(),
        pid: 7,
        started_at: now(),
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
    };
    let presence = Presence { v: 1, process, at: now(), ready: true, complaints: Vec::new() };
    Heard { presence, skew_ms: 0 }
}

fn server(address: &str, version: Result<&str, &str>) -> Server {
    let version = version.map(str::to_owned).map_err(str::to_owned);
    Server { address: address.to_owned(), version, named: true }
}

fn consumer(kind: Option<Kind>, oldest: Option<Timestamp>) -> Consumer {
    let lane = kind.map(|_| "normal");
    let pending = u64::from(oldest.is_some());
    let waiting = Waiting { kind, lane, pending, in_hand: 0, oldest };
    Consumer { waiting, in_hand_max: 100, kept: kind.is_none().then_some(DAY * 7) }
}

fn compared(name: &str) -> Compared {
    Compared { name: name.to_owned(), has_leader: true, ..Compared::default() }
}

/// Nothing is wrong with it.
fn well() -> Found {
    Found {
        at: now(),
        servers: vec![server("nats://a:4222", Ok("2.14.3"))],
        max_payload: 1024 * 1024,
        replicas: 1,
        sync_interval: Some(Ok(Sync::Always)),
        account: Ok(Account { storage: 10 << 20, limit: Some(100 << 20) }),
        streams: Ok(vec![compared("BUGLE_EVENTS")]),
        consumers: Ok(vec![consumer(None, None), consumer(Some(Kind::Slack), None)]),
        queued: Ok(vec![("slack".to_owned(), 3)]),
        processes: Ok(vec![heard("all", &["slack"])]),
        database: Database::There { steps: (5, 5), behind: 0, oldest: None, kept: Some(DAY * 7) },
        documents: Ok(Documents::default()),
        channels: Ok(Vec::new()),
    }
}

fn troubles(found: &Found) -> Vec<Check> {
    judge(found).into_iter().filter(|check| check.verdict != Verdict::Ok).collect()
}

/// The one thing that is wrong.
#[track_caller]
fn trouble(found: &Found) -> (Verdict, String) {
    let troubles = troubles(found);
    let [one] = &troubles[..] else { panic_free(&format!("{troubles:#?}")) };
    assert!(one.why.is_some() && one.next.as_ref().is_some_and(|next| !next.is_empty()), "{one:?}");
    (one.verdict, format!("{}: {}", one.check, one.found))
}

#[track_caller]
fn panic_free(message: &str) -> ! {
    assert!(message.is_empty(), "{message}");
    std::process::abort()
}

#[test]
fn an_installation_that_is_well_has_no_trouble() {
    assert_eq!(troubles(&well()), Vec::new());
    let away = Found { database: Database::Unseen, ..well() };
    assert_eq!(troubles(&away), Vec::new(), "who has no database here is not told to have one");
}

#[test]
fn a_disk_that_is_synced_now_and_then_loses_what_one_server_had_and_a_cluster_has_elsewhere() {
    let synced = |sync| Some(Ok(Sync::Every(Duration::from_secs(sync))));
    assert_eq!(trouble(&Found { sync_interval: synced(120), ..well() }).0, Verdict::Fail);
    let three = Found { replicas: 3, sync_interval: synced(1), ..well() };
    assert_eq!(troubles(&three), Vec::new());
    let (verdict, said) = trouble(&Found { replicas: 3, sync_interval: synced(120), ..well() });
    assert_eq!((verdict, said.as_str()), (Verdict::Warn, "sync_interval: every 120 s"));
    let unknown = troubles(&Found { sync_interval: None, ..well() });
    assert!(unknown[0].next.as_ref().unwrap().contains("--monitor"), "{unknown:?}");
}

#[test]
fn a_cluster_of_three_with_one_replica_fails_and_a_server_that_is_away_is_told() {
    let names = ["nats://a:1", "nats://b:1", "nats://c:1"];
    let servers = names.map(|name| server(name, Ok("2.14.3"))).to_vec();
    let (verdict, said) = trouble(&Found { servers, ..well() });
    assert_eq!((verdict, said.as_str()), (Verdict::Fail, "replicas: nats.replicas is 1 in a cluster of 3"));
    let servers = vec![server("nats://a:1", Ok("2.14.3")), server("nats://b:1", Err("refused"))];
    assert_eq!(trouble(&Found { servers, ..well() }).1, "server: nats://b:1 cannot be used: refused");
    let servers = vec![server("nats://a:1", Ok("2.14.3")), server("nats://b:1", Ok("2.14.9"))];
    assert_eq!(trouble(&Found { servers, ..well() }).1, "server: versions differ: 2.14.3, 2.14.9");
    assert_eq!(trouble(&Found { max_payload: 1_000, ..well() }).0, Verdict::Warn);
}

#[test]
fn streams_that_are_missing_or_other_than_setup_makes_them_are_named() {
    let missing = Compared { missing: true, ..compared("BUGLE_DEAD") };
    let (verdict, said) = trouble(&Found { streams: Ok(vec![missing]), ..well() });
    assert_eq!((verdict, said.as_str()), (Verdict::Fail, "streams: missing: BUGLE_DEAD"));
    let other = Compared { differs: vec!["max_age", "num_replicas"], ..compared("BUGLE_EVENTS") };
    let (verdict, said) = trouble(&Found { streams: Ok(vec![other]), ..well() });
    assert_eq!(
        (verdict, said.as_str()),
        (Verdict::Warn, "streams: BUGLE_EVENTS has another max_age, num_replicas than this version makes")
    );
    let behind = Compared { behind: 1, ..compared("BUGLE_EVENTS") };
    assert_eq!(trouble(&Found { streams: Ok(vec![behind]), ..well() }).0, Verdict::Fail);
}

#[test]
fn a_full_storage_and_a_full_consumer_fail() {
    let account = Ok(Account { storage: 81 << 20, limit: Some(100 << 20) });
    assert_eq!(trouble(&Found { account, ..well() }).1, "storage: 81 of 100 MiB are used");
    let mut full = consumer(Some(Kind::Slack), None);
    full.waiting.in_hand = 95;
    let consumers = Ok(vec![consumer(None, None), full]);
    assert_eq!(trouble(&Found { consumers, ..well() }).1, "queues: slack normal: 95 of 100 are in hand");
}

#[test]
fn events_that_wait_for_more_than_half_of_their_time_fail_before_they_are_lost() {
    let waited = |days: i64| {
        let oldest = now().checked_sub(SignedDuration::from_hours(24 * days)).unwrap();
        Found { consumers: Ok(vec![consumer(None, Some(oldest))]), ..well() }
    };
    assert_eq!(troubles(&waited(3)), Vec::new());
    let (verdict, said) = trouble(&waited(4));
    assert!(verdict == Verdict::Fail && said.starts_with("queues: events: the oldest has waited"), "{said}");
}

#[test]
fn deliveries_that_no_worker_sends_and_roles_that_nobody_has_fail() {
    let queued = Ok(vec![("slack".to_owned(), 3), ("email".to_owned(), 2)]);
    let (verdict, said) = trouble(&Found { queued, ..well() });
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(said, "queues: 2 deliveries of kind email wait, and no worker of that kind answers");
    let fleet = ["router", "recorder", "api"].map(|role| heard(role, &[])).to_vec();
    let (_, said) = trouble(&Found { processes: Ok(fleet), queued: Ok(Vec::new()), ..well() });
    assert_eq!(said, "processes: no worker answers");
}

#[test]
fn clocks_and_versions_that_differ_and_processes_that_are_not_ready_are_named() {
    let mut late = heard("all", &["slack"]);
    late.skew_ms = -2_500;
    let (verdict, said) = trouble(&Found { processes: Ok(vec![late]), ..well() });
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(said, "processes: the clock of all 7 on h differs from this machine's by -2500 ms");
    let mut newer = heard("router", &[]);
    newer.presence.process.version = "2".to_owned();
    let both = Ok(vec![heard("all", &["slack"]), newer]);
    assert_eq!(trouble(&Found { processes: both, ..well() }).1, "processes: versions differ: 1, 2");
    let mut sick = heard("all", &["slack"]);
    (sick.presence.ready, sick.presence.complaints) = (false, vec!["NATS is away".to_owned()]);
    let sick = Found { processes: Ok(vec![sick]), ..well() };
    assert_eq!(trouble(&sick).1, "processes: all 7 on h is not ready: NATS is away");
}

#[test]
fn a_database_that_is_away_older_or_late_is_told() {
    let there = |made, oldest| {
        let database = Database::There { steps: (made, 5), behind: 9, oldest, kept: Some(DAY) };
        Found { database, ..well() }
    };
    assert_eq!(trouble(&there(4, None)).1, "database: its tables are at step 4 of 5");
    assert_eq!(trouble(&there(6, None)).0, Verdict::Warn);
    assert_eq!(trouble(&there(5, Some(Timestamp::UNIX_EPOCH))).0, Verdict::Fail);
    assert_eq!(trouble(&Found { database: Database::Away("no".to_owned()), ..well() }).1, "database: no");
}

#[test]
fn documents_and_channels_that_do_not_work_are_named() {
    let documents = |unreadable: &[&str], old: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Found { documents: Ok(Documents { unreadable: texts(unreadable), old_keys: texts(old) }), ..well() }
    };
    let (verdict, said) = trouble(&documents(&["channels.default.a"], &[]));
    assert_eq!(
        (verdict, said.as_str()),
        (Verdict::Fail, "documents: cannot be read by this version: channels.default.a")
    );
    let old = troubles(&documents(&[], &["channels.default.a"]));
    assert_eq!(old[0].next.as_deref(), Some("bugle secrets rotate"));
    let held = |state| HeldBack {
        workspace: WorkspaceId::default(),
        channel: ChannelId::parse("ops").unwrap(),
        state,
        since: None,
        why: Some("answered 410".to_owned()),
    };
    let channels = Ok(vec![held(Hold::Off), held(Hold::SwitchedOff)]);
    assert_eq!(trouble(&Found { channels, ..well() }).1, "channels: default/ops: switched_off answered 410");
}

#[test]
fn what_may_not_be_looked_at_is_said_with_the_user_who_may() {
    let no = || "JetStream does not tell: timed out".to_owned();
    let found = Found { account: Err(no()), streams: Err(no()), ..well() };
    let found = troubles(&found);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|check| check.next.as_ref().unwrap().contains("operator")), "{found:?}");
}
