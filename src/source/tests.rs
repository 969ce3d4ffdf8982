//! Sources as people write them, and messages as senders send them, against the events that they are to become.

use serde_json::{Value, json};

use super::map::{Arrival, Draft, Reading, read};
use super::*;
use crate::documents::strict;
use crate::schema;
use crate::secrets::{KeyRing, mask, unmask};

const NOW: &str = "2026-11-21T10:00:00Z";
const SECRET: &str = "a-secret-of-the-tests";

fn compiled(spec: Value) -> Result<Source, Fault> {
    let spec: SourceSpec = strict(spec)?;
    Source::compile(&WorkspaceId::default(), &spec)
}

#[expect(clippy::needless_pass_by_value, reason = "json! makes values")]
fn source(more: Value) -> Source {
    let mut spec = json!({ "id": "shop", "http": { "secret": SECRET } });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    compiled(spec).unwrap()
}

fn webhook(body: &Value) -> Arrival {
    Arrival {
        subject: None,
        headers: vec![("X-GitHub-Event".to_owned(), "push".to_owned())],
        body: body.to_string().into(),
        received_at: NOW.parse().unwrap(),
        place: None,
    }
}

fn message(subject: &str, body: &Value) -> Arrival {
    let place = Some(("ORDERS-1".into(), 7));
    Arrival { subject: Some(subject.to_owned()), place, headers: Vec::new(), ..webhook(body) }
}

#[track_caller]
fn one(reading: Reading) -> Draft {
    assert_eq!(reading.faults, []);
    assert_eq!(reading.drafts.len(), 1, "{reading:?}");
    reading.drafts.into_iter().next().unwrap()
}

#[track_caller]
fn fault(reading: Reading) -> Fault {
    assert!(reading.drafts.is_empty(), "{reading:?}");
    reading.faults.into_iter().next().unwrap()
}

#[test]
fn a_source_that_could_not_run_is_refused_with_its_place() {
    let nats = |nats: Value| json!({ "id": "s", "nats": nats });
    let http = |http: Value| json!({ "id": "s", "http": http });
    let with = |name: &str, value: Value| {
        let mut spec = http(json!({ "secret": SECRET }));
        spec[name] = value;
        spec
    };
    for (spec, place, says) in [
        (json!({ "id": "s" }), "", "one of `nats`, `http` and `events`"),
        (json!({ "id": "s", "nats": { "stream": "S" }, "http": { "secret": SECRET } }), "", "no second one"),
        (json!({ "id": "s", "mqtt": {} }), "/mqtt", "the fields here are"),
        (nats(json!({})), "/nats", "`subjects`"),
        (nats(json!({ "subjects": ["a..b"] })), "/nats/subjects/0", "is no subject"),
        (nats(json!({ "subjects": ["a.>", "a.>.b"] })), "/nats/subjects/1", "is no subject"),
        (nats(json!({ "subjects": [">"] })), "/nats/subjects/0", "Bugle's own"),
        (nats(json!({ "subjects": ["$JS.API.>"] })), "/nats/subjects/0", "the broker"),
        (nats(json!({ "subjects": ["a"], "from": "all" })), "/nats/from", "existing"),
        (nats(json!({ "subjects": ["a"], "keepDays": 0 })), "/nats/keepDays", "1 to 365"),
        (nats(json!({ "stream": "S", "keepDays": 1 })), "/nats/keepDays", "left as it is"),
        (nats(json!({ "stream": "a.b" })), "/nats/stream", "no name of a stream"),
        (nats(json!({ "stream": "S", "from": "old" })), "/nats/from", "allowed are new, all"),
        (http(json!({})), "/http", "needs a `secret`"),
        (http(json!({ "secret": "hunter2" })), "/http/secret", "16"),
        (http(json!({ "secrets": [SECRET, "***"] })), "/http/secrets/1", "stands for a secret"),
        (with("format", json!("xml")), "/format", "json, cloudevents, alertmanager"),
        (with("map", json!({ "type": "{{ a" })), "/map/type", "not closed"),
        (with("map", json!({ "workspace": "{{w}}" })), "/map/workspace", "`workspaces`"),
        (with("workspaces", json!(["a"])), "/map/workspace", "is missing"),
        (with("severities", json!({ "P1": "loud" })), "/severities/P1", "critical"),
        (with("repeatAfterMs", json!(3_600_000)), "/repeatAfterMs", "alertmanager"),
        (json!({ "id": "s", "events": { "source": "polpo" } }), "/carriesRules", "true"),
        (
            json!({ "id": "s", "events": { "source": "polpo" }, "carriesRules": true, "format": "json" }),
            "/format",
            "published as they are",
        ),
    ] {
        let fault = compiled(spec.clone()).unwrap_err();
        assert_eq!(fault.pointer, place, "{spec}: {fault}");
        assert!(fault.message.contains(says), "{spec}: {fault}");
        assert!(!fault.message.contains("hunter2"), "{fault}");
    }
}

#[test]
fn secrets_print_nowhere_and_come_from_variables() {
    let spec = json!({ "id": "s", "http": { "secrets": ["${OLD:-}", "${NEW}"] } });
    let compiled = |new: Option<&'static str>| {
        let lookup = move |name: &str| new.filter(|_| name == "NEW").map(str::to_owned);
        compiled(spec.clone()).unwrap().with_keys(&lookup, &KeyRing::default()).keys.unwrap()
    };
    assert_eq!(compiled(Some(SECRET)).unwrap().0.len(), 1);
    let unset = compiled(None).unwrap_err();
    assert_eq!(
        (unset.pointer.as_str(), unset.message.as_str()),
        ("/http/secrets/1", "the variable NEW is not set")
    );
    assert_eq!(compiled(Some("hunter2")).unwrap_err().pointer, "/http/secrets/1");
    assert!(compiled(Some("")).unwrap_err().message.contains("not empty"));
    let printed = format!("{:?}", source(json!({})).with_keys(&|_: &str| None, &KeyRing::default()));
    assert!(!printed.contains(SECRET), "{printed}");
    let mut masked = json!({ "http": { "secret": SECRET, "secrets": [SECRET, "b"] } });
    let stored = masked.clone();
    mask(&schema::of::<SourceSpec>(), &mut masked);
    assert_eq!(masked, json!({ "http": { "secret": "***", "secrets": ["***", "***"] } }));
    masked["http"]["secrets"][1] = json!("c");
    unmask(&schema::of::<SourceSpec>(), &mut masked, Some(&stored)).unwrap();
    assert_eq!(masked, json!({ "http": { "secret": SECRET, "secrets": [SECRET, "c"] } }));
}

#[test]
fn the_one_mask_is_the_one_secret_that_is_stored_wherever_it_stands() {
    let unmasked = |http: Value, stored: Value| {
        let mut spec = json!({ "http": http });
        unmask(&schema::of::<SourceSpec>(), &mut spec, Some(&json!({ "http": stored })))
            .map(|()| spec["http"].clone())
    };
    let rotating = json!({ "secrets": [SECRET, "new"] });
    assert_eq!(
        unmasked(json!({ "secrets": ["***", "new"] }), json!({ "secret": SECRET })).unwrap(),
        rotating
    );
    assert_eq!(
        unmasked(json!({ "secrets": ["***", "new"] }), json!({ "secrets": [SECRET] })).unwrap(),
        rotating
    );
    assert_eq!(
        unmasked(json!({ "secret": "***" }), json!({ "secrets": [SECRET] })).unwrap(),
        json!({ "secret": SECRET })
    );
    for (sent, stored) in [
        (json!({ "secrets": ["***", "***"] }), json!({ "secret": SECRET })),
        (json!({ "secrets": ["***"] }), json!({ "secrets": [SECRET, "b"] })),
    ] {
        assert_eq!(unmasked(sent, stored).unwrap_err().pointer, "/http/secrets");
    }
}

#[test]
fn without_a_map_a_message_is_an_event_of_its_subject_and_a_webhook_one_of_its_source() {
    let orders = compiled(json!({ "id": "orders", "nats": { "subjects": ["orders.>"] } })).unwrap();
    let draft = one(read(&orders, &message("orders.eu.created", &json!({ "n": 1 }))));
    assert_eq!(
        Value::Object(draft.fields),
        json!({ "specversion": "1.0", "type": "orders.eu.created", "source": "bugle:source:orders", "id": "ORDERS-1-7",
            "time": NOW, "data": { "n": 1 } })
    );
    assert_eq!((draft.message_id, draft.workspace), (None, WorkspaceId::default()));

    let (first, again) = (webhook(&json!({ "n": 1 })), webhook(&json!({ "n": 1 })));
    let later = Arrival { received_at: "2026-11-21T11:00:00Z".parse().unwrap(), ..again.clone() };
    let [first, again, later] = [first, again, later].map(|arrival| one(read(&source(json!({})), &arrival)));
    assert_eq!((&first.fields["type"], &first), (&json!("shop"), &again));
    assert_eq!(first.message_id, later.message_id, "within the broker's memory it is one event");
    assert_ne!(first.fields["id"], later.fields["id"], "after it another one");
}

#[test]
fn each_field_of_an_event_can_be_mapped() {
    let mapped = source(json!({
        "map": {
            "type": "github:{{_source.headers.x-github-event}}{% if action %}:{{action}}{% endif %}",
            "id": "{{delivery}}", "severity": "{{level}}", "recipients": "{{who}}", "time": "{{at}}",
            "workspace": "{{team}}", "data": "{{issue}}",
        },
        "workspaces": ["red", "blue"], "severities": { "P2": "warning", "error": "info" },
    }));
    let body = |level: &str, team: &str, at: Value| {
        json!({ "action": "opened", "delivery": "d-1", "level": level, "who": ["ann", "bob"], "at": at, "team": team,
            "issue": { "n": 1 } })
    };
    let draft = one(read(&mapped, &webhook(&body("p2", "blue", json!(1_700_000_000)))));
    assert_eq!(draft.workspace.as_str(), "blue");
    assert_eq!(draft.message_id, None, "the event's own id counts");
    assert_eq!(
        Value::Object(draft.fields),
        json!({ "specversion": "1.0", "type": "github:push:opened", "source": "bugle:source:shop", "id": "d-1",
            "severity": "warning", "recipients": "ann,bob", "time": "2023-11-14T22:13:20Z", "data": { "n": 1 } })
    );
    for (level, severity) in [
        ("error", Some("info")),
        ("FATAL", Some("critical")),
        ("warn", Some("warning")),
        ("purple", None),
        ("", None),
    ] {
        let draft = one(read(&mapped, &webhook(&body(level, "red", json!("2026-01-01T00:00:00Z")))));
        assert_eq!(draft.fields.get("severity").and_then(Value::as_str), severity, "{level}");
    }
    for (time, expected) in
        [(json!(1_700_000_000_123_u64), "2023-11-14T22:13:20.123Z"), (json!(""), NOW), (json!(null), NOW)]
    {
        let draft = one(read(&mapped, &webhook(&body("info", "red", time))));
        assert_eq!(draft.fields["time"], expected);
    }
    let green = fault(read(&mapped, &webhook(&body("info", "green", json!(1)))));
    assert_eq!(green.pointer, "/map/workspace");
    assert_eq!(fault(read(&mapped, &webhook(&body("info", "red", json!("soon"))))).pointer, "/map/time");
}

#[test]
fn what_came_with_a_message_is_seen_and_its_secrets_and_the_data_are_not_touched() {
    let mapped = compiled(json!({
        "id": "orders", "nats": { "subjects": ["orders.>"] },
        "map": { "type": "order:{{_source.tokens[1]}}", "id": "{{_source.id}}/{{_source.subject}}/{{_event.type}}" },
    }));
    let body = json!({ "_source": "mine", "n": 1 });
    let draft = one(read(&mapped.unwrap(), &message("orders.created", &body)));
    assert_eq!((&draft.fields["type"], &draft.fields["data"]), (&json!("order:created"), &body));
    assert_eq!(draft.fields["id"], "orders/orders.created/orders.created");
}

#[test]
fn what_is_no_event_says_why() {
    let mapped = source(json!({ "map": { "type": "{{kind}}", "data": "{{rest}}" } }));
    assert_eq!(fault(read(&mapped, &webhook(&json!({ "kind": "a b", "rest": {} })))).pointer, "/map/type");
    assert_eq!(fault(read(&mapped, &webhook(&json!({ "rest": {} })))).pointer, "/map/type");
    assert_eq!(fault(read(&mapped, &webhook(&json!({ "kind": "a", "rest": "text" })))).pointer, "/map/data");
    let broken = Arrival { body: "{ not json".into(), ..webhook(&json!({})) };
    assert!(fault(read(&mapped, &broken)).message.contains("not JSON"));
    assert!(fault(read(&mapped, &webhook(&json!([1])))).message.contains("not an object"));
    let cloud = source(json!({ "format": "cloudevents" }));
    assert!(fault(read(&cloud, &webhook(&json!({ "specversion": "1.0" })))).message.contains("type"));
    let event = json!({ "specversion": "1.0", "type": "a", "id": "1", "source": "s", "dta": {} });
    let mistyped = fault(read(&cloud, &webhook(&event)));
    assert_eq!(mistyped.pointer, "/dta");
    assert!(mistyped.message.contains("did you mean data?"), "{mistyped}");
}

#[test]
fn a_cloud_event_stays_what_it_is_but_for_what_is_mapped() {
    let event = json!({ "specversion": "1.0", "type": "com.shop.paid", "source": "/shop", "id": "1", "tenant": "x",
        "time": "2026-11-21T09:00:00Z", "data": { "owner": "ann" } });
    let mapped = source(json!({ "format": "cloudevents", "map": { "recipients": "{{owner}}" } }));
    let mut expected = event.clone();
    expected["type"] = json!("com:shop:paid");
    expected["recipients"] = json!("ann");
    assert_eq!(Value::Object(one(read(&mapped, &webhook(&event))).fields), expected);
}

#[test]
fn each_event_of_a_batch_is_one_and_a_broken_one_does_not_hold_up_the_others() {
    let cloud = source(json!({ "format": "cloudevents" }));
    let event = |id: &str| json!({ "specversion": "1.0", "type": "a", "source": "s", "id": id });
    let batch = |body: &Value| {
        let headers =
            vec![("Content-Type".to_owned(), "application/cloudevents-batch+json; charset=utf-8".to_owned())];
        read(&cloud, &Arrival { headers, ..webhook(body) })
    };
    let reading = batch(&json!([event("1"), { "specversion": "1.0", "typ": "a" }, event("2")]));
    let ids: Vec<&Value> = reading.drafts.iter().map(|draft| &draft.fields["id"]).collect();
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(
        reading.faults,
        [Fault::new("/1/type", "the event has no type; did you mean `type` by `typ`?")]
    );
    assert!(batch(&json!([])).faults.is_empty());
    assert!(fault(batch(&event("1"))).message.contains("no JSON list"));
}

/// The example of Alertmanager's documentation of `webhook_config`, filled in.
fn alerts(starts_at: &str) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{alertname=\"DiskFull\"}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "bugle", "groupLabels": { "alertname": "DiskFull" }, "commonLabels": { "alertname": "DiskFull" },
        "commonAnnotations": {}, "externalURL": "http://alertmanager:9093",
        "alerts": [
            { "status": "firing", "labels": { "alertname": "DiskFull", "severity": "page", "instance": "a" },
              "annotations": { "summary": "a is full" }, "startsAt": starts_at, "endsAt": "0001-01-01T00:00:00Z",
              "generatorURL": "http://prometheus:9090/graph", "fingerprint": "c1" },
            { "status": "resolved", "labels": { "alertname": "DiskFull", "severity": "odd" }, "annotations": {},
              "startsAt": "2026-11-21T08:00:00Z", "endsAt": "2026-11-21T09:59:00Z", "generatorURL": "", "fingerprint": "c2" },
        ],
    })
}

#[test]
fn each_alert_of_alertmanager_is_an_event() {
    let prometheus = source(json!({ "format": "alertmanager" }));
    let reading = read(&prometheus, &webhook(&alerts("2026-11-21T09:58:00Z")));
    assert_eq!(reading.faults, []);
    let [firing, resolved] = <[Draft; 2]>::try_from(reading.drafts).unwrap();
    let of = |draft: &Draft, name: &str| draft.fields[name].as_str().unwrap().to_owned();
    assert_eq!(
        (of(&firing, "type"), of(&firing, "severity"), of(&firing, "time")),
        ("alert:firing".to_owned(), "critical".to_owned(), "2026-11-21T09:58:00Z".to_owned())
    );
    let data = &firing.fields["data"];
    assert_eq!(data["labels"]["instance"], "a");
    assert_eq!(
        (&data["receiver"], &data["externalURL"]),
        (&json!("bugle"), &json!("http://alertmanager:9093"))
    );
    assert_eq!(
        (of(&resolved, "type"), of(&resolved, "severity"), of(&resolved, "time")),
        ("alert:resolved".to_owned(), "info".to_owned(), "2026-11-21T09:59:00Z".to_owned())
    );
    assert_ne!(firing.once, resolved.once);

    // Sent again, it is the same until the broker forgets it, and meets what was written down for longer.
    let later = Arrival {
        received_at: "2026-11-21T14:00:00Z".parse().unwrap(),
        ..webhook(&alerts("2026-11-21T09:58:00Z"))
    };
    let again = read(&prometheus, &later).drafts;
    assert_eq!((&again[0].once, &again[0].message_id), (&firing.once, &firing.message_id));
    assert_ne!(again[0].fields["id"], firing.fields["id"]);
    assert_eq!(again[0].fields["time"], "2026-11-21T14:00:00Z", "a reminder is of now");
}

#[test]
fn one_broken_alert_does_not_hold_up_the_others() {
    let prometheus = source(json!({ "format": "alertmanager", "repeatAfterMs": 600_000 }));
    let mut payload = alerts("yesterday");
    let reading = read(&prometheus, &webhook(&payload));
    assert_eq!((reading.drafts.len(), reading.faults[0].pointer.as_str()), (1, "/alerts/0/startsAt"));
    payload["alerts"][0]["status"] = json!("pending");
    assert_eq!(read(&prometheus, &webhook(&payload)).faults[0].pointer, "/alerts/0/status");
    payload["alerts"] = json!({});
    assert_eq!(fault(read(&prometheus, &webhook(&payload))).pointer, "/alerts");
    payload["version"] = json!("3");
    assert_eq!(fault(read(&prometheus, &webhook(&payload))).pointer, "/version");
}

#[test]
fn the_schema_knows_every_field_of_a_source() {
    let schema = schema::Name::Source.schema();
    let fields: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    for field in ["carriesRules", "enabled", "events", "format", "http", "id", "map", "nats", "severities"] {
        assert!(fields.iter().any(|found| *found == field), "{field} is not in {fields:?}");
    }
}
