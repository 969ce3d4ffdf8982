//! The guide is true: each call of docs/inbox.md is made, and answered as the page says.

use serde_json::{Value, json};

use super::fleet;
use crate::support::api::{Api, json as with_body, reply, token};
use crate::support::database::Database;

const GUIDE: &str = include_str!("../../../docs/inbox.md");

/// The fenced blocks of a language, and for the first one of each pair the block behind it.
fn examples() -> Vec<(Vec<String>, Value)> {
    let calls = GUIDE.split("```sh\n").skip(1).map(|rest| {
        let (calls, rest) = rest.split_once("\n```").unwrap();
        let answer = rest.split("```json\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
        let answer = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let calls = calls.replace("\\\n", " ");
        (calls.split("curl ").skip(1).map(|call| call.trim().to_owned()).collect(), answer)
    });
    calls.collect()
}

/// What a shell makes of a line: `$ID` stands for the last notification.
async fn call(api: &Api, agent: &Api, line: &str, id: &str) -> Value {
    let line = line.replace("'$ID'", id).replace("$ID", id);
    let caller = if line.contains("$AGENT_TOKEN") { agent } else { api };
    let method = line.split_once("-X ").map_or("GET", |(_, rest)| rest.split(' ').next().unwrap());
    let path = line.split("$API").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let mut request = caller.request(method, path);
    if let Some((_, body)) = line.split_once("-d '") {
        let body: Value = serde_json::from_str(body.trim_end_matches('\'')).unwrap();
        request = with_body(request, &body);
    }
    let reply = reply(request).await;
    assert!((200..300).contains(&reply.status), "{line}: {reply:?}");
    reply.body
}

/// Everything that is said is so; a text may end in `…`, and fields may be left out.
#[track_caller]
fn is_true(said: &Value, found: &Value, line: &str) {
    match (said, found) {
        (Value::Object(said), Value::Object(_)) => {
            said.iter().for_each(|(name, said)| is_true(said, &found[name], line));
        }
        (Value::Array(said), Value::Array(all)) => {
            assert_eq!(said.len(), all.len(), "{line}: {found:#}");
            said.iter().zip(all).for_each(|(said, found)| is_true(said, found, line));
        }
        (Value::String(said), Value::String(found)) if said.ends_with('…') => {
            assert!(found.starts_with(said.trim_end_matches('…')), "{line}: {said} is not {found}");
        }
        (said, found) => assert_eq!(said, found, "{line}"),
    }
}

#[tokio::test]
async fn every_call_of_the_guide_is_answered_as_it_says() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let agent = token(&bugle, "agent", &json!({ "recipient": "coder" })).await;
    let (examples, mut id) = (examples(), String::new());
    assert!(examples.len() >= 9, "{} examples", examples.len());
    for (calls, said) in examples {
        let mut found = Value::Null;
        for line in &calls {
            found = call(&api, &agent, line, &id).await;
            if let Some(made) = found["notifications"][0]["id"].as_str() {
                made.clone_into(&mut id);
            }
        }
        is_true(&said, &found, &calls.join("; "));
    }
}
