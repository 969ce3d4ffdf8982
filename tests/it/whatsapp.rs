//! WhatsApp, driven end to end by the real programs: a template to each recipient, whose number nobody sees.

use serde_json::{Value, json};

use crate::support::api::{json as with_body, reply};
use crate::support::bugle::Bugle;
use crate::support::sink::{Answer, Sink};

const NUMBER: &str = "+16505551234";
/// It holds the number in base 64.
const WAMID: &str = "wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA";
const PATH: &str = "/v23.0/106540352242922/messages";

#[tokio::test]
async fn a_recipient_gets_a_template_and_their_number_is_in_no_record() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let accepted = json!({ "messaging_product": "whatsapp", "contacts": [{ "input": NUMBER, "wa_id": &NUMBER[1..] }],
        "messages": [{ "id": WAMID }] });
    sink.script(PATH, [Answer::Json(accepted)]);
    let config = json!({ "phoneNumberId": "106540352242922", "accessToken": "EAAhunter2", "apiBase": sink.url(""),
        "template": { "name": "bugle_alert", "language": "en_US", "parameters": ["title", "body"] } });
    bugle
        .start_with(&json!({
            "channels": [{ "id": "phone", "kind": "whatsapp", "config": config }],
            "rules": [{ "id": "r", "events": ["ci:*"], "channels": ["phone"], "recipients": ["ann", "bob"],
                "template": { "title": "Build {{n}}", "body": "**broken**\n\nby {{by}}" } }],
        }))
        .await;
    let api = bugle.api();
    let put = |body: &Value| reply(with_body(api.request("PUT", "/v1/recipients/ann"), body));
    let bad = put(&json!({ "contacts": { "whatsapp": "0650" } })).await.expect_problem(400);
    assert_eq!(bad["pointer"], "/contacts/whatsapp", "{bad}");
    put(&json!({ "contacts": { "whatsapp": NUMBER } })).await.expect(201);
    bugle.wire().await.event("ci:failed", "e-1", &json!({ "n": 7, "by": "eve" })).await;

    let request = &sink.receives(1, PATH).await[0];
    assert_eq!(request.headers["authorization"], "Bearer EAAhunter2");
    let text = |text: &str| json!({ "type": "text", "text": text });
    assert_eq!(
        request.json(),
        json!({ "messaging_product": "whatsapp", "recipient_type": "individual", "to": NUMBER, "type": "template",
            "template": { "name": "bugle_alert", "language": { "code": "en_US" },
                "components": [{ "type": "body", "parameters": [text("Build 7"), text("broken by eve")] }] } })
    );
    let sent = api.shows(1, "status=sent").await;
    assert_eq!(sent[0]["recipient"], "ann");
    let held = api.shows(1, "status=suppressed").await;
    assert_eq!(held[0]["detail"], "the recipient has no whatsapp");
    let whole = api.delivery(sent[0]["id"].as_str().unwrap()).await.to_string();
    for secret in [&NUMBER[1..], WAMID, "hunter2"] {
        assert!(!whole.contains(secret), "{whole}");
        for role in ["worker", "router", "recorder", "api"] {
            assert!(!bugle.log(role).contains(secret), "{role}");
        }
    }
}
