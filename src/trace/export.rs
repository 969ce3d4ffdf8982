//! Spans to a collector, by OTLP over HTTP: one for the routing of an event, one for each try. Off where none is set.
//!
//! A collector that is slow or away costs spans and nothing else: they wait in a bounded queue on a thread of its own, and what does
//! not fit is dropped.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor};

use super::Trace;
use crate::clock;
use crate::delivery::Delivery;
use crate::event::Event;
use crate::outcome::{Outcome, State};

/// A collector is near; one that is not costs the export's own thread this long.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// At the end of a process what waits still goes out, if that is quick.
const LEAVE_MAX: Duration = Duration::from_secs(2);

static EXPORTER: OnceLock<Exporter> = OnceLock::new();

struct Exporter {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    ratio: f64,
}

/// Sends spans to this collector from now on.
///
/// # Errors
/// When the address cannot be used.
pub fn install(endpoint: &str, ratio: f64, role: &str) -> Result<(), String> {
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter =
        SpanExporter::builder().with_http().with_endpoint(url).with_timeout(EXPORT_TIMEOUT).build();
    let exporter = exporter.map_err(|error| format!("tracing.otlp_endpoint: {error}"))?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    let named = [
        KeyValue::new("service.name", format!("bugle-{role}")),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    processor.set_resource(&Resource::builder().with_attributes(named).build());
    let scope = InstrumentationScope::builder("bugle").with_version(env!("CARGO_PKG_VERSION")).build();
    EXPORTER.set(Exporter { processor, scope, ratio }).map_err(|_| "spans are exported already".to_owned())
}

/// Sends what waits. Blocks for two seconds at most.
pub fn leave() {
    if let Some(exporter) = EXPORTER.get()
        && let Err(error) = exporter.processor.shutdown_with_timeout(LEAVE_MAX)
    {
        tracing::warn!(%error, "not all spans reached the collector");
    }
}

/// The `traceparent` of a try's request: of our own span where it is exported, else the event's.
#[must_use]
pub fn traceparent(delivery: &Delivery) -> Option<String> {
    let own =
        EXPORTER.get().and_then(|exporter| Trace::of(&delivery.workspace, &delivery.event, exporter.ratio));
    own.map(|trace| trace.traceparent(Trace::attempt(delivery)))
        .or_else(|| delivery.event.traceparent.clone())
}

/// An event was routed: so many rules fired, so many deliveries went out.
pub fn routed(event: &Event, took: Duration, [rules, delivered, suppressed]: [usize; 3]) {
    let Some(exporter) = EXPORTER.get() else { return };
    let reference = event.reference();
    let Some(trace) = Trace::of(&event.workspace, &reference, exporter.ratio) else { return };
    let attributes = vec![
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.message.id", event.id.clone()),
        KeyValue::new("cloudevents.event_id", event.id.clone()),
        KeyValue::new("cloudevents.event_source", event.source.clone()),
        KeyValue::new("cloudevents.event_type", event.event_type.as_str().to_owned()),
        KeyValue::new("bugle.workspace", event.workspace.as_str().to_owned()),
        KeyValue::new("bugle.rules", count(rules)),
        KeyValue::new("bugle.delivered", count(delivered)),
        KeyValue::new("bugle.suppressed", count(suppressed)),
    ];
    let span = Span {
        name: "route event",
        kind: SpanKind::Consumer,
        id: trace.routing,
        parent: trace.producer,
        attributes,
        status: Status::Unset,
        links: Vec::new(),
    };
    exporter.end(&trace, took, span);
}

/// A try ended.
pub fn attempted(delivery: &Delivery, outcome: &Outcome, took: Duration) {
    let Some(exporter) = EXPORTER.get() else { return };
    let Some(trace) = Trace::of(&delivery.workspace, &delivery.event, exporter.ratio) else { return };
    let kind = delivery.kind.map_or("unknown", crate::channel::Kind::as_str);
    let attributes = vec![
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.message.id", delivery.id.as_str().to_owned()),
        KeyValue::new("cloudevents.event_id", delivery.event.id.clone()),
        KeyValue::new("bugle.workspace", delivery.workspace.as_str().to_owned()),
        KeyValue::new("bugle.channel", delivery.channel.as_str().to_owned()),
        KeyValue::new("bugle.channel.kind", kind),
        KeyValue::new("bugle.attempt", i64::from(delivery.attempt)),
        KeyValue::new("bugle.outcome", outcome.state.as_str()),
        KeyValue::new("bugle.reason", outcome.reason.as_str()),
    ];
    let status = match outcome.state {
        State::Sent => Status::Ok,
        State::Failed | State::Retrying => Status::error(outcome.reason.as_str()),
        State::Scheduled | State::Suppressed => Status::Unset,
    };
    // A retry may be hours away from what routed it: whoever looks at it finds the producer at once.
    let links = trace
        .producer
        .map(|producer| Link::with_context(context(&trace, producer, delivery.event.tracestate.as_deref())));
    exporter.end(
        &trace,
        took,
        Span {
            name: "send notification",
            kind: SpanKind::Client,
            id: Trace::attempt(delivery),
            parent: Some(trace.routing),
            attributes,
            status,
            links: links.into_iter().collect(),
        },
    );
}

struct Span {
    name: &'static str,
    kind: SpanKind,
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    attributes: Vec<KeyValue>,
    status: Status,
    links: Vec<Link>,
}

impl Exporter {
    fn end(&self, trace: &Trace, took: Duration, span: Span) {
        let end_time = SystemTime::from(clock::now());
        let mut links = SpanLinks::default();
        links.links = span.links;
        self.processor.on_end(SpanData {
            span_context: context(trace, span.id, None),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: true,
            span_kind: span.kind,
            name: span.name.into(),
            start_time: end_time - took,
            end_time,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: span.status,
            instrumentation_scope: self.scope.clone(),
        });
    }
}

fn context(trace: &Trace, span: [u8; 8], state: Option<&str>) -> SpanContext {
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    SpanContext::new(
        TraceId::from_bytes(trace.trace_id),
        SpanId::from_bytes(span),
        TraceFlags::SAMPLED,
        true,
        state,
    )
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
