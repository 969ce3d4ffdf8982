//! What is kept no longer goes: from inboxes, from the history, workspace by workspace, and it is told, counted and logged.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bugle::bus::Names;
use bugle::ids::{Recipient, WorkspaceId};
use bugle::notification::change::{Announcement, Change, ChangeKind};
use bugle::store::Store;
use bugle::store::inbox::Owner;
use bugle::store::inbox::list::InboxFilter;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Member, Role, with};
use crate::support::database::{Database, on_both_databases};
use crate::support::process::Process;
use crate::support::wire::Wire;
use crate::support::{LATER, ensure, eventually, free_port, steadily};

/// One of the workspace's inboxes.
fn inbox(workspace: &str, recipient: &str) -> Owner {
    Owner {
        workspace: WorkspaceId::parse(workspace).unwrap(),
        recipient: Recipient::parse(recipient).unwrap(),
    }
}

async fn titles(store: &Store, owner: &Owner) -> Vec<String> {
    let page = store.inbox(owner, &InboxFilter::default(), None, 500).await.unwrap();
    page.notifications.into_iter().map(|found| found.title).collect()
}

async fn holds(store: &Store, owner: &Owner, count: usize) {
    eventually("the inbox holds what it may", LATER, async || {
        let found = titles(store, owner).await.len();
        ensure(found == count, format!("{found} where {count} are expected"))
    })
    .await;
}

async fn installed(database: Database) -> (Bugle, Store) {
    let bugle = Bugle::on(NatsServer::shared().await, database);
    bugle.cli(&["setup"]).await.ok();
    let store = Store::open(&bugle.database.url(), 2).unwrap();
    (bugle, store)
}

/// A recorder that reads this configuration file beside its variables.
async fn recorder_with(bugle: &Bugle, text: &str) {
    let file = bugle.folder.write("bugle.toml", text).display().to_string();
    let admin_port = free_port();
    let mut variables = bugle.variables();
    variables.push(("BUGLE__ADMIN__LISTEN".to_owned(), format!("127.0.0.1:{admin_port}")));
    let program = Path::new(env!("CARGO_BIN_EXE_bugle-recorder"));
    let log = bugle.folder.join("recorder.log");
    let process = Process::start("recorder", program, &["--config", &file], &variables, &log);
    let mut member = Member { process, admin_port, api_port: None };
    member.until_ready(LATER).await;
    bugle.adopt(member);
}

/// 24 letters of an id.
fn letters(number: usize) -> String {
    format!("{number:0>24}").bytes().map(|digit| char::from(b'a' + (digit - b'0'))).collect()
}

/// What a worker tells, so many days ago.
async fn tell(wire: &Wire, workspace: &str, number: usize, days: i64) {
    let at = Timestamp::now() - SignedDuration::from_hours(24 * days);
    let fields = json!({
        "v": 1, "workspace": workspace, "severity": "info", "title": format!("Number {number}"), "body": "b", "at": at,
        "event": {"id": format!("e-{number}"), "source": "s", "type": "a:b", "time": at},
    });
    let delivery = format!("d_{}", letters(number));
    let item = json!({
        "id": format!("n_{}", letters(number)), "delivery": &delivery, "recipient": "ann", "urgency": "low",
        "source": {"type": "task", "id": "t"},
    });
    // A prefix is the first token of a subject: what is behind it is ours.
    let names = Names::new("x").unwrap();
    let subject = names.inbox(&inbox(workspace, "ann").workspace, &inbox(workspace, "ann").recipient);
    let id = format!("i-{number}");
    wire.put(&wire.subject(&subject[2..]), &[("Nats-Msg-Id", &id)], with(fields.clone(), &item).to_string())
        .await;
    let state = if number.is_multiple_of(5) { "scheduled" } else { "sent" };
    let outcome = json!({
        "delivery": &delivery, "scope": "global", "channel": "in_app", "kind": "in_app", "state": state,
        "reason": "accepted", "attempt": 1, "redrive": 0,
    });
    let subject = wire.subject(&format!("outcomes.{state}.{workspace}.in_app"));
    let id = format!("o-{number}");
    wire.put(&subject, &[("Nats-Msg-Id", &id)], with(fields, &outcome).to_string()).await;
}

/// The deliveries of the history, by workspace.
async fn deliveries(store: &Store) -> (usize, usize) {
    let rows = store.list(&bugle::store::deliveries::Filter::default(), None, 500).await.unwrap().deliveries;
    let (kept, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.workspace == "kept");
    (kept.len(), others.len())
}

async fn removed(bugle: &Bugle, what: &str) -> u64 {
    let wanted = format!("bugle_retention_removed_total{{what=\"{what}\"}} ");
    let text = bugle.ask_all("/metrics").await.remove(0).2;
    let found = text.lines().find_map(|line| line.strip_prefix(&wanted));
    found.unwrap_or_else(|| panic!("{wanted} is not in {text}")).parse().unwrap()
}

on_both_databases! {
    async fn an_inbox_holds_no_more_than_it_may_and_what_goes_is_a_change_of_it(database: Database) {
        let (bugle, store) = installed(database).await;
        bugle.set("INBOX__KEEP_PER_RECIPIENT", "10");
        bugle.apply(&json!({
            "channels": [{"id": "inbox", "kind": "in_app"}],
            "rules": [{"id": "all", "events": ["*"], "channels": ["inbox"], "recipients": ["{{to}}"],
                "template": {"title": "{{n}}", "body": "b"}}],
        })).await;
        let owner = inbox("default", "ann");
        let client = async_nats::connect(&bugle.nats_url).await.unwrap();
        let subject = Names::new(&bugle.prefix).unwrap().live(&owner.workspace, &owner.recipient);
        let mut live = client.subscribe(subject).await.unwrap();
        bugle.start_roles(&[Role::Recorder, Role::Router, Role::Worker]).await;
        let wire = bugle.wire().await;
        for number in 0..40 {
            wire.event("a:b", &number.to_string(), &json!({ "to": "ann", "n": number })).await;
        }
        eventually("all came", LATER, async || {
            let standing = store.standing(&owner).await.unwrap();
            ensure(standing.own >= 70, format!("{standing:?}"))
        }).await;
        holds(&store, &owner, 10).await;
        // Two hands tell of it, and the numbers say in which order things happened.
        let mut told = BTreeMap::new();
        while told.len() < 70 {
            let message = tokio::time::timeout(LATER, live.next()).await.unwrap().unwrap();
            let heard: Announcement = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(heard.last - heard.before, heard.changes.len() as u64);
            told.extend(heard.changes.into_iter().map(|change| (change.seq, change)));
        }
        assert_eq!(told.last_key_value().unwrap().0, &70, "each number once");
        let is_new = |change: &Change| change.kind == ChangeKind::Created;
        let (created, gone): (Vec<_>, Vec<_>) = told.into_values().partition(is_new);
        assert!(gone.iter().all(|change| change.kind == ChangeKind::Deleted && change.unread == -1));
        let left: Vec<_> = created.iter().filter(|change| gone.iter().all(|gone| gone.id != change.id)).collect();
        let oldest = gone.iter().map(|gone| created.iter().find(|change| change.id == gone.id).unwrap().at).max();
        assert!(left.iter().all(|change| Some(change.at) >= oldest), "the oldest went");
        assert_eq!((left.len(), removed(&bugle, "notifications_over_cap").await), (10, 30));
    }

    async fn what_is_older_than_its_days_goes_and_a_workspace_may_have_days_of_its_own(database: Database) {
        let (bugle, store) = installed(database).await;
        let wire = bugle.wire().await;
        // Three days old: 20 here, 20 in the workspace that keeps; five of today. Every fifth delivery waits.
        for number in 0..20 {
            tell(&wire, "default", number, 3).await;
            tell(&wire, "kept", 20 + number, 3).await;
        }
        for number in 40..45 {
            tell(&wire, "default", number, 0).await;
        }
        let (own, kept) = (inbox("default", "ann"), inbox("kept", "ann"));
        bugle.start_roles(&[Role::Recorder]).await;
        holds(&store, &own, 25).await;
        holds(&store, &kept, 20).await;
        assert_eq!(deliveries(&store).await, (20, 25), "so many days are kept by default");
        bugle.kill_9(Role::Recorder);

        bugle.set("INBOX__KEEP_DAYS", "2");
        bugle.set("KEEP__HISTORY_DAYS", "2");
        let others = "[workspaces.kept]\ninbox_days = 30\ninbox_per_recipient = 15\nhistory_days = 0\n";
        recorder_with(&bugle, others).await;
        holds(&store, &own, 5).await;
        holds(&store, &kept, 15).await;
        eventually("the history is short", LATER, async || {
            let found = deliveries(&store).await;
            ensure(found == (20, 4 + 5), format!("{found:?}"))
        }).await;
        eventually("it is logged", LATER, async || {
            let log = bugle.log("recorder");
            let words = ["removed what is kept no longer", "notifications_too_old: 20", "deliveries: 16"];
            ensure(words.iter().all(|word| log.contains(word)), log)
        }).await;
        assert_eq!(removed(&bugle, "notifications_too_old").await, 20);
        assert_eq!(removed(&bugle, "notifications_over_cap").await, 5);
        assert_eq!((removed(&bugle, "deliveries").await, removed(&bugle, "outcomes").await), (16, 16));
        assert!(store.changes(&own, &own, 0, 100).await.unwrap().changes.len() >= 45, "younger than a week");
    }

    async fn two_recorders_remove_each_thing_once(database: Database) {
        let (bugle, store) = installed(database).await;
        bugle.set("INBOX__KEEP_PER_RECIPIENT", "10");
        bugle.start_roles(&[Role::Recorder, Role::Recorder]).await;
        let wire = bugle.wire().await;
        let owner = inbox("default", "ann");
        for number in 0..60 {
            tell(&wire, "default", number, 0).await;
        }
        holds(&store, &owner, 10).await;
        let mut sum = 0;
        for (_, _, text) in bugle.ask_all("/metrics").await {
            let wanted = "bugle_retention_removed_total{what=\"notifications_over_cap\"} ";
            sum += text.lines().find_map(|line| line.strip_prefix(wanted)).unwrap().parse::<u64>().unwrap();
        }
        assert_eq!((sum, store.standing(&owner).await.unwrap().own), (50, 110));
        steadily("it stays so", Duration::from_secs(7), async || {
            let found = titles(&store, &owner).await.len();
            ensure(found == 10, format!("{found}"))
        }).await;
    }
}
