//! What a webhook's request says, and what is refused of a configuration.

use serde_json::json;

use super::*;
use crate::channel::Kind;
use crate::channel::conformance::{sample, workshop};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PRIVATE: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const URL: &str = "https://a.example/";

fn webhook(config: &Value) -> Result<Webhook, Fault> {
    Webhook::new(config, &workshop())
}

fn headers(webhook: &Webhook, delivery: &Delivery) -> HeaderMap {
    let written = webhook.writer.write(delivery).unwrap();
    webhook.headers(Try::of(delivery, jiff::Timestamp::UNIX_EPOCH), &written)
}

#[test]
fn each_secret_signs_in_its_own_way_and_empty_ones_do_not() {
    for (secrets, versions) in [
        (json!([]), vec![]),
        (json!([""]), vec![]),
        (json!(["", SECRET]), vec!["v1"]),
        (json!([PRIVATE, SECRET]), vec!["v1a", "v1"]),
    ] {
        let webhook = webhook(&json!({ "url": URL, "secrets": secrets })).unwrap();
        let headers = headers(&webhook, &sample());
        let signatures = headers.get("webhook-signature").map_or("", |value| value.to_str().unwrap());
        let found: Vec<_> = signatures.split(' ').filter_map(|one| Some(one.split_once(',')?.0)).collect();
        assert_eq!(found, versions, "{secrets}");
        assert_eq!(headers.contains_key("webhook-signature"), !versions.is_empty());
        assert_eq!(headers["webhook-timestamp"], "0");
        assert_eq!(headers["webhook-id"], sample().id.as_str());
    }
}

#[test]
fn faults_name_the_place_and_no_secret() {
    for (config, pointer) in [
        (json!({}), "/url"),
        (json!({ "url": "hunter2" }), "/url"),
        (json!({ "url": URL, "secret": "hunter2" }), "/secret"),
        (json!({ "url": URL, "secrets": [SECRET, "hunter2"] }), "/secrets/1"),
        (json!({ "url": URL, "method": "hunter2" }), "/method"),
        (json!({ "url": URL, "format": "hunter2" }), "/format"),
        (json!({ "url": URL, "template": { "a": "{{ hunter }}" } }), "/template/a"),
        (json!({ "url": URL, "contentType": "text/hunter2" }), "/contentType"),
        (json!({ "url": URL, "contentType": "a/json\r\nhunter2: 1" }), "/contentType"),
        (json!({ "url": URL, "contentType": "application/json", "format": "cloudevents" }), "/contentType"),
        (json!({ "url": URL, "clientKey": "hunter2" }), "/clientCertificate"),
        (json!({ "url": URL, "caCertificate": "hunter2" }), "/caCertificate"),
        (json!({ "url": URL, "headers": { "Content-Type": "hunter2" } }), "/headers/Content-Type"),
        (json!({ "url": URL, "headers": { "Webhook-Id": "hunter2" } }), "/headers/Webhook-Id"),
        (json!({ "url": URL, "headers": { "CE-Id": "hunter2" } }), "/headers/CE-Id"),
        (json!({ "url": URL, "headers": { "HOST": "hunter2" } }), "/headers/HOST"),
        (json!({ "url": URL, "headers": { "X A": "hunter2" } }), "/headers/X A"),
        (json!({ "url": URL, "headers": { "X-A": "hunter2\r\nX-B: c" } }), "/headers/X-A"),
        (json!({ "url": URL, "headers": { "X-A": ["hunter2"] } }), "/headers/X-A"),
    ] {
        let fault = webhook(&config).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{fault}");
        assert!(!fault.message.contains("hunter2"), "{fault}");
    }
}

#[test]
fn a_template_is_checked_before_its_variables_are_known() {
    let config = json!({ "url": "${URL}", "template": { "a": ["{{ titel }}"] } });
    let fault = Kind::Webhook.check(&config).unwrap_err();
    assert_eq!(fault.pointer, "/template/a/0");
    assert!(fault.message.contains("`title`"), "{fault}");
}

#[test]
fn a_traceparent_goes_on_and_a_broken_one_does_not_stop_the_delivery() {
    let webhook = webhook(&json!({ "url": URL })).unwrap();
    let mut delivery = sample();
    for (traceparent, expected) in [(Some("00-a-b-01"), true), (Some("a\nb"), false), (None, false)] {
        delivery.event.traceparent = traceparent.map(str::to_owned);
        assert_eq!(headers(&webhook, &delivery).contains_key("traceparent"), expected, "{traceparent:?}");
    }
}

#[test]
fn the_content_type_is_the_formats_or_ones_own() {
    for (config, expected) in [
        (json!({ "url": URL }), "application/json"),
        (json!({ "url": URL, "format": "cloudevents" }), "application/cloudevents+json"),
        (json!({ "url": URL, "format": "cloudevents-binary" }), "application/json"),
        (json!({ "url": URL, "contentType": "application/scim+json; charset=utf-8" }), "application/scim+json; charset=utf-8"),
    ] {
        let headers = headers(&webhook(&config).unwrap(), &sample());
        assert_eq!(headers["content-type"], expected, "{config}");
        assert_eq!(headers.contains_key("ce-id"), config["format"] == "cloudevents-binary");
    }
}

#[test]
fn nothing_secret_prints() {
    let config = json!({ "url": "https://a.example/hunter2", "secrets": [SECRET, PRIVATE], "headers": { "Authorization": "hunter2" } });
    let printed = format!("{:?}", webhook(&config).unwrap());
    assert!(!printed.contains("hunter2") && !printed.contains("MfKQ") && !printed.contains("6Xb"), "{printed}");
}
