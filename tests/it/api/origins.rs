//! Other origins: which pages may call the API from a browser.

use serde_json::json;

use crate::support::api::{Reply, reply};
use crate::support::bugle::{Bugle, Role};

const APP: &str = "https://app.example.com";

async fn with_origins(origins: &str) -> Bugle {
    let bugle = Bugle::new().await;
    bugle.set("API__CORS_ORIGINS", origins);
    bugle.set("API__REQUESTS_PER_MINUTE", "3");
    bugle.cli(&["setup"]).await.ok();
    bugle.start_roles(&[Role::Api]).await;
    bugle
}

/// What a browser asks before it sends a request that is not simple. It sends no token.
async fn preflight(bugle: &Bugle, path: &str, origin: &str) -> Reply {
    let request = bugle.api_as("").request("OPTIONS", path).header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", "PATCH");
    reply(request.header("Access-Control-Request-Headers", "authorization,if-match")).await
}

fn lists(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split(',').map(|word| word.trim().to_lowercase()).collect();
    words.sort();
    words
}

#[tokio::test]
async fn pages_of_the_origins_that_are_set_may_call_and_no_others() {
    let bugle = with_origins(&format!("{APP},http://localhost:3000")).await;
    for origin in [APP, "http://localhost:3000"] {
        let asked = preflight(&bugle, "/v1/rules/x", origin).await;
        assert_eq!((asked.status, asked.header("access-control-allow-origin").as_str()), (200, origin));
        assert_eq!(
            lists(&asked.header("access-control-allow-methods")),
            ["delete", "get", "patch", "post", "put"]
        );
        assert_eq!(
            lists(&asked.header("access-control-allow-headers")),
            [
                "authorization",
                "content-type",
                "idempotency-key",
                "if-match",
                "if-none-match",
                "last-event-id"
            ]
        );
        assert_eq!(asked.header("access-control-max-age"), "3600");
        assert_eq!(asked.header("access-control-allow-credentials"), "");
        assert!(asked.header("vary").to_lowercase().contains("origin"), "{asked:?}");
    }
    for origin in
        ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"]
    {
        assert_eq!(preflight(&bugle, "/v1/rules/x", origin).await.header("access-control-allow-origin"), "");
    }
    let api = bugle.api();
    let asked = |path: &str| api.request("GET", path).header("Origin", APP);
    let mut statuses = Vec::new();
    // Fine, refused, not there, not this way, over the limit: a page can read each of them.
    for path in [
        "/v1/deliveries",
        "/v1/deliveries?x=1",
        "/nowhere",
        "/v1/stream-tickets",
        "/v1/deliveries",
        "/v1/deliveries",
    ] {
        let found = reply(asked(path)).await;
        assert_eq!(found.header("access-control-allow-origin"), APP, "{path}: {found:?}");
        assert_eq!(
            lists(&found.header("access-control-expose-headers")),
            ["etag", "ratelimit", "ratelimit-policy", "retry-after"]
        );
        statuses.push(found.status);
    }
    assert_eq!(statuses, [200, 400, 404, 405, 200, 429]);
    let without_token = reply(bugle.api_as("").request("GET", "/v1/deliveries").header("Origin", APP)).await;
    assert_eq!(
        (without_token.status, without_token.header("access-control-allow-origin").as_str()),
        (401, APP)
    );
    // How the process does is nobody's business there.
    let metrics = reply(api.request("GET", "/metrics").header("Origin", APP)).await;
    assert_eq!((metrics.status, metrics.header("access-control-allow-origin").as_str()), (200, ""));
    let refused = reply(api.request("DELETE", "/metrics")).await;
    refused.expect_problem(405);
}

#[tokio::test]
async fn a_star_is_every_origin_and_nothing_set_is_none() {
    let bugle = with_origins("*").await;
    let asked = preflight(&bugle, "/v1/events", "https://anything.example").await;
    assert_eq!((asked.status, asked.header("access-control-allow-origin").as_str()), (200, "*"));
    let request = bugle.api().request("POST", "/v1/events").header("Origin", APP);
    let sent = reply(crate::support::api::json(request, &json!({ "type": "a:b" }))).await;
    assert_eq!((sent.status, sent.header("access-control-allow-origin").as_str()), (202, "*"));

    let bugle = with_origins("").await;
    let asked = preflight(&bugle, "/v1/events", APP).await;
    assert_eq!(asked.header("access-control-allow-origin"), "");
    asked.expect_problem(405);
    let found = reply(bugle.api().request("GET", "/v1/deliveries").header("Origin", APP)).await;
    assert_eq!((found.status, found.header("access-control-allow-origin").as_str()), (200, ""));
}
