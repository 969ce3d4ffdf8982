//! How loud the programs are, and in which form.

use serde_json::{Value, json};

use crate::support::bugle::{Bugle, everything_to};
use crate::support::sink::Sink;

#[tokio::test]
async fn logs_are_as_loud_and_of_the_form_that_is_set() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set("LOG__FORMAT", "json");
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    bugle.api().shows(1, "status=sent").await;
    let lines: Vec<Value> =
        bugle.log("worker").lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().any(|line| line.to_string().contains("attempt finished")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line["level"] == "DEBUG"), "{lines:#?}");

    let quiet = Bugle::new().await;
    quiet.set("LOG__LEVEL", "error");
    quiet.start_with(&everything_to(&sink.url("/hook"))).await;
    quiet.wire().await.event("a:b", "1", &json!({})).await;
    quiet.api().shows(1, "status=sent").await;
    assert_eq!(quiet.log("worker"), "");
}
