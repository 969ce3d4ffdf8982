//! Events in every encoding, and what is none.

use super::*;
use crate::rule::condition::Facts;

fn incoming<'a>(headers: &'a [(&'a str, &'a str)], body: &'a [u8]) -> Incoming<'a> {
    Incoming {
        workspace: WorkspaceId::default(),
        subject_type: Some("task.done"),
        headers,
        body,
        fallback_id: "EVENTS-7",
        fallback_source: "nats:EVENTS",
        received_at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn a_bare_object_takes_its_type_from_the_subject_and_its_id_from_the_stream() {
    let event = decode(&incoming(&[], br#"{"a":1,"severity":"critical"}"#)).unwrap();
    assert_eq!((event.event_type.as_str(), event.id.as_str()), ("task:done", "EVENTS-7"));
    assert_eq!(event.severity, Some(Severity::Critical));
    assert_eq!(event.data_json.get(), r#"{"a":1,"severity":"critical"}"#);
}

#[test]
fn a_structured_event_says_everything_itself() {
    let body =
        br#"{"specversion":"1.0","id":"1","source":"/ci","type":"build.failed","time":"2026-01-02T03:04:05Z",
        "taskid":"t1","severity":"warning","data":{"n":1}}"#;
    for headers in [&[("Content-Type", "application/cloudevents+json; charset=UTF-8")][..], &[]] {
        let event = decode(&incoming(headers, body)).unwrap();
        assert_eq!((event.id.as_str(), event.source.as_str()), ("1", "/ci"));
        assert_eq!(event.event_type.as_str(), "build:failed");
        assert_eq!(event.time.to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(event.severity, Some(Severity::Warning));
        assert_eq!(event.envelope("taskid").unwrap().as_str(), Some("t1"));
        assert_eq!(event.data["n"], 1);
    }
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_binary_event_has_its_attributes_in_headers_of_any_case() {
    let headers = [
        ("CE-Specversion", "1.0"),
        ("ce-id", "b%C3%A4r"),
        ("ce-source", "/ci"),
        ("ce-type", "build:failed"),
        ("traceparent", TRACE),
    ];
    let event = decode(&incoming(&headers, br#"{"n":2}"#)).unwrap();
    assert_eq!(event.id, "bär");
    assert_eq!(event.data["n"], 2);
    assert_eq!(event.traceparent.as_deref(), Some(TRACE));
    for broken in ["00-1-2-01", "x\ny", ""] {
        let event = decode(&incoming(&[("traceparent", broken)], b"{}")).unwrap();
        assert_eq!(event.traceparent, None, "{broken:?}");
    }
}

/// Headers, body, and what the refusal says.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [u8], &'a str);

#[test]
fn what_is_not_an_event_is_refused_with_its_reason() {
    let ce = ("ce-specversion", "1.0");
    let cases: [Case<'_>; 11] = [
        (&[], b"\xff{}", "not UTF-8"),
        (&[], b"{", "not JSON"),
        (&[], b"[1]", "not an object"),
        (&[("content-type", "application/xml")], b"{}", "application/xml"),
        (&[("content-type", "application/cloudevents+avro")], b"{}", "avro"),
        (&[("content-type", "application/cloudevents-batch+json")], b"[]", "batches"),
        (&[ce], b"{}", "no type"),
        (&[ce, ("ce-type", "a:b")], b"{}", "no id"),
        (&[ce, ("ce-type", "a b"), ("ce-id", "1"), ("ce-source", "s")], b"{}", "character 2"),
        (&[("ce-specversion", "0.3")], b"{}", "0.3"),
        (
            &[("content-type", "application/cloudevents+json")],
            br#"{"specversion":"1.0","type":"a","id":""}"#,
            "id",
        ),
    ];
    for (headers, body, expected) in cases {
        let error = decode(&incoming(headers, body)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
    let nameless = Incoming { subject_type: None, ..incoming(&[], b"{}") };
    assert_eq!(decode(&nameless).unwrap_err(), DecodeError::missing("type"));
}

#[test]
fn json_nested_beyond_reason_is_refused_not_overflown() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(decode(&incoming(&[], deep.as_bytes())), Err(DecodeError::NotJson(_))));
}

#[test]
fn a_mistyped_attribute_is_named_with_the_one_that_was_meant() {
    let refusal = |fields: &str| {
        let body = format!(r#"{{"specversion":"1.0","id":"1","source":"s",{fields}}}"#);
        let error = decode(&incoming(&[("content-type", "application/cloudevents+json")], body.as_bytes()))
            .unwrap_err();
        (error.pointer(), error.to_string())
    };
    let said = |pointer: &str, text: &str| (pointer.to_owned(), text.to_owned());
    assert_eq!(
        refusal(r#""type":"task:x","dta":{"to":"failed"}"#),
        said(
            "/dta",
            "attribute \"dta\" is an object: attributes are texts, numbers or booleans; did you mean data?"
        )
    );
    assert_eq!(
        refusal(r#""typ":"task:x""#),
        said("/type", "the event has no type; did you mean `type` by `typ`?")
    );
    assert_eq!(refusal(r#""n":1"#), said("/type", "the event has no type"));
    assert_eq!(
        refusal(r#""type":"task:x","recipients":["ann"]"#),
        said("/recipients", "attribute \"recipients\" is a list: attributes are texts, numbers or booleans")
    );
    let (pointer, text) = refusal(&format!(r#""type":"a","severity":"{}""#, "x".repeat(1000)));
    assert_eq!(pointer, "/severity");
    assert!(text.len() < 160, "{text}");
}
