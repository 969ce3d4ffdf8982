//! Traces: one id from the producer's message to the receiver's request, and spans at a collector that ties them together.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

use crate::support::bugle::{Bugle, everything_to};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, ensure, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PRODUCER: &str = "b7ad6b7169203331";

/// The spans that a collector was told so far, with the service that told them.
fn spans(collector: &Sink) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    for request in collector.requests("/v1/traces") {
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        let told = ExportTraceServiceRequest::decode(request.bytes.as_slice()).unwrap();
        for resource in told.resource_spans {
            let service = attributes(&resource.resource.unwrap().attributes)["service.name"].clone();
            let of = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            found.extend(of.map(|span| (service.clone(), span)));
        }
    }
    found
}

fn attributes(found: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> BTreeMap<String, String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let text = |value: &Value| {
        if let Value::StringValue(text) = value { text.clone() } else { format!("{value:?}") }
    };
    found
        .iter()
        .map(|pair| {
            (
                pair.key.clone(),
                pair.value.as_ref().and_then(|any| any.value.as_ref()).map(text).unwrap_or_default(),
            )
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

async fn traced_fleet(collector: &Sink, sink: &Sink, ratio: &str) -> Bugle {
    let bugle = Bugle::new().await;
    bugle.set("TRACING__OTLP_ENDPOINT", &collector.url(""));
    bugle.set("TRACING__SAMPLE_RATIO", ratio);
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    bugle
}

#[tokio::test]
async fn one_trace_goes_from_the_producer_to_the_sink_and_to_the_collector() {
    let (collector, sink) = (Sink::start().await, Sink::start().await);
    let bugle = traced_fleet(&collector, &sink, "0").await;
    sink.script("/hook", [Answer::Status(503), Answer::Status(200)]);
    let wire = bugle.wire().await;
    let given = format!("00-{TRACE}-{PRODUCER}-01");
    let headers = [("Nats-Msg-Id", "1"), ("traceparent", given.as_str()), ("tracestate", "vendor=x")];
    wire.put(&wire.subject("events.default.a.b"), &headers, "{}").await;
    wire.event("a:c", "untraced", &json!({})).await;
    let requests = sink.receives(3, "/hook").await;
    let traced: Vec<_> =
        requests.iter().filter(|request| request.headers.contains_key("traceparent")).collect();
    assert_eq!(traced.len(), 2, "a try and its retry; what brought no trace gets none");
    let mut told = Vec::new();
    eventually("the collector has three spans", LATER, async || {
        told = spans(&collector);
        ensure(told.len() >= 3, format!("{told:?}"))
    })
    .await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|(_, span)| hex(&span.trace_id) == TRACE), "{told:?}");
    let of =
        |service: &str| told.iter().filter(|(by, _)| by == service).map(|(_, span)| span).collect::<Vec<_>>();
    let [routing] = of("bugle-router")[..] else { panic!("{told:?}") };
    assert_eq!(hex(&routing.parent_span_id), PRODUCER);
    assert_eq!(attributes(&routing.attributes)["bugle.delivered"], "IntValue(1)");
    let tries = of("bugle-worker");
    assert_eq!(tries.len(), 2);
    for (attempt, request) in tries.iter().zip(&traced) {
        assert_eq!(attempt.parent_span_id, routing.span_id);
        assert_eq!(request.headers["traceparent"], format!("00-{TRACE}-{}-01", hex(&attempt.span_id)));
        assert_eq!(request.headers["tracestate"], "vendor=x");
        assert_eq!(hex(&attempt.links[0].span_id), PRODUCER, "it is linked to who published");
        assert!(attempt.end_time_unix_nano > attempt.start_time_unix_nano);
    }
    let outcomes: Vec<_> =
        tries.iter().map(|attempt| attributes(&attempt.attributes)["bugle.outcome"].clone()).collect();
    assert_eq!(outcomes, ["retrying", "sent"]);
    assert_eq!(tries[0].status.as_ref().unwrap().code, 2, "an error");
}

#[tokio::test]
async fn events_without_a_trace_begin_one_as_often_as_is_set() {
    let (collector, sink) = (Sink::start().await, Sink::start().await);
    let bugle = traced_fleet(&collector, &sink, "1").await;
    let wire = bugle.wire().await;
    wire.event("a:b", "1", &json!({})).await;
    let unwanted = format!("00-{TRACE}-{PRODUCER}-00");
    wire.put(&wire.subject("events.default.a.b"), &[("Nats-Msg-Id", "2"), ("traceparent", &unwanted)], "{}")
        .await;
    let requests = sink.receives(2, "/hook").await;
    eventually("the collector has both spans", LATER, async || {
        ensure(spans(&collector).len() >= 2, "not yet")
    })
    .await;
    let told = spans(&collector);
    assert_eq!(told.len(), 2, "whoever does not want a trace gets none: {told:?}");
    assert_eq!(told[0].1.trace_id, told[1].1.trace_id);
    let trace = hex(&told[0].1.trace_id);
    let headers: Vec<&str> = requests.iter().map(|request| request.headers["traceparent"].as_str()).collect();
    assert!(headers.iter().any(|header| header.starts_with(&format!("00-{trace}-"))), "{headers:?}");
    assert!(headers.contains(&unwanted.as_str()), "it goes on as it came: {headers:?}");
}

/// A process ends in order with what it has not told yet, and a collector that is away stops nobody.
#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let (away, sink) = (crate::support::free_port(), Sink::start().await);
    let bugle = Bugle::new().await;
    bugle.set("TRACING__OTLP_ENDPOINT", &format!("http://127.0.0.1:{away}"));
    bugle.set("TRACING__SAMPLE_RATIO", "1");
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    bugle.api().shows(1, "status=sent").await;
    for mut member in bugle.take(crate::support::bugle::Role::Worker) {
        let (code, took) = member.process.sigterm(LATER).await;
        assert_eq!(code, 0, "{}", member.process.output());
        assert!(took.as_secs() < 15, "{took:?}");
    }
}
