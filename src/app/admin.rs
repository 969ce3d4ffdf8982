//! The admin port of every process: alive, ready, and the metrics. It is served before anything else and until the drain begins.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use super::{Failure, Running};
use crate::bus::consumer::Stop;
use crate::config::Settings;
use crate::health::Health;
use crate::metrics;

#[derive(Clone)]
struct Shared {
    health: Health,
    metrics: PrometheusHandle,
}

/// Serves the admin port until the drain begins.
///
/// # Errors
/// One sentence when the address cannot be had.
pub async fn serve(
    settings: &Settings,
    health: Health,
    recorder: PrometheusHandle,
    stop: &Stop,
) -> Result<Running, Failure> {
    let listener = listen(settings.admin.listen, "admin.listen").await?;
    crate::task::spawn("metrics upkeep", metrics::upkeep(recorder.clone()));
    let routes = routes(health, recorder);
    let running = Running::new();
    // Ends with the soft stop like everything else: a process that drains is not ready.
    let stopped = stop.soft.clone();
    running.spawn("the admin port", async move {
        let server = axum::serve(listener, routes.into_make_service())
            .with_graceful_shutdown(stopped.clone().cancelled_owned());
        crate::api::serve_until(server, &stopped, "the admin port").await;
    });
    Ok(running)
}

/// The routes that the API serves too.
pub fn routes(health: Health, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .with_state(Shared { health, metrics })
}

async fn measured(State(shared): State<Shared>) -> String {
    metrics::process(shared.health.complaints().is_empty());
    shared.metrics.render()
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let complaints = shared.health.complaints();
    if complaints.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", complaints.join("\n")))
}

/// # Errors
/// One sentence when the address cannot be had.
pub async fn listen(address: std::net::SocketAddr, key: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let variable = key.to_uppercase().replace('.', "__");
        if error.kind() == std::io::ErrorKind::AddrInUse {
            return Failure::run(format!(
                "{address} ({key}) is taken: free it, or choose another address with BUGLE__{variable}"
            ));
        }
        Failure::run(format!("{address} ({key}) cannot be listened on: {error}"))
    })
}
