//! Limits: how often a token may ask, and what strangers may cost.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::api::{Api, Reply, token};
use crate::support::bugle::{Bugle, Role};
use crate::support::{SOON, pause};

/// An API that lets each token ask so often.
async fn limited_to(per_minute: u32) -> Bugle {
    let bugle = Bugle::new().await;
    bugle.set("API__REQUESTS_PER_MINUTE", &per_minute.to_string());
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&[Role::Api]).await;
    bugle
}

/// What `RateLimit: "default";r=3;t=20` says.
fn told(reply: &Reply) -> (u32, u64) {
    let text = reply.header("ratelimit");
    let parts = text.strip_prefix("\"default\";r=").and_then(|rest| rest.split_once(";t="));
    let (left, seconds) = parts.unwrap_or_else(|| panic!("{text:?}"));
    (left.parse().unwrap(), seconds.parse().unwrap())
}

async fn counted(api: &Api, limit: &str) -> String {
    let metrics = api.get("/metrics").await.body;
    let head = format!("bugle_api_requests_limited_total{{limit=\"{limit}\"}} ");
    metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&head)).unwrap().to_owned()
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_again() {
    let bugle = limited_to(20).await;
    let api = bugle.api();
    assert_eq!(counted(&api, "token").await, "0");
    for left in (0..20).rev() {
        // Whatever the answer is.
        let reply = match left % 4 {
            0 => api.get("/v1/deliveries").await,
            1 => api.get("/v1/deliveries/d_aaaaaaaaaaaaaaaaaaaaaaaa?foo=1").await,
            2 => api.post("/v1/events", &json!({ "data": 1 })).await,
            _ => api.post("/v1/stream-tickets", &json!({})).await,
        };
        assert!([200, 400, 201].contains(&reply.status), "{reply:?}");
        assert_eq!(reply.header("ratelimit-policy"), "\"default\";q=20;w=60");
        let (found, seconds) = told(&reply);
        // One comes back every three seconds.
        assert!((left..=left + 5).contains(&found), "{found} where {left} are left");
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    let mut refused = api.get("/v1/deliveries").await;
    while refused.status == 200 {
        refused = api.get("/v1/deliveries").await;
    }
    assert_eq!(told(&refused).0, 0);
    assert_eq!(refused.header("ratelimit-policy"), "\"default\";q=20;w=60");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    let problem = refused.expect_problem(429);
    assert_eq!(problem["type"], "urn:bugle:problem:rate-limited");
    assert!(problem.get("retryAfter").is_none() && problem.get("retry_after").is_none(), "{problem}");
    assert_eq!(counted(&api, "token").await, "1");

    // Another token has a limit of its own, also of this process alone; what takes no token has none.
    assert_eq!(api.get("/openapi.json").await.header("ratelimit"), "");
    pause(Duration::from_secs(wait)).await;
    let made = api.post("/v1/tokens", &json!({ "name": "v", "role": "viewer" })).await.expect(201);
    let viewer = bugle.api_as(made["token"].as_str().unwrap());
    assert_eq!(told(&viewer.get("/v1/deliveries").await).0, 19);
}

#[tokio::test]
async fn a_stream_counts_once_and_nobody_counts_twice() {
    let bugle = limited_to(1_000_000).await;
    let viewer = token(&bugle, "viewer", &json!({})).await;
    let left = async || told(&viewer.get("/v1/deliveries").await).0;
    // At this rate all of it is back within a blink.
    assert_eq!(left().await, 999_999);
    drop(bugle);

    let bugle = limited_to(10).await;
    let api = bugle.api();
    let mut stream = api.stream("/v1/events/stream", None).await;
    assert_eq!(stream.response.headers()["ratelimit"], "\"default\";r=9;t=6");
    for _ in 0..9 {
        bugle.wire().await.event("a:b", &fastrand::u64(..).to_string(), &json!({})).await;
    }
    let mut seen = 0;
    while seen < 9 {
        seen += usize::from(stream.next(SOON).await.unwrap().event == "event");
    }
    let after = told(&api.get("/v1/deliveries").await).0;
    assert!((8..=9).contains(&after), "{after}");
}

#[tokio::test]
async fn without_a_limit_nothing_is_said_of_one() {
    let bugle = limited_to(0).await;
    for _ in 0..50 {
        let reply = bugle.api().get("/v1/deliveries").await;
        assert_eq!(
            (reply.status, reply.header("ratelimit"), reply.header("ratelimit-policy")),
            (200, String::new(), String::new())
        );
    }
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_costs_the_broker_little_and_the_right_ones_nothing() {
    let bugle = limited_to(0).await;
    let viewer = token(&bugle, "viewer", &json!({})).await;
    let (started, nobody) = (Instant::now(), bugle.api_as(""));
    let mut looked_up = 0_u32;
    for round in 0..10 {
        let asked = (0..60).map(|number| {
            let wrong = bugle.api_as(&format!("bgl_{}-{round}-{number}", "x".repeat(40)));
            let (nobody, ticket) = (nobody.clone(), format!("/v1/events/stream?ticket=bgt_{round}-{number}"));
            async move { [wrong.get("/v1/deliveries").await, nobody.get(&ticket).await] }
        });
        for [by_token, by_ticket] in futures_util::future::join_all(asked).await {
            assert!([401, 429].contains(&by_token.status), "{by_token:?}");
            assert_eq!(by_token.status == 429, by_token.headers.contains_key("retry-after"), "{by_token:?}");
            // What was not sealed here is looked up nowhere.
            assert_eq!(by_ticket.status, 401, "{by_ticket:?}");
            looked_up += u32::from(by_token.status == 401);
        }
        // Whoever is known is not asked about.
        assert_eq!(viewer.get("/v1/deliveries").await.status, 200);
    }
    // Twenty at once and twenty a second, however fast the flood is.
    let most = 21.0 + started.elapsed().as_secs_f64() * 20.0;
    assert!(looked_up >= 20 && f64::from(looked_up) <= most, "{looked_up} of 600, {most} at most");
    assert_ne!(counted(&bugle.api(), "unknown").await, "0");
}

#[tokio::test]
async fn a_new_token_of_another_process_is_known_at_once() {
    let bugle = limited_to(0).await;
    let mut second = bugle.spawn(Role::Api);
    second.until_ready(SOON).await;
    for _ in 0..5 {
        let made =
            bugle.api().post("/v1/tokens", &json!({ "name": "v", "role": "viewer" })).await.expect(201);
        let elsewhere = Api::new(second.api_port.unwrap(), made["token"].as_str().unwrap());
        elsewhere.get("/v1/deliveries").await.expect(200);
    }
}
