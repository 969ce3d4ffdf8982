//! Secrets at rest: what a stranger finds in the broker, who opens it, and how keys are changed while the fleet runs.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::api::{Api, Reply, json as with_body, reply};
use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook, with};
use crate::support::sink::Sink;
use crate::support::wire::Wire;
use crate::support::{SOON, ensure, eventually};

const TOKEN: &str = "the-token-of-the-receiver-8675309";

/// A channel of the API's.
const MINE: &str = "/v1/notification-channels/mine";

/// A webhook that sends a secret header.
fn hook(sink: &Sink) -> Value {
    let config = json!({ "url": sink.url("/hook"), "headers": { "X-Token": TOKEN } });
    with(webhook("hook", &sink.url("/hook")), &json!({ "config": config }))
}

fn documents(sink: &Sink) -> Value {
    json!({ "channels": [hook(sink)], "rules": [rule("all", "a:*", "hook")] })
}

/// Every message of the bucket of documents, old versions too, as one text.
async fn bucket(wire: &Wire) -> String {
    let stream = wire.js.get_stream(format!("KV_{}", wire.stream_name("CONFIG"))).await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut found = Vec::new();
    for sequence in 1..=last {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            found.push(format!("{} {}", message.subject, String::from_utf8_lossy(&message.payload)));
        }
    }
    found.join("\n")
}

async fn raw(wire: &Wire, key: &str) -> Vec<u8> {
    let bucket = wire.js.get_key_value(wire.stream_name("CONFIG")).await.unwrap();
    bucket.get(key).await.unwrap().unwrap().to_vec()
}

/// The id of the key that a channel's address is sealed with, as it lies in the bucket.
async fn key_of(wire: &Wire, channel: &str) -> String {
    let document: Value =
        serde_json::from_slice(&raw(wire, &format!("channels.default.{channel}")).await).unwrap();
    let url = document["spec"]["config"]["url"].as_str().unwrap().to_owned();
    url.split(':').nth(2).unwrap_or(&url).to_owned()
}

/// What `bugle secrets seal` makes of a text on its standard input.
async fn seal(bugle: &Bugle, secret: &str) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bugle"));
    command.args(["secrets", "seal"]).envs(bugle.variables()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{secret}\n").as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn put(api: &Api, path: &str, body: &Value) -> Reply {
    reply(with_body(api.request("PUT", path), body)).await
}

#[tokio::test]
async fn a_stranger_at_the_broker_finds_no_secret_and_the_receiver_gets_it() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&documents(&sink)).await;
    let wire = bugle.wire().await;
    let source = json!({ "id": "in", "http": { "secret": "a-secret-of-a-source-8675309" } });
    put(&bugle.api(), "/v1/sources/in", &source).await.expect(201);
    wire.event("a:b", "e-1", &json!({})).await;
    let request = &sink.receives(1, "/hook").await[0];
    assert_eq!(request.headers["x-token"], TOKEN);
    let everything = bucket(&wire).await;
    assert!(
        everything.contains("channels.default.hook") && everything.contains("keys.channels"),
        "{everything}"
    );
    for secret in ["8675309", &sink.url("/hook"), &format!("127.0.0.1:{}", sink.port)] {
        assert!(!everything.contains(secret), "{secret} in {everything}");
    }
    // The API takes its webhook with the sealed secret, and shows it to nobody.
    let shown = bugle.api().get("/v1/sources/in").await.expect(200);
    assert_eq!(
        (&shown["http"]["secret"], &shown["status"]["secretsReadable"]),
        (&json!("***"), &json!(true))
    );
    let stranger = bugle.api_as("a-secret-of-a-source-8675309");
    let taken = stranger.post("/v1/sources/in", &json!({ "x": 1 })).await;
    assert_eq!(taken.status, 202, "{taken:?}");
}

#[tokio::test]
async fn applying_the_same_again_changes_nothing_for_who_has_the_key() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&documents(&sink)).await;
    let again = bugle.apply_as("documents", &documents(&sink)).await.ok();
    assert!(again.contains("nothing to change"), "{again}");
    let mut other = documents(&sink);
    other["channels"][0]["config"]["headers"]["X-Token"] = json!("another-one");
    let changed = bugle.apply_as("documents", &other).await.ok();
    assert!(
        changed.contains("updated channels.default.hook") && !changed.contains("another-one"),
        "{changed}"
    );
    assert!(!changed.contains("/config/url"), "what stayed the same is the same box: {changed}");
    // Without the private key it is written anew, and arrives all the same.
    bugle.set("SECRETS__KEY", "");
    let blind = bugle.apply_as("documents", &documents(&sink)).await.ok();
    assert!(blind.contains("updated channels.default.hook"), "{blind}");
    let wire = bugle.wire().await;
    eventually("the first token is sent again", SOON, async || {
        wire.event("a:b", &format!("e-{}", sink.requests("/hook").len()), &json!({})).await;
        let requests = sink.receives(1, "/hook").await;
        ensure(requests.last().is_some_and(|last| last.headers["x-token"] == TOKEN), "not yet")
    })
    .await;
    assert!(!bucket(&wire).await.contains(TOKEN));
}

#[tokio::test]
async fn a_connection_that_is_applied_again_without_the_key_leaves_its_channels_verified() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let file = |path: &str| json!({ "connections": [{ "id": "hooks", "kind": "webhook", "config": { "url": sink.url(path) } }] });
    bugle.start_with(&file("/first")).await;
    let api = bugle.api();
    put(&api, MINE, &json!({ "kind": "webhook", "connection": "hooks" })).await.expect(201);
    api.post(&format!("{MINE}/test"), &json!({})).await.expect(200);
    let stands = async || api.get(MINE).await.expect(200)["verificationStatus"].clone();
    let key = bugle.variables().into_iter().find(|(name, _)| name.ends_with("SECRETS__KEY")).unwrap().1;
    bugle.set("SECRETS__KEY", "");
    let blind = bugle.apply_as("documents", &file("/first")).await.ok();
    assert!(blind.contains("updated connections.default.hooks"), "{blind}");
    assert_eq!(stands().await, "verified");
    bugle.set("SECRETS__KEY", &key);
    bugle.apply_as("documents", &file("/second")).await.ok();
    assert_eq!(stands().await, "pending");
}

#[tokio::test]
async fn a_sealed_text_may_stand_in_a_file_that_everybody_reads() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start().await;
    let sealed = seal(&bugle, TOKEN).await;
    let sealed = sealed.trim();
    assert!(sealed.starts_with("sealed:v1:") && !sealed.contains(TOKEN), "{sealed}");
    let mut file = documents(&sink);
    file["channels"][0]["config"]["headers"]["X-Token"] = json!(sealed);
    bugle.apply(&file).await;
    bugle.wire().await.event("a:b", "e-1", &json!({})).await;
    assert_eq!(sink.receives(1, "/hook").await[0].headers["x-token"], TOKEN);
    // Sealed for one workspace it is of no use in another.
    let elsewhere = with(file, &json!({ "workspace": "other", "name": "elsewhere" }));
    bugle.apply_as("elsewhere", &elsewhere).await.ok();
    let subject = bugle.wire().await.subject("events.other.a.b");
    bugle.wire().await.put(&subject, &[("Nats-Msg-Id", "e-2")], "{}").await;
    let found = bugle.api().shows(1, "workspace=other").await;
    let detail = found[0]["detail"].as_str().unwrap_or_default().to_owned();
    assert_eq!(found[0]["reason"], "misconfigured", "{found:?}");
    assert!(detail.contains("/config/headers/X-Token") && detail.contains("another workspace"), "{detail}");
}

/// Puts one in front of the last of the file's keys.
async fn add_newer_key(bugle: &Bugle, file: &std::path::Path) {
    // A key made in the same second as the first is no newer one: wait for the next.
    eventually("a newer key is made", SOON, async || {
        let before = std::fs::read_to_string(file).unwrap();
        let first = before.lines().last().unwrap().split(':').nth(2).unwrap().to_owned();
        std::fs::write(file, before.lines().last().unwrap()).unwrap();
        bugle.cli(&["secrets", "new-key", &file.display().to_string()]).await.ok();
        let after = std::fs::read_to_string(file).unwrap();
        let newest = after.lines().next().unwrap().split(':').nth(2).unwrap().to_owned();
        ensure(newest > first, "not yet")
    })
    .await;
}

#[tokio::test]
async fn keys_are_changed_while_the_fleet_runs_and_old_versions_are_forgotten() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set("SECRETS__KEY", "");
    let file = bugle.folder.join("keys");
    let shown = file.display().to_string();
    bugle.cli(&["secrets", "new-key", &shown]).await.ok();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    bugle.set("SECRETS__KEY_FILE", &shown);
    bugle.start_with(&documents(&sink)).await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    let old = key_of(&wire, "hook").await;
    let early = bugle.cli(&["secrets", "rotate"]).await.ok();
    assert!(early.contains("nothing to seal"), "{early}");
    let shared = json!({ "kind": "webhook", "config": { "url": sink.url("/shared") } });
    put(&api, "/v1/connections/hooks", &shared).await.expect(201);
    let mine =
        json!({ "kind": "webhook", "connection": "hooks", "config": { "headers": { "X-Token": TOKEN } } });
    put(&api, MINE, &mine).await.expect(201);
    api.post(&format!("{MINE}/test"), &json!({})).await.expect(200);
    let first = raw(&wire, "channels.default.hook").await;
    add_newer_key(&bugle, &file).await;
    let early = bugle.cli(&["secrets", "rotate"]).await;
    assert!(early.code == 78 && early.stderr.contains("is not in force yet"), "{early:?}");
    bugle.take(Role::Worker).clear();
    bugle.take(Role::Api).clear();
    bugle.start_roles(&[Role::Worker, Role::Api]).await;
    let api = Api { base: bugle.api().base, ..api };
    wire.event("a:b", "e-1", &json!({})).await;
    assert_eq!(sink.receives(1, "/hook").await[0].headers["x-token"], TOKEN, "the old key opens still");
    let rotated = bugle.cli(&["secrets", "rotate"]).await.ok();
    assert!(rotated.contains("sealed channels.default.hook"), "{rotated}");
    let new = key_of(&wire, "hook").await;
    assert_ne!(old, new);
    let is_left = async || bucket(&wire).await.contains(&format!("sealed:v1:{old}:"));
    assert!(!is_left().await, "an old version is left");
    // The address of a channel is what it was, whichever of its secrets were sealed anew.
    assert!(
        rotated.contains("connections.default.hooks") && rotated.contains("channels.default.mine"),
        "{rotated}"
    );
    assert_eq!(api.get(MINE).await.expect(200)["verificationStatus"], "verified");

    // As a run leaves it that was killed between the new document and the removal of the old ones.
    let store = wire.js.get_key_value(wire.stream_name("CONFIG")).await.unwrap();
    let sealed = raw(&wire, "channels.default.hook").await;
    for document in [first, sealed] {
        store.put("channels.default.hook", document.into()).await.unwrap();
    }
    put(&api, MINE, &with(mine, &json!({ "timeoutMs": 4_000 }))).await.expect(200);
    assert!(is_left().await);
    let again = bugle.cli(&["secrets", "rotate"]).await.ok();
    assert!(again.contains("nothing to seal"), "{again}");
    assert!(!is_left().await, "what lay there before is left");
    let versions = api.get(&format!("{MINE}/versions")).await.expect(200);
    assert_eq!(
        versions["versions"].as_array().map(Vec::len),
        Some(2),
        "what the new key opens stays: {versions}"
    );

    // The old key may go, and the fleet goes on with the new one.
    let keys = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, keys.lines().next().unwrap()).unwrap();
    bugle.take(Role::Worker).clear();
    bugle.start_roles(&[Role::Worker]).await;
    wire.event("a:b", "e-2", &json!({})).await;
    assert_eq!(sink.receives(2, "/hook").await[1].headers["x-token"], TOKEN);
    api.shows(2, "status=sent").await;
}

#[tokio::test]
async fn a_worker_without_the_key_says_which_one_it_lacks_and_never_what_is_sealed() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.start_with(&documents(&sink)).await;
    let wire = bugle.wire().await;
    let key = key_of(&wire, "hook").await;
    bugle.take(Role::Worker).clear();
    bugle.set("SECRETS__KEY", "");
    bugle.start_roles(&[Role::Worker]).await;
    wire.event("a:b", "e-1", &json!({})).await;
    let found = bugle.api().shows(1, "channel=hook").await;
    let text = format!("{found:?}");
    assert!(
        text.contains(&format!("is sealed with the key {key}")) && text.contains("secrets.key_file"),
        "{text}"
    );
    assert!(!text.contains(TOKEN) && !bugle.log("worker").contains(TOKEN), "{text}");
}

#[tokio::test]
async fn without_a_key_the_api_refuses_literal_secrets_and_apply_warns() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set("SECRETS__KEY", "");
    bugle.set_variable("HOOK_TOKEN", TOKEN);
    bugle.start().await;
    let said = bugle.apply_as("documents", &documents(&sink)).await;
    assert!(
        said.stderr.contains("channels.default.hook") && said.stderr.contains("secrets.key_file"),
        "{said:?}"
    );
    assert!(!said.stderr.contains(TOKEN), "{said:?}");
    let source = |secret: &str| json!({ "id": "in", "http": { "secret": secret } });
    let refused =
        put(&bugle.api(), "/v1/sources/in", &source("a-secret-of-a-source")).await.expect_problem(400);
    assert_eq!(refused["pointer"], "/http/secret", "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("${VAR}"), "{refused}");
    put(&bugle.api(), "/v1/sources/in", &source("${HOOK_TOKEN}")).await.expect(201);
    let shown = bugle.api().get("/v1/sources/in").await.expect(200);
    assert_eq!(shown["http"]["secret"], "${HOOK_TOKEN}", "a variable's name is no secret");
    let refused = bugle.cli(&["secrets", "rotate"]).await;
    assert!(refused.code == 78 && refused.stderr.contains("no keys"), "{refused:?}");
}

#[tokio::test]
async fn the_embedded_default_makes_a_key_for_itself() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set("SECRETS__KEY", "");
    bugle.set("NATS__URL", "");
    bugle.set("DATABASE__URL", "");
    bugle.set("NATS__EMBEDDED__PORT", &crate::support::free_port().to_string());
    bugle.set("NATS__EMBEDDED__BINARY", &crate::support::broker::binary().display().to_string());
    let file = bugle.folder.write("documents.json", &everything_to(&sink.url("/hook")).to_string());
    bugle.set("DOCUMENTS", &file.display().to_string());
    let mut member = bugle.spawn_all_in_one();
    member.until_ready(crate::support::LATER).await;
    let key = bugle.folder.join("data/secrets.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    bugle.adopt(member);
    let again = bugle.cli(&["apply", "-f", &file.display().to_string()]).await.ok();
    assert!(again.contains("nothing to change"), "{again}");
    bugle.cli(&["publish", "a:b"]).await.ok();
    sink.receives(1, "/hook").await;
}

#[tokio::test]
async fn settings_of_keys_that_cannot_be_used_are_refused_in_one_sentence() {
    let bugle = Bugle::new().await;
    for (key, value, words) in [
        ("SECRETS__KEY", "hunter2", "secrets.key: line 1 is no key"),
        ("SECRETS__KEY_FILE", "/nowhere/keys", "only one of them can hold"),
    ] {
        bugle.set(key, value);
        let said = bugle.cli(&["setup"]).await;
        assert!(said.code == 78 && said.stderr.contains(words), "{said:?}");
        assert!(!said.stderr.contains("hunter2"), "{said:?}");
        bugle.set("SECRETS__KEY", &bugle::secrets::load::new_key());
    }
    bugle.set("SECRETS__KEY", "");
    let said = bugle.cli(&["setup"]).await;
    assert!(said.code == 78 && said.stderr.contains("/nowhere/keys"), "{said:?}");
}
