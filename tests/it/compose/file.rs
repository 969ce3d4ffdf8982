//! docker-compose.yml as Compose reads it: merged, interpolated, a service at a time.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The file as it is written, with its merges (`<<`) done.
pub fn written() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docker-compose.yml");
    merged(bugle::apply::files::yaml(&std::fs::read_to_string(path).unwrap()).unwrap())
}

/// What `<<` names comes first, what stands beside it wins.
fn merged(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut all = Map::new();
            if let Some(base) = fields.get("<<") {
                let bases = base.as_array().cloned().unwrap_or_else(|| vec![base.clone()]);
                // The first of several wins.
                for base in bases.into_iter().rev() {
                    let Value::Object(base) = merged(base) else { panic!("a merge of what is no mapping") };
                    all.extend(base);
                }
            }
            all.extend(
                fields
                    .into_iter()
                    .filter(|(name, _)| name != "<<")
                    .map(|(name, value)| (name, merged(value))),
            );
            Value::Object(all)
        }
        Value::Array(items) => items.into_iter().map(merged).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

/// `${VAR}` and `${VAR:-default}`, from these variables alone.
pub fn interpolated(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut parts = text.split("${");
    let mut whole = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or_else(|| panic!("{text:?} ends within a variable"));
        let (name, default) = name.split_once(":-").unwrap_or((name, ""));
        let set = variables.get(name).filter(|value| !value.is_empty());
        whole.push_str(set.map_or(default, String::as_str));
        whole.push_str(rest);
    }
    whole
}

#[derive(Debug, Clone)]
pub struct Service {
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub secrets: Vec<String>,
    /// Here and in the container; a volume's name is no path here.
    pub volumes: Vec<(String, String)>,
    /// The service, and what it must be.
    pub depends_on: Vec<(String, String)>,
    pub healthcheck: Vec<String>,
    pub replicas: usize,
    /// Started only by hand.
    pub by_hand: bool,
}

/// All services, interpolated.
pub fn services(variables: &BTreeMap<String, String>) -> Vec<Service> {
    let file = written();
    let text = |value: &Value| match value {
        Value::String(text) => interpolated(text, variables),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let service = |(name, service): (&String, &Value)| {
        let pair = |volume: String| {
            let mut parts = volume.splitn(3, ':').map(str::to_owned);
            (parts.next().unwrap(), parts.next().unwrap())
        };
        let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let entry = list(&service["entrypoint"]);
        Service {
            name: name.clone(),
            image: text(&service["image"]),
            command: entry.into_iter().chain(list(&service["command"])).collect(),
            environment: fields(&service["environment"])
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            secrets: list(&service["secrets"]),
            volumes: list(&service["volumes"]).into_iter().map(pair).collect(),
            depends_on: fields(&service["depends_on"])
                .iter()
                .map(|(name, how)| (name.clone(), text(&how["condition"])))
                .collect(),
            healthcheck: list(&service["healthcheck"]["test"]),
            replicas: service["deploy"]["replicas"].as_u64().unwrap_or(1).try_into().unwrap(),
            by_hand: service["profiles"].is_array(),
        }
    };
    file["services"].as_object().unwrap().iter().map(service).collect()
}
