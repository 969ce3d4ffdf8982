//! The API as any client sees it: status, JSON, and lists followed page by page.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json as value};

use super::bugle::{Bugle, with};
use super::stream::LiveStream;
use super::{LATER, SOON, ensure, eventually};

/// One client for all: a pool of connections that outlives a test's runtime would hang, so it keeps none.
pub fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        bugle::channel::http::install_tls_provider();
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        builder.connect_timeout(Duration::from_secs(2)).build().unwrap()
    })
}

/// The status and the text of a plain GET; status 0 when nobody answers.
pub async fn get_text(url: &str) -> (u16, String) {
    match http().get(url).timeout(Duration::from_secs(5)).send().await {
        Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    }
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Reply {
    /// A header's text; empty where there is none.
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// A problem of RFC 9457 with this status.
    #[track_caller]
    pub fn expect_problem(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        assert_eq!(self.content_type, "application/problem+json");
        assert_eq!(self.body["status"], status, "{:#}", self.body);
        assert!(self.body["title"].as_str().is_some_and(|title| !title.is_empty()), "{:#}", self.body);
        self.body
    }
}

#[derive(Clone)]
pub struct Api {
    pub base: String,
    pub token: String,
}

impl Api {
    pub fn new(port: u16, token: &str) -> Self {
        Self { base: format!("http://127.0.0.1:{port}"), token: token.to_owned() }
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = http().request(method, format!("{}{path}", self.base)).timeout(Duration::from_secs(30));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    pub async fn get(&self, path: &str) -> Reply {
        reply(self.request("GET", path)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        reply(self.request("DELETE", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        reply(json(self.request("POST", path), body)).await
    }

    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Reply {
        reply(json(self.request("POST", path), body).header("Idempotency-Key", key)).await
    }

    /// All deliveries of a query, page after page.
    pub async fn deliveries(&self, query: &str) -> Vec<Value> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/v1/deliveries?limit=200&{query}{cursor}")).await.expect(200);
            found.extend(page["deliveries"].as_array().unwrap().iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    /// Waits until a query finds so many deliveries.
    pub async fn shows(&self, count: usize, query: &str) -> Vec<Value> {
        self.shows_within(SOON, count, query).await
    }

    pub async fn shows_within(&self, patience: Duration, count: usize, query: &str) -> Vec<Value> {
        let what = format!("/v1/deliveries?{query} shows {count}");
        eventually(&what, patience, async || {
            let found = self.deliveries(query).await;
            if found.len() >= count { Ok(found) } else { Err(format!("{} so far: {found:#?}", found.len())) }
        })
        .await
    }

    /// One delivery with its attempts.
    pub async fn delivery(&self, id: &str) -> Value {
        self.get(&format!("/v1/deliveries/{id}")).await.expect(200)
    }

    /// Waits until a delivery has this status.
    pub async fn becomes(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} becomes {status}"), LATER, async || {
            let reply = self.get(&format!("/v1/deliveries/{id}")).await;
            if reply.status == 200 && reply.body["status"] == status {
                Ok(reply.body)
            } else {
                Err(format!("{reply:?}"))
            }
        })
        .await
    }

    pub async fn stream(&self, path: &str, last_event_id: Option<&str>) -> LiveStream {
        let mut request = http().get(format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        LiveStream::open(request.send().await.unwrap())
    }
}

pub fn json(request: reqwest::RequestBuilder, body: &Value) -> reqwest::RequestBuilder {
    request.header("Content-Type", "application/json").body(body.to_string())
}

pub async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let content_type =
        headers.get("content-type").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Reply { status, content_type, headers, body }
}

/// A token of a role, known to the API.
pub async fn token(bugle: &Bugle, role: &str, more: &Value) -> Api {
    let wanted = with(value!({ "name": role, "role": role }), more);
    let made = bugle.api().post("/v1/tokens", &wanted).await.expect(201);
    let api = bugle.api_as(made["token"].as_str().unwrap());
    eventually("a new token is known", SOON, async || {
        ensure(api.get("/v1/deliveries").await.status != 401, "401")
    })
    .await;
    api
}
