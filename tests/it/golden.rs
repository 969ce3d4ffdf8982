//! What earlier releases wrote is read today, and no field of it is lost. `tests/golden/<release>.json` has what lay in a broker after
//! that release had run for a while: streams and buckets, message by message, never to be changed.

use std::collections::BTreeMap;

use bugle::channel::ChannelSpec;
use bugle::connection::ConnectionSpec;
use bugle::delivery::{DeadLetter, Delivery};
use bugle::documents::{Document, TokenSpec};
use bugle::notification::item::Item;
use bugle::outcome::Outcome;
use bugle::preferences::PreferencesSpec;
use bugle::rule::RuleSpec;
use bugle::rule::scope::ScopeSpec;
use bugle::source::SourceSpec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const RELEASES: [(&str, &str); 1] = [("0.6.0", include_str!("../golden/0.6.0.json"))];

/// Reads it as today's type and writes it again: every field of the old one is there.
fn keeps<T: DeserializeOwned + Serialize>(data: &Value) -> Result<(), String> {
    let read: T = serde_json::from_value(data.clone()).map_err(|error| error.to_string())?;
    let written = serde_json::to_value(read).map_err(|error| error.to_string())?;
    lost("", data, &written).map_or(Ok(()), Err)
}

/// The first field that is not in `new` as it is in `old`.
fn lost(place: &str, old: &Value, new: &Value) -> Option<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => old.iter().find_map(|(name, value)| {
            let place = format!("{place}/{name}");
            match new.get(name) {
                Some(found) => lost(&place, value, found),
                None => Some(format!("{place} is lost")),
            }
        }),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => old
            .iter()
            .zip(new)
            .enumerate()
            .find_map(|(index, (old, new))| lost(&format!("{place}/{index}"), old, new)),
        _ => (old != new).then(|| format!("{place} was {old} and is {new}")),
    }
}

fn read(stream: &str, kind: &str, data: &Value) -> Option<Result<(), String>> {
    Some(match (stream, kind) {
        ("DELIVERIES", _) => keeps::<Delivery>(data),
        ("RECORDS", "outcomes") => keeps::<Outcome>(data),
        ("RECORDS", "inbox") => keeps::<Item>(data),
        ("DEAD", _) => keeps::<DeadLetter>(data),
        ("KV_CONFIG", "channels") => keeps::<Document<ChannelSpec>>(data),
        ("KV_CONFIG", "connections") => keeps::<Document<ConnectionSpec>>(data),
        ("KV_CONFIG", "rules") => keeps::<Document<RuleSpec>>(data),
        ("KV_CONFIG", "scopes") => keeps::<Document<ScopeSpec>>(data),
        ("KV_CONFIG", "sources") => keeps::<Document<SourceSpec>>(data),
        ("KV_CONFIG", "tokens") => keeps::<Document<TokenSpec>>(data),
        ("KV_PEOPLE", "preferences") => keeps::<Document<PreferencesSpec>>(data),
        _ => return None,
    })
}

#[test]
fn what_earlier_releases_wrote_is_read_and_no_field_is_lost() {
    for (release, text) in RELEASES {
        let messages: Vec<Value> = serde_json::from_str(text).unwrap();
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for message in &messages {
            let (stream, subject) =
                (message["stream"].as_str().unwrap(), message["subject"].as_str().unwrap());
            let kind = subject.split('.').nth(if stream.starts_with("KV_") { 2 } else { 1 }).unwrap();
            match read(stream, kind, &message["data"]) {
                Some(Ok(())) => *seen.entry((stream.to_owned(), kind.to_owned())).or_default() += 1,
                Some(Err(why)) => panic!("{release}: {subject}: {why}"),
                None => {}
            }
        }
        assert!(seen.len() >= 11, "{release}: {seen:?}");
    }
}
