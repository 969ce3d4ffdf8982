//! The HTTP API: reads SQL, publishes events and sends, writes tokens, streams outcomes. It promises nothing that the
//! broker does not hold: whatever it answers 202 to is stored there.

pub mod auth;
pub mod channels;
pub mod connections;
mod cors;
mod custody;
pub mod dead_letters;
pub mod deliveries;
mod detach;
pub mod documents;
pub mod evaluate;
pub mod events;
pub mod explanation;
pub mod jobs;
pub mod limits;
pub mod live;
pub mod notifications;
pub mod preferences;
pub mod problem;
pub mod push_subscriptions;
pub mod query;
pub mod recipients;
pub mod rules;
pub mod schemas;
pub mod scopes;
pub mod sends;
pub mod sources;
pub mod stream;
pub mod tickets;
pub mod tokens;
pub mod unsubscribe;
pub mod webhooks;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::admin;
use crate::bus::consumer::Stop;
use crate::bus::directory::Directory;
use crate::bus::{Bus, StreamName, topology};
use crate::channel::http::HttpPolicy;
use crate::clock;
use crate::config::Keep;
use crate::health::Health;
use crate::jobs::foreman::Foreman;
use crate::live::Hub;
use crate::metrics;
use crate::route::texts::Texts;
use crate::secrets::KeyRing;
use crate::store::Store;
use auth::Access;
use detach::{Connections, Handle};
use problem::Problem;
use wire::Wire;

/// A batch of a thousand events of the usual size, with room.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The framework's refusals are a sentence.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;
/// Between two looks at the recorder's position.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(25);

/// What requests are answered with.
pub struct Api {
    pub bus: Bus,
    pub store: Store,
    pub directory: Arc<Directory>,
    pub texts: Arc<Texts>,
    pub health: Health,
    pub recorder: PrometheusHandle,
    pub access: Access,
    pub cors_origins: Vec<String>,
    /// What opens the secrets of sources.
    pub keys: KeyRing,
    pub stop: Stop,
    pub keep: Keep,
    /// An explanation looks through the stream of events: so many at once.
    pub explaining: Semaphore,
    /// What workers may talk to: endpoints beyond it are not taken.
    pub http_policy: HttpPolicy,
    pub live: Arc<Hub>,
    /// Does dry runs, and works on jobs.
    pub foreman: Arc<Foreman>,
}

/// For [`Api::explaining`].
#[must_use]
pub fn explaining() -> Semaphore {
    const AT_ONCE: usize = 2;
    Semaphore::new(AT_ONCE)
}

pub type Shared = Arc<Api>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bugle",
        description = "Events in, notifications out, and what became of each. Errors are RFC 9457 problem details."
    ),
    security(("token" = [])),
    components(schemas(Problem))
)]
struct Description;

/// The documented routes and their description, from one table.
fn described() -> (Router<Shared>, utoipa::openapi::OpenApi) {
    let (router, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(events::publish))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::stats))
        .routes(routes!(stream::deliveries::follow))
        .routes(routes!(stream::events::follow))
        .routes(routes!(tickets::create))
        .routes(routes!(live::sse::follow))
        .routes(routes!(live::ws::follow))
        .routes(routes!(deliveries::get))
        .routes(routes!(explanation::get))
        .routes(routes!(sends::send))
        .routes(routes!(sends::cancel))
        .routes(routes!(preferences::get, preferences::put, preferences::patch, preferences::reset))
        .routes(routes!(
            notifications::list,
            notifications::create::create,
            notifications::mark::several,
            notifications::remove::remove
        ))
        .routes(routes!(notifications::unread_count))
        .routes(routes!(notifications::mark::read_all))
        .routes(routes!(notifications::claim::claim))
        .routes(routes!(notifications::get))
        .routes(routes!(notifications::mark::read))
        .routes(routes!(notifications::mark::unread))
        .routes(routes!(notifications::mark::dismiss))
        .routes(routes!(notifications::mark::restore))
        .merge(again())
        .routes(routes!(rules::list::list, rules::create))
        .routes(routes!(rules::get, rules::put, rules::patch, rules::remove))
        .routes(routes!(evaluate::evaluate))
        .routes(routes!(rules::versions))
        .routes(routes!(rules::revert))
        .routes(routes!(scopes::list))
        .routes(routes!(scopes::get, scopes::put, scopes::remove))
        .routes(routes!(connections::list))
        .routes(routes!(connections::get, connections::put, connections::patch, connections::remove))
        .routes(routes!(connections::check))
        .routes(routes!(sources::list))
        .routes(routes!(sources::get, sources::put, sources::remove, webhooks::receive))
        .routes(routes!(sources::versions))
        .routes(routes!(channels::list, channels::upsert))
        .routes(routes!(channels::get, channels::put, channels::patch, channels::remove))
        .routes(routes!(channels::switch::enabled))
        .routes(routes!(channels::test::test))
        .routes(routes!(channels::history::versions))
        .routes(routes!(channels::history::revert))
        .routes(routes!(channels::chats::detect))
        .routes(routes!(recipients::get, recipients::put, recipients::remove))
        .routes(routes!(recipients::resubscribe))
        .routes(routes!(unsubscribe::ask, unsubscribe::act))
        .routes(routes!(
            push_subscriptions::list,
            push_subscriptions::subscribe,
            push_subscriptions::unsubscribe
        ))
        .routes(routes!(push_subscriptions::vapid::public_key))
        .routes(routes!(push_subscriptions::get, push_subscriptions::remove))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .split_for_parts();
    let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    description.components.get_or_insert_default().add_security_scheme("token", token);
    limits::describe(&mut description);
    description.info.version = String::from(env!("CARGO_PKG_VERSION"));
    (router, description)
}

/// What was given up, and doing things once more.
fn again() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::get))
        .routes(routes!(dead_letters::redrive))
        .routes(routes!(jobs::redrive))
        .routes(routes!(jobs::replay))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get, jobs::cancel))
}

/// Every route of the API.
pub fn router(api: Api) -> Router {
    let (health, recorder) = (api.health.clone(), api.recorder.clone());
    let cors = cors::layer(&api.cors_origins);
    let (routes, description) = described();
    let routes = routes
        .route("/openapi.json", get(move || async move { axum::Json(description) }))
        .route("/schemas/{file}", get(schemas::get))
        .with_state(Arc::new(api))
        .layer(axum::middleware::from_fn(problems_only))
        .layer(axum::middleware::from_fn(limits::tell))
        .fallback(|| async { Problem::not_found("there is nothing at this path: see /openapi.json") })
        .method_not_allowed_fallback(not_with_this_method);
    // Other origins see the API, and not how this process does.
    let routes = match cors {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes
        .merge(admin::routes(health, recorder).method_not_allowed_fallback(not_with_this_method))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(measure))
}

async fn not_with_this_method() -> Problem {
    Problem::method()
}

/// Serves until told to stop, then lets running requests and streams end.
pub async fn serve(listener: TcpListener, api: Api) {
    let (stopped, live) = (api.stop.soft.clone(), Arc::clone(&api.live));
    let streams = TaskTracker::new();
    let routes = router(api).layer(axum::middleware::from_fn_with_state(streams.clone(), detach::detach));
    let routes = routes.into_make_service_with_connect_info::<Handle>();
    let server = axum::serve(Connections(Wire(listener)), routes);
    serve_until(server.with_graceful_shutdown(stopped.clone().cancelled_owned()), &stopped, "the API").await;
    // Streams and WebSockets have left the server's care. They end by themselves, unless their clients take nothing any more.
    streams.close();
    let ended = async { tokio::join!(streams.wait(), live.ended()) };
    if tokio::time::timeout(LAST_REQUESTS, ended).await.is_err() {
        tracing::info!("streams were cut that did not end");
    }
}

/// Requests and streams that do not end by themselves are cut this long after the stop: a client that sends half a
/// request and goes silent must not hold up a process.
const LAST_REQUESTS: Duration = Duration::from_secs(3);

/// Serves until told to stop, and a little longer.
pub async fn serve_until(
    server: impl IntoFuture<Output = std::io::Result<()>>,
    stopped: &CancellationToken,
    what: &'static str,
) {
    let late = async {
        stopped.cancelled().await;
        crate::clock::sleep(LAST_REQUESTS).await;
    };
    tokio::select! {
        served = server.into_future() => {
            if let Err(error) = served {
                tracing::error!(%error, "{what} broke down");
            }
        }
        () = late => tracing::info!("{what} cut what was still open"),
    }
}

/// The framework's own refusals (a path, a body too large) become problems too.
async fn problems_only(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if response.status().as_u16() < 400 || !is_text {
        return response;
    }
    let (parts, body) = response.into_parts();
    if parts.status == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::too_large(format!("the body is too large: at most {BODY_BYTES_MAX} bytes"))
            .into_response();
    }
    let text = axum::body::to_bytes(body, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    Problem::refusal(parts.status, String::from_utf8_lossy(&text)).into_response()
}

async fn measure(request: Request, next: Next) -> Response {
    let method = match request.method().as_str() {
        "GET" => "get",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    };
    let response = next.run(request).await;
    let class = match response.status().as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    metrics::api_request(method, class);
    response
}

impl Api {
    /// Waits until the history has everything up to this place of the record stream. False when it does not in time.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn recorded(&self, sequence: u64, patience: std::time::Duration) -> Result<bool, Problem> {
        if sequence == 0 {
            return Ok(true);
        }
        let stream = self.bus.names.stream(StreamName::Records);
        let started = std::time::Instant::now();
        loop {
            let position = self.store.position(&stream).await?;
            if position.is_some_and(|position| position.seq >= sequence) {
                return Ok(true);
            }
            if started.elapsed() > patience {
                return Ok(false);
            }
            clock::sleep(LOOK_AGAIN).await;
        }
    }

    /// The last place of the record stream.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn last_record(&self) -> Result<u64, Problem> {
        Ok(topology::stream(&self.bus, StreamName::Records).await?.cached_info().state.last_sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_described_path_says_what_may_go_wrong() {
        let (_, description) = described();
        let json = serde_json::to_value(&description).unwrap();
        assert!(json["openapi"].as_str().unwrap().starts_with("3.1"));
        for (path, methods) in json["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap();
                // A link in a message takes the place of a token.
                let is_open =
                    path == "/v1/unsubscribe/{token}" && operation["security"] == serde_json::json!([{}]);
                let refused = if is_open { "404" } else { "401" };
                let has_limit = operation["security"].is_null();
                assert_eq!(responses.contains_key("429"), has_limit, "{method} {path} does not describe 429");
                assert!(responses.contains_key(refused), "{method} {path} does not describe {refused}");
                assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            }
        }
    }
}
