//! Prometheus' Alertmanager: its webhook's payload, version 4, and one event for each alert in it.
//!
//! Alertmanager sends a whole group again whenever one of its alerts changes, and once in `repeat_interval` when nothing
//! does. An alert in a state is therefore published once in the source's `repeatAfterMs`; later it is a new event, with
//! the time of its receipt. Source: `prometheus.io/docs/alerting/latest/configuration/#webhook_config`.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map as Fields, Value};

use super::Source;
use super::map::{Raw, message_id, origin};
use crate::event::Severity;
use crate::ids::digest;
use crate::rule::fault::Fault;

const VERSION: &str = "4";
/// What an alert's event has of its group.
const OF_THE_GROUP: [&str; 6] =
    ["receiver", "groupKey", "groupLabels", "commonLabels", "commonAnnotations", "externalURL"];

/// # Errors
/// When it is no such payload. What is wrong with one alert is among the results.
pub(super) fn read(
    source: &Source,
    received_at: Timestamp,
    payload: &Value,
) -> Result<Vec<Result<Raw, Fault>>, Fault> {
    match payload.get("version").and_then(Value::as_str) {
        Some(VERSION) => {}
        Some(_) => return Err(Fault::new("/version", format!("is another one than \"{VERSION}\""))),
        None => {
            return Err(Fault::new(
                "/version",
                format!("is missing: Alertmanager's webhook says \"{VERSION}\""),
            ));
        }
    }
    let alerts = payload.get("alerts").and_then(Value::as_array);
    let alerts = alerts.ok_or_else(|| Fault::new("/alerts", "must be a list of alerts"))?;
    let event = |(index, alert): (usize, &Value)| {
        let raw = raw(source, received_at, payload, alert);
        raw.map_err(|fault| fault.below(&format!("/alerts/{index}")))
    };
    Ok(alerts.iter().enumerate().map(event).collect())
}

fn raw(source: &Source, received_at: Timestamp, payload: &Value, alert: &Value) -> Result<Raw, Fault> {
    let Some(fields) = alert.as_object() else { return Err(Fault::here("must be an object")) };
    let text = |name: &str| alert.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (event_type, moment) = match text("status") {
        Some("firing") => ("alert:firing", "startsAt"),
        Some("resolved") => ("alert:resolved", "endsAt"),
        Some(_) | None => return Err(Fault::new("/status", "must be `firing` or `resolved`")),
    };
    let starts_at = time(alert, "startsAt")?;
    let happened = time(alert, moment)?;
    let labels = alert.get("labels").cloned().unwrap_or_default();
    // Older ones send no fingerprint: the labels are what it is made of.
    let fingerprint = text("fingerprint").map_or_else(|| digest(&[&labels.to_string()]), str::to_owned);
    let identity = format!("{fingerprint}:{event_type}:{starts_at}");
    let word = labels.get("severity").and_then(Value::as_str);
    let severity = word.and_then(|word| source.severity(word)).unwrap_or(Severity::Info);
    let mut event = Fields::new();
    let mut put = |name: &str, value: Value| event.insert(name.to_owned(), value);
    put("type", event_type.into());
    put("source", origin(source));
    put("id", format!("{identity}:{}", received_at.as_millisecond()).into());
    put("time", event_time(source, happened, received_at).to_string().into());
    put("severity", severity.as_str().into());
    let mut data = fields.clone();
    for name in OF_THE_GROUP {
        if let Some(found) = payload.get(name) {
            data.entry(name).or_insert_with(|| found.clone());
        }
    }
    let message_id = Some(message_id(source, &identity));
    Ok(Raw { fields: event, data: Value::Object(data), message_id, once: Some(identity) })
}

fn time(alert: &Value, name: &str) -> Result<Timestamp, Fault> {
    let text = alert.get(name).and_then(Value::as_str);
    let wrong = || Fault::new(format!("/{name}"), "must be a time (RFC 3339)");
    text.and_then(|text| text.parse().ok()).ok_or_else(wrong)
}

/// What began long ago and is sent now is a reminder of now: with its old time it would be too old to be worth sending.
fn event_time(source: &Source, happened: Timestamp, received_at: Timestamp) -> Timestamp {
    let age = received_at.duration_since(happened);
    let fresh = SignedDuration::try_from(source.repeat_after).is_ok_and(|limit| age <= limit);
    if fresh { happened.min(received_at) } else { received_at }
}
