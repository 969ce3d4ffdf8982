//! Tickets for streams: once, for a minute, on every API process.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::support::api::{Api, token};
use crate::support::bugle::{Bugle, Member, Role};
use crate::support::{LATER, SOON, ensure, eventually};

const STREAM: &str = "/v1/events/stream";

/// An installation with two API processes that log all there is to log.
async fn two() -> (Bugle, Member, [Api; 2]) {
    let bugle = Bugle::new().await;
    bugle.set("LOG__LEVEL", "trace");
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&[Role::Api]).await;
    let mut second = bugle.spawn(Role::Api);
    second.until_ready(LATER).await;
    let nobodys = [bugle.api_as(""), Api::new(second.api_port.unwrap(), "")];
    (bugle, second, nobodys)
}

async fn ticket(api: &Api) -> String {
    let made = api.post("/v1/stream-tickets", &json!({})).await;
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.expect(201);
    let expires_at: Timestamp = made["expiresAt"].as_str().unwrap().parse().unwrap();
    let left = expires_at.duration_since(Timestamp::now()).as_secs();
    assert!((50..=60).contains(&left), "{left} s");
    made["ticket"].as_str().unwrap().to_owned()
}

fn with(ticket: &str) -> String {
    format!("{STREAM}?ticket={ticket}")
}

#[tokio::test]
async fn a_ticket_opens_one_stream_on_whichever_api() {
    let (bugle, _second, [here, there]) = two().await;
    for (first, then) in [(&here, &there), (&there, &here), (&here, &here)] {
        let ticket = ticket(&bugle.api()).await;
        let mut stream = first.stream(&with(&ticket), None).await;
        assert_eq!(stream.next(SOON).await.unwrap().event, "connected");
        let again = then.get(&with(&ticket)).await.expect_problem(401);
        assert!(again["detail"].as_str().unwrap().contains("used already"), "{again}");
        bugle.wire().await.event("a:b", &ticket, &json!({})).await;
        assert_eq!(stream.next(SOON).await.unwrap().json()["id"], ticket.as_str());
    }
    for wrong in ["", "bgt_never-made", "no ticket", &bugle.api().token] {
        let refused = here.get(&with(&wrong.replace(' ', "%20"))).await.expect_problem(401);
        assert!(refused["detail"].as_str().unwrap().contains("ticket"), "{refused}");
    }
    let both = format!("{STREAM}?ticket=x&token=y");
    here.get(&both).await.expect_problem(400);
}

#[tokio::test]
async fn a_ticket_that_is_older_than_its_minute_is_refused() {
    let (bugle, _second, [here, _]) = two().await;
    let ticket = ticket(&bugle.api()).await;
    let wire = bugle.wire().await;
    let people = wire.js.get_key_value(format!("{}_PEOPLE", bugle.prefix.to_uppercase())).await.unwrap();
    let held = people.get("unsubscribe.key").await.unwrap().expect("a ticket was made");
    let key = bugle::installation::Key::parse(&held).unwrap();
    let token = bugle::api::auth::hash(&bugle.api().token);
    let sealed = |expires_at| bugle::api::tickets::sealed(&key, &token, expires_at).unwrap();
    let late = sealed(Timestamp::now() - Duration::from_secs(1));
    let refused = here.get(&with(&late)).await.expect_problem(401);
    assert!(refused["detail"].as_str().unwrap().contains("expired"), "{refused}");
    // As the API itself makes them.
    for ticket in [sealed(Timestamp::now() + Duration::from_secs(60)), ticket.clone()] {
        let mut stream = here.stream(&with(&ticket), None).await;
        assert_eq!(stream.next(SOON).await.unwrap().event, "connected");
    }
    let names = bugle::bus::Names::new(&bugle.prefix).unwrap();
    let subject = names.stream_ticket(&bugle::api::auth::hash(&ticket));
    let throttle = wire.js.get_stream(wire.stream_name("THROTTLE")).await.unwrap();
    let kept = throttle.get_last_raw_message_by_subject(&subject).await.unwrap();
    assert_eq!(
        kept.headers.get("Nats-TTL").map(async_nats::HeaderValue::as_str),
        Some("180"),
        "the broker forgets it"
    );
}

#[tokio::test]
async fn of_many_uses_at_once_exactly_one_passes() {
    let (bugle, _second, apis) = two().await;
    for _ in 0..10 {
        let path = with(&ticket(&bugle.api()).await);
        let uses = (0..8).map(|number| {
            let api: &Api = &apis[number % 2];
            let request = api.request("GET", &path);
            async move { request.send().await.unwrap().status().as_u16() }
        });
        let mut statuses = futures_util::future::join_all(uses).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401, 401, 401, 401, 401, 401, 401]);
    }
}

#[tokio::test]
async fn a_ticket_gives_what_its_token_gives_when_it_is_used() {
    let (bugle, _second, [here, there]) = two().await;
    bugle.start_roles(&[Role::Recorder]).await;
    let agent = token(&bugle, "agent", &json!({ "workspace": "red", "recipient": "agent-7" })).await;
    here.get(&with(&ticket(&agent).await)).await.expect_problem(403);
    let path = format!("/v1/deliveries/stream?recipient=another&ticket={}", ticket(&agent).await);
    here.get(&path).await.expect_problem(403);
    let path = format!("/v1/deliveries/stream?ticket={}", ticket(&agent).await);
    let mut stream = there.stream(&path, None).await;
    assert_eq!(stream.next(SOON).await.unwrap().event, "connected");
    // Elsewhere it is nothing.
    here.get(&format!("/v1/deliveries?ticket={}", ticket(&agent).await)).await.expect_problem(401);

    let late = ticket(&agent).await;
    let listed = bugle.api().get("/v1/tokens").await.expect(200);
    let id = listed["tokens"][0]["id"].as_str().unwrap().to_owned();
    bugle.api().delete(&format!("/v1/tokens/{id}")).await;
    assert_eq!(
        stream.next(SOON).await.unwrap().json(),
        json!({ "reason": "revoked" }),
        "as any other stream"
    );
    eventually("the other process knows it too", SOON, async || {
        let status = Api { token: agent.token.clone(), ..there.clone() }.get("/v1/deliveries").await.status;
        ensure(status == 401, status.to_string())
    })
    .await;
    let refused = there.get(&format!("/v1/deliveries/stream?ticket={late}")).await.expect_problem(401);
    assert!(refused["detail"].as_str().unwrap().contains("revoked"), "{refused}");
}

#[tokio::test]
async fn no_ticket_and_no_token_is_kept_or_logged_as_it_is() {
    let (bugle, mut second, [here, _]) = two().await;
    let (used, unused) = (ticket(&bugle.api()).await, ticket(&bugle.api()).await);
    let mut stream = here.stream(&with(&used), None).await;
    assert_eq!(stream.next(SOON).await.unwrap().event, "connected");
    let mut by_token = here.stream(&format!("{STREAM}?token={}", bugle.api().token), None).await;
    assert_eq!(by_token.next(SOON).await.unwrap().event, "connected");
    let wire = bugle.wire().await;
    let throttle = wire.js.get_stream(wire.stream_name("THROTTLE")).await.unwrap();
    let state = throttle.cached_info().state.clone();
    let mut kept = 0;
    for sequence in state.first_sequence..=state.last_sequence {
        let Ok(message) = throttle.get_raw_message(sequence).await else { continue };
        kept += 1;
        let all = format!("{} {}", message.subject, String::from_utf8_lossy(&message.payload));
        for secret in [&used, &unused, &bugle.api().token] {
            assert!(!all.contains(secret.as_str()), "{all}");
        }
    }
    assert!(kept >= 1, "{kept}");
    second.process.sigterm(LATER).await;
    let logs = bugle.log("api");
    for secret in [&used, &unused, &bugle.api().token] {
        assert!(!logs.is_empty() && !logs.contains(secret.as_str()), "{logs}");
    }
}
