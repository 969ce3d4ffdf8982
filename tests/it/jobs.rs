//! Long work: dead letters sent again by a filter, events routed once more, and what happens when whoever does it dies.

mod command_line;
mod redrive;
mod replay;

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::bugle::{Bugle, rule, webhook};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, eventually};

/// Channels that fail in different ways, each with a rule for events of its name.
async fn failing(sink: &Sink) -> Bugle {
    let bugle = Bugle::new().await;
    sink.script("/refuses", [Answer::Status(302)]);
    sink.script("/broken", [Answer::Status(500)]);
    let once = |id: &str| {
        let channel = webhook(id, &sink.url(&format!("/{id}")));
        crate::support::bugle::with(channel, &json!({ "retry": { "scheduleMs": [] } }))
    };
    let documents = json!({
        "channels": [once("refuses"), once("broken")],
        "rules": [rule("refused", "refuse:*", "refuses"), rule("breaks", "break:*", "broken")],
    });
    bugle.start_with(&documents).await;
    bugle
}

/// Waits until a job is over, and gives it.
async fn over(api: &Api, id: &str) -> Value {
    eventually(&format!("job {id} is over"), LATER, async || {
        let job = api.get(&format!("/v1/jobs/{id}")).await.expect(200);
        if job["state"] == "running" { Err(format!("{job:#}")) } else { Ok(job) }
    })
    .await
}

/// Asks for a job, and gives its id.
async fn began(api: &Api, path: &str, body: &Value) -> String {
    let job = api.post(path, body).await.expect(202);
    job["id"].as_str().unwrap().to_owned()
}
