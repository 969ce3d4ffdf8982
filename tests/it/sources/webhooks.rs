//! Webhooks: every kind of secret, Alertmanager, and what is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use ring::hmac;
use serde_json::{Value, json};

use super::{ROUTING, fleet, metric, put, types};
use crate::support::api::{Api, Reply, reply};
use crate::support::bugle::Role;
use crate::support::{SOON, ensure, eventually};

const SECRET: &str = "a-secret-of-the-tests";
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn post(api: &Api, path: &str, headers: &[(&str, String)], body: &Value) -> Reply {
    let anybody = Api { token: String::new(), ..api.clone() };
    let mut request = anybody.request("POST", path).header("Content-Type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    reply(request.body(body.to_string())).await
}

fn bearer(secret: &str) -> Vec<(&'static str, String)> {
    vec![("Authorization", format!("Bearer {secret}"))]
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat()).as_ref().to_vec()
}

fn signed_webhook(secret: &str, body: &Value, seconds_ago: i64) -> Vec<(&'static str, String)> {
    let time = (jiff::Timestamp::now().as_second() - seconds_ago).to_string();
    let body = body.to_string();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let signature = mac(&key, &[b"msg_1", b".", time.as_bytes(), b".", body.as_bytes()]);
    vec![
        ("webhook-id", "msg_1".to_owned()),
        ("webhook-timestamp", time),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(signature))),
    ]
}

#[tokio::test]
async fn whoever_knows_the_secret_gets_in_by_any_proof_and_nobody_else() {
    let (bugle, sink, _) = fleet(&json!([
        { "id": "in", "http": { "secrets": [SECRET, STANDARD_SECRET] } },
        { "id": "off", "enabled": false, "http": { "secret": SECRET } },
        { "id": "pulled", "nats": { "subjects": [crate::support::unique("pulled")] } },
    ]))
    .await;
    let api = bugle.api();
    let basic = |pair: &str| vec![("Authorization", format!("Basic {}", STANDARD.encode(pair)))];
    let body = |number: usize| json!({ "number": number });
    let hub = |secret: &str, body: &Value| {
        let signature = HEXLOWER.encode(&mac(secret.as_bytes(), &[body.to_string().as_bytes()]));
        vec![("X-Hub-Signature-256", format!("sha256={signature}"))]
    };
    let proofs = [
        bearer(SECRET),
        basic(&format!("alertmanager:{SECRET}")),
        hub(SECRET, &body(2)),
        signed_webhook(STANDARD_SECRET, &body(3), 0),
    ];
    for (number, proof) in proofs.iter().enumerate() {
        let taken = post(&api, "/v1/sources/in", proof, &body(number)).await.expect(202);
        assert_eq!(taken, json!({ "published": 1, "duplicates": 0 }), "{proof:?}");
    }
    assert_eq!(types(&sink.receives(4, "/hook").await), ["in"; 4]);
    let repeated = post(&api, "/v1/sources/in", &bearer(SECRET), &body(0)).await.expect(202);
    assert_eq!(repeated, json!({ "published": 0, "duplicates": 1 }), "the same body is the same event");

    let admin = vec![("Authorization", format!("Bearer {}", crate::support::bugle::ADMIN_TOKEN))];
    let stale = signed_webhook(STANDARD_SECRET, &body(9), 400);
    let wrong = [
        vec![],
        admin,
        bearer("another-secret-of-the-tests"),
        bearer(""),
        basic(&format!("{SECRET}:x")),
        hub("another-secret-of-the-tests", &body(9)),
        hub(SECRET, &body(8)),
        stale,
    ];
    for proof in &wrong {
        let refused = post(&api, "/v1/sources/in", proof, &body(9)).await.expect_problem(401);
        assert!(!refused.to_string().contains(SECRET), "{refused}");
    }
    for path in ["/v1/sources/off", "/v1/sources/pulled", "/v1/sources/none", "/v1/sources/in?workspace=red"]
    {
        post(&api, path, &bearer(SECRET), &body(9)).await.expect_problem(404);
    }
    let huge = json!({ "text": "x".repeat(5 * 1024 * 1024) });
    post(&api, "/v1/sources/in", &bearer(SECRET), &huge).await.expect_problem(413);
    let large = json!({ "text": "x".repeat(400 * 1024) });
    post(&api, "/v1/sources/in", &bearer(SECRET), &large).await.expect_problem(413);
    assert_eq!(bugle.buries(1).await[0]["reason"], "too_large");
    let metrics = api.get("/metrics").await.body.as_str().unwrap().to_owned();
    let counted = |result: &str| {
        metric(&metrics, &format!("bugle_source_messages_total{{way=\"http\",result=\"{result}\"}} "))
    };
    assert_eq!(
        (counted("published"), counted("duplicate"), counted("unauthorized")),
        (4, 1, wrong.len() as u64)
    );
    assert_eq!(sink.requests("/hook").len(), 4);
}

#[tokio::test]
async fn a_webhook_that_makes_no_event_is_told_the_place_and_kept_without_its_secret() {
    let (bugle, _, _) = fleet(&json!([
        { "id": "in", "http": { "secret": SECRET }, "map": { "type": "{{kind}}" } },
    ]))
    .await;
    let api = bugle.api();
    let refused = post(&api, "/v1/sources/in", &bearer(SECRET), &json!({ "kind": "a b" })).await;
    let refused = refused.expect_problem(400);
    assert_eq!(refused["pointer"], "/map/type", "{refused}");
    let letters = bugle.buries(1).await;
    assert_eq!(letters[0]["message"]["body"], json!({ "kind": "a b" }).to_string());
    assert_eq!((&letters[0]["message"]["source"], &letters[0]["reason"]), (&json!("in"), &json!("unmapped")));
    let sequence = letters[0]["sequence"].as_u64().unwrap();
    let stream = bugle.wire().await;
    let stored = stream.js.get_stream(stream.stream_name("DEAD")).await.unwrap();
    let stored = stored.get_raw_message(sequence).await.unwrap();
    assert!(
        stored.headers.get("authorization").is_none() && !format!("{:?}", stored.headers).contains(SECRET)
    );
}

fn alert(name: &str, status: &str, starts_at: &str) -> Value {
    json!({ "status": status, "labels": { "alertname": name, "severity": "critical" },
        "annotations": { "summary": format!("{name} is bad") }, "startsAt": starts_at,
        "endsAt": if status == "firing" { "0001-01-01T00:00:00Z".to_owned() } else { jiff::Timestamp::now().to_string() },
        "generatorURL": "http://prometheus:9090", "fingerprint": name })
}

fn group(alerts: &[Value]) -> Value {
    json!({ "version": "4", "groupKey": "g", "truncatedAlerts": 0, "status": "firing", "receiver": "bugle",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager:9093",
        "alerts": alerts })
}

#[tokio::test]
async fn an_alert_arrives_once_when_its_group_is_sent_again_and_once_more_when_it_is_over() {
    let (bugle, sink, _) = fleet(&json!([
        { "id": "prometheus", "format": "alertmanager", "http": { "secret": "${ALERTS_SECRET:-a-secret-of-the-tests}" } },
    ]))
    .await;
    let (api, now) = (bugle.api(), jiff::Timestamp::now().to_string());
    let send = async |alerts: &[Value]| {
        post(&api, "/v1/sources/prometheus", &bearer(SECRET), &group(alerts)).await.expect(202)
    };
    let disk = alert("disk", "firing", &now);
    assert_eq!(send(std::slice::from_ref(&disk)).await["published"], 1);
    // Another alert joins: Alertmanager sends the whole group.
    let memory = alert("memory", "firing", &now);
    assert_eq!(send(&[disk, memory]).await, json!({ "published": 1, "duplicates": 1 }));
    assert_eq!(send(&[alert("disk", "resolved", &now)]).await["published"], 1);
    // It fires again: that is another alert.
    let again = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1)).to_string();
    assert_eq!(send(&[alert("disk", "firing", &again)]).await["published"], 1);
    let requests = sink.receives(4, "/hook").await;
    assert_eq!(types(&requests), ["alert:firing", "alert:firing", "alert:firing", "alert:resolved"]);
    let first =
        requests.iter().find(|request| request.json()["data"]["fingerprint"] == "memory").unwrap().json();
    assert_eq!((&first["severity"], &first["data"]["receiver"]), (&json!("critical"), &json!("bugle")));
    assert!(first["title"].as_str().unwrap().contains("memory"), "{first:#}");
    assert!(first["body"].as_str().unwrap().contains("memory is bad"), "{first:#}");
    bugle.api().shows(4, "status=sent").await;
}

#[tokio::test]
async fn without_the_broker_a_webhook_is_to_come_again_and_is_one_event_then() {
    let mut server = crate::support::broker::NatsServer::start().await;
    let bugle = crate::support::bugle::Bugle::on(&server, crate::support::database::Database::sqlite());
    bugle.start_with(&json!({ "sources": [{ "id": "in", "http": { "secret": SECRET } }] })).await;
    let api = bugle.api();
    server.kill_9();
    let refused = post(&api, "/v1/sources/in", &bearer(SECRET), &json!({ "n": 1 })).await;
    refused.clone().expect_problem(503);
    assert!(!refused.header("retry-after").is_empty());
    server.start_again().await;
    eventually("it is taken", crate::support::LATER, async || {
        let taken = post(&api, "/v1/sources/in", &bearer(SECRET), &json!({ "n": 1 })).await;
        ensure(taken.status == 202, format!("{taken:?}"))
    })
    .await;
    assert_eq!(bugle.wire().await.messages("EVENTS").await, 1);
}

#[tokio::test]
async fn an_unset_variable_is_named_to_whoever_writes_the_source_and_not_to_whoever_calls() {
    let (bugle, _, _) = fleet(&json!([])).await;
    let api = bugle.api();
    let source = json!({ "http": { "secret": "${NOT_SET_ANYWHERE}" } });
    let refused = crate::support::api::json(api.request("PUT", "/v1/sources/in"), &source);
    let refused = reply(refused).await.expect_problem(400);
    assert_eq!(refused["pointer"], "/http/secret", "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("NOT_SET_ANYWHERE"), "{refused}");
    bugle
        .apply_as(
            "file",
            &json!({ "sources": [{ "id": "in", "http": { "secret": "${NOT_SET_ANYWHERE}" } }] }),
        )
        .await
        .ok();
    eventually("it is in the log", SOON, async || {
        let log = bugle.log("api");
        ensure(log.contains("NOT_SET_ANYWHERE is not set") && log.contains("/http/secret"), log)
    })
    .await;
    let refused = post(&api, "/v1/sources/in", &bearer(SECRET), &json!({})).await.expect_problem(503);
    assert!(!refused.to_string().contains("NOT_SET"), "{refused}");
}

#[tokio::test]
async fn recipients_of_an_event_are_those_of_a_rule_that_names_none() {
    let (bugle, sink, _) = fleet(&json!([
        { "id": "in", "http": { "secret": SECRET }, "map": { "recipients": "{{owners}}" } },
    ]))
    .await;
    let api = bugle.api();
    post(&api, "/v1/sources/in", &bearer(SECRET), &json!({ "owners": ["ann", "bob", "ann"] }))
        .await
        .expect(202);
    let mut recipients: Vec<Value> =
        sink.receives(2, "/hook").await.iter().map(|request| request.json()["recipient"].clone()).collect();
    recipients.sort_by_key(Value::to_string);
    assert_eq!(recipients, [json!("ann"), json!("bob")]);
    let rule = json!({ "events": ["in"], "channels": ["hook"], "recipients": ["cy"] });
    api.post("/v1/rules", &rule).await.expect(201);
    post(&api, "/v1/sources/in", &bearer(SECRET), &json!({ "owners": "dan" })).await.expect(202);
    let all = sink.receives(4, "/hook").await;
    let names: Vec<Value> = all.iter().map(|request| request.json()["recipient"].clone()).collect();
    assert!(names.contains(&json!("cy")) && names.contains(&json!("dan")), "{names:?}");
}

#[tokio::test]
async fn secrets_are_in_no_answer_and_no_log() {
    let (bugle, _, _) = fleet(&json!([])).await;
    let api = bugle.api();
    let made = put(&api, "in", &json!({ "http": { "secret": SECRET, "secrets": [STANDARD_SECRET] } })).await;
    assert_eq!(made["http"], json!({ "secret": "***", "secrets": ["***"] }), "{made}");
    // What was read is sent back whole, with another field changed.
    let mut read = api.get("/v1/sources/in").await.expect(200);
    read["map"] = json!({ "type": "changed" });
    put(&api, "in", &read).await;
    post(&api, "/v1/sources/in", &bearer(SECRET), &json!({})).await.expect(202);
    post(&api, "/v1/sources/in", &bearer("not-the-secret-of-it"), &json!({})).await.expect_problem(401);
    let mut said = String::new();
    for path in ["/v1/sources", "/v1/sources/in", "/v1/sources/in/versions", "/metrics"] {
        said.push_str(&api.get(path).await.expect(200).to_string());
    }
    assert!(said.contains("***"), "{said}");
    let file = json!({ "sources": [{ "id": "filed", "http": { "secret": "the-first-of-the-secrets" } }] });
    said.push_str(&bugle.apply_as("file", &file).await.ok());
    let file = json!({ "sources": [{ "id": "filed", "http": { "secret": "the-other-of-the-secrets" } }] });
    said.push_str(&bugle.apply_as("file", &file).await.ok());
    for role in ROUTING.iter().chain([&Role::Api]) {
        said.push_str(&bugle.log(role.word()));
    }
    for secret in [SECRET, &STANDARD_SECRET[6..], "the-first-of", "the-other-of"] {
        assert!(!said.contains(secret), "{secret} is in what was said");
    }
}
