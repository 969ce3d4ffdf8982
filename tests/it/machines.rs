//! What goes out for machines: the forms of a webhook, messages on NATS, services by URL. Read by programs of others.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::clients::python;
use crate::support::bugle::{Bugle, rule, webhook, with};
use crate::support::sink::{Answer, Request, Sink};
use crate::support::unique;

const PRIVATE_KEY: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=";
const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn started(python: &Path, name: &str, arguments: &[&str]) -> Child {
    let file = format!("{}/tests/it/clients/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python);
    command.arg(file).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().unwrap()
}

/// What a script prints about a request.
async fn told(python: &Path, name: &str, arguments: &[&str], request: &Request) -> String {
    let body = String::from_utf8(request.bytes.clone()).unwrap();
    let mut child = started(python, name, arguments);
    let input = json!({ "headers": request.headers, "body": body }).to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A subscriber, as soon as it listens.
async fn listening(python: &Path, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = started(python, "listen.py", arguments);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    (child, lines)
}

async fn heard(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
}

fn hook(sink: &Sink, path: &str, more: &Value) -> Value {
    let mut channel = webhook(path.trim_start_matches('/'), &sink.url(path));
    channel["config"] = with(channel["config"].clone(), more);
    channel
}

#[tokio::test]
async fn a_webhook_speaks_in_the_form_that_its_receiver_knows() {
    let Some(python) = python() else { return };
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let template = json!({ "text": "{{severity|upper}}: {{ data.name }}", "count": "{{data.count}}", "tags": ["bugle", "{{rule}}"] });
    let channels = [
        hook(&sink, "/structured", &json!({ "format": "cloudevents" })),
        hook(&sink, "/binary", &json!({ "format": "cloudevents-binary", "secrets": [PRIVATE_KEY, SECRET] })),
        hook(&sink, "/own", &json!({ "template": template, "contentType": "application/vnd.example+json" })),
    ];
    let rules = ["structured", "binary", "own"].map(|id| rule(id, "café:order", id));
    bugle.start_with(&json!({ "channels": channels, "rules": rules })).await;
    bugle.wire().await.event("café:order", "e-1", &json!({ "name": "Zoë \"<x>\"", "count": 7 })).await;

    for path in ["/structured", "/binary"] {
        let request = sink.receives(1, path).await.remove(0);
        let event: Value =
            serde_json::from_str(&told(&python, "cloud_event.py", &[], &request).await).unwrap();
        let attributes = &event["attributes"];
        assert_eq!(attributes["id"], request.headers["webhook-id"], "{path}");
        for (name, expected) in [
            ("specversion", "1.0"),
            ("source", "/bugle/default"),
            ("type", "bugle.notification"),
            ("subject", "café:order"),
            ("datacontenttype", "application/json"),
            ("buglehops", "1"),
        ] {
            assert_eq!(attributes[name], expected, "{path} {name} {attributes}");
        }
        assert_eq!(event["data"]["data"], json!({ "name": "Zoë \"<x>\"", "count": 7 }), "{path}");
        assert_eq!(event["data"]["event"]["id"], "e-1", "{path}");
    }
    let binary = sink.requests("/binary").remove(0);
    assert!(binary.headers["ce-subject"].is_ascii());
    told(&python, "verify_ed25519.py", &[PUBLIC_KEY], &binary).await;
    told(&python, "verify.py", &[SECRET], &binary).await;

    let own = sink.receives(1, "/own").await.remove(0);
    assert_eq!(own.headers["content-type"], "application/vnd.example+json");
    assert_eq!(own.json(), json!({ "text": "INFO: Zoë \"<x>\"", "count": 7, "tags": ["bugle", "own"] }));
    bugle.api().shows(3, "status=sent").await;
}

#[tokio::test]
async fn a_template_that_cannot_render_is_given_up_with_its_place_and_a_wrong_one_is_refused() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let channel = hook(&sink, "/own", &json!({ "template": { "sum": "{{ data.count + 1 }}" } }));
    bugle.start_with(&json!({ "channels": [channel], "rules": [rule("r", "order", "own")] })).await;
    bugle.wire().await.event("order", "e-1", &json!({ "count": 7 })).await;
    assert_eq!(sink.receives(1, "/own").await[0].json(), json!({ "sum": "8" }));
    bugle.wire().await.event("order", "e-2", &json!({ "count": "many" })).await;
    let failed = bugle.api().shows(1, "status=failed").await.remove(0);
    assert_eq!(failed["reason"], "misconfigured");
    let detail = bugle.buries(1).await[0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("config/template/sum") && !detail.contains("many"), "{detail}");

    let wrong = hook(&sink, "/own", &json!({ "template": { "sum": "{{ titel }}" } }));
    let said = bugle.apply_as("other", &json!({ "channels": [wrong] })).await;
    assert!(said.code != 0 && said.stderr.contains("/template/sum"), "{said:?}");
}

#[tokio::test]
async fn a_message_goes_out_on_a_subject_and_a_stream_stores_it_once() {
    let Some(python) = python() else { return };
    let bugle = Bugle::new().await;
    let (subject, stored) = (unique("alerts"), unique("stored"));
    let (_plain, mut plain) = listening(&python, &[&bugle.nats_url, &format!("{subject}.>"), "1"]).await;
    let name = unique("STREAM");
    let (_stream, mut stream) =
        listening(&python, &[&bugle.nats_url, &format!("{stored}.>"), "1", &name]).await;
    let channels = json!([
        { "id": "plain", "kind": "nats", "config": { "subject": format!("{subject}.{{{{severity}}}}.{{{{type}}}}") } },
        { "id": "stored", "kind": "nats", "config": { "subject": format!("{stored}.all"), "jetStream": true, "format": "cloudevents-binary" } },
    ]);
    let rules = [
        with(rule("a", "order:late", "plain"), &json!({ "severity": "warning" })),
        rule("b", "order:late", "stored"),
    ];
    bugle.start_with(&json!({ "channels": channels, "rules": rules })).await;
    bugle.wire().await.event("order:late", "e-1", &json!({ "order": 7 })).await;

    let message = heard(&mut plain).await;
    assert_eq!(message["subject"], format!("{subject}.warning.order.late"));
    assert_eq!(message["headers"]["content-type"], "application/json");
    let body: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
    assert_eq!((&body["data"], &body["type"]), (&json!({ "order": 7 }), &json!("order:late")));

    let message = heard(&mut stream).await;
    assert_eq!(message["headers"]["ce-type"], "bugle.notification");
    assert_eq!(message["headers"]["Nats-Msg-Id"], message["headers"]["ce-id"]);
    let sent = bugle.api().shows(2, "status=sent").await;
    assert_eq!(sent.len(), 2);
}

#[tokio::test]
async fn a_subject_of_bugles_own_is_refused_one_without_a_stream_is_tried_again_and_what_is_too_large_is_given_up()
 {
    let bugle = Bugle::new().await;
    let channels = json!([
        { "id": "own", "kind": "nats", "config": { "subject": format!("{}.events.default.order", bugle.prefix) } },
        { "id": "lost", "kind": "nats", "config": { "subject": format!("{}.x", unique("nowhere")), "jetStream": true },
          "retry": { "scheduleMs": [100] } },
        { "id": "large", "kind": "nats", "config": { "subject": unique("large"), "template": vec!["{{data}}"; 8] } },
    ]);
    let rules = ["own", "lost", "large"].map(|id| rule(id, "order", id));
    bugle.start_with(&json!({ "channels": channels, "rules": rules })).await;
    bugle.wire().await.event("order", "e-1", &json!({ "x": "x".repeat(200_000) })).await;
    let failed = bugle.api().shows(1, "status=failed&channel=lost").await.remove(0);
    assert_eq!(failed["reason"], "gone");
    let failed = bugle.api().shows(1, "status=failed&channel=large").await.remove(0);
    assert_eq!(failed["reason"], "too_large");
    let waiting = bugle.api().shows(1, "status=retrying&channel=own").await.remove(0);
    assert_eq!(waiting["reason"], "misconfigured");
}

#[tokio::test]
async fn a_later_word_on_one_incident_takes_the_place_of_the_earlier_one_in_discord() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let hook = "/api/v10/webhooks/42/hunter2";
    sink.script(hook, [Answer::Json(json!({ "id": "7" }))]);
    sink.script(&format!("{hook}/messages/7"), [Answer::Json(json!({ "id": "7" }))]);
    let config = json!({ "url": "discord://42/hunter2", "apiBase": sink.url("") });
    let collapse = json!({ "collapse": { "key": "{{incident}}" } });
    bugle
        .start_with(&json!({
            "channels": [{ "id": "discord", "kind": "url", "config": config }],
            "rules": [with(rule("incidents", "incident:*", "discord"), &collapse)],
        }))
        .await;
    let wire = bugle.wire().await;
    for step in 1..=2 {
        wire.event("incident:step", &format!("e-{step}"), &json!({ "incident": 1 })).await;
        bugle.api().shows(step, "status=sent").await;
    }
    assert_eq!(sink.receives(1, hook).await.len(), 1);
    assert_eq!(sink.receives(1, &format!("{hook}/messages/7")).await.len(), 1);
}

#[tokio::test]
async fn a_service_is_reached_by_its_url_and_its_answers_decide() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let at = |id: &str, url: String| json!({ "id": id, "kind": "url", "config": { "url": url, "apiBase": sink.url("") } });
    let own = |id: &str, url: String| json!({ "id": id, "kind": "url", "config": { "url": url } });
    let channels = [
        at("discord", "discord://42/hunter2".to_owned()),
        at("pager", format!("pagerduty://{}", "a1".repeat(16))),
        own("ntfy", format!("ntfy://127.0.0.1:{}/alerts", sink.port)),
        own("chat", format!("mmost://127.0.0.1:{}/hunter2", sink.port)),
    ];
    sink.script("/api/v10/webhooks/42/hunter2", [Answer::Json(json!({ "id": "m-1" }))]);
    sink.script("/hooks/hunter2", [Answer::Status(404)]);
    let ids = ["discord", "pager", "ntfy", "chat"];
    let rules = ids.map(|id| rule(id, "order:late", id));
    bugle.start_with(&json!({ "channels": channels, "rules": rules })).await;
    bugle.wire().await.event("order:late", "e-1", &json!({ "order": 7 })).await;
    let discord = sink.receives(1, "/api/v10/webhooks/42/hunter2").await.remove(0);
    assert_eq!(discord.json()["embeds"][0]["footer"]["text"], "info · order:late");
    let pager = sink.receives(1, "/v2/enqueue").await.remove(0);
    assert_eq!(pager.json()["payload"]["custom_details"]["data"], json!({ "order": 7 }));
    assert_eq!(sink.receives(1, "/").await[0].json()["topic"], "alerts");
    bugle.api().shows(3, "status=sent").await;
    let failed = bugle.api().shows(1, "status=failed").await.remove(0);
    assert_eq!((&failed["channel"], &failed["reason"]), (&json!("chat"), &json!("gone")));
    assert!(!failed.to_string().contains("hunter2"), "{failed}");
}
