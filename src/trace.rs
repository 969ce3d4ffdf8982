//! Trace contexts (W3C): from a producer's `traceparent` to the request that leaves Bugle, in one trace.
//!
//! The ids of spans are made of what they are about, as deliveries' ids are: nothing travels beside an event's own context, a
//! step that is done twice is the same span, and whoever takes a retry hours later knows its parent. Spans go to a collector where
//! one is set ([`export`]); where none is, a producer's context goes on untouched.

pub mod export;

use crate::delivery::Delivery;
use crate::event::EventRef;
use crate::event::traceparent::{SAMPLED, VERSION, parsed};
use crate::ids::{WorkspaceId, digest_bytes};

/// Where an event's trace comes from, and whether anybody wants to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    pub trace_id: [u8; 16],
    /// The producer's span; None where the trace begins with us.
    pub producer: Option<[u8; 8]>,
    /// The span that routed the event.
    pub routing: [u8; 8],
}

impl Trace {
    /// The trace of an event, when it is to be recorded: by its producer's wish, else for `ratio` of the events that say nothing.
    #[must_use]
    pub fn of(workspace: &WorkspaceId, event: &EventRef, ratio: f64) -> Option<Self> {
        let routing = digest_bytes(&["route", workspace.as_str(), &event.source, &event.id]);
        if let Some((trace_id, producer, sampled)) = event.traceparent.as_deref().and_then(parsed) {
            return sampled.then_some(Self { trace_id, producer: Some(producer), routing });
        }
        let trace_id: [u8; 16] = digest_bytes(&["trace", workspace.as_str(), &event.source, &event.id]);
        let dice = u32::from_be_bytes([trace_id[0], trace_id[1], trace_id[2], trace_id[3]]);
        let wanted = f64::from(dice) < ratio * f64::from(u32::MAX);
        wanted.then_some(Self { trace_id, producer: None, routing })
    }

    /// The span of the try that this delivery stands before.
    #[must_use]
    pub fn attempt(delivery: &Delivery) -> [u8; 8] {
        let counts = [delivery.redrive, delivery.attempt, delivery.postponed].map(|count| count.to_string());
        digest_bytes(&["attempt", delivery.id.as_str(), &counts[0], &counts[1], &counts[2]])
    }

    /// The header that goes out with a span's request.
    #[must_use]
    pub fn traceparent(&self, span: [u8; 8]) -> String {
        let hex = data_encoding::HEXLOWER;
        format!("{VERSION}-{}-{}-{SAMPLED:02x}", hex.encode(&self.trace_id), hex.encode(&span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn event(id: &str, traceparent: Option<&str>) -> EventRef {
        EventRef {
            id: id.to_owned(),
            source: "s".to_owned(),
            event_type: EventType::parse("a:b").unwrap(),
            time: jiff::Timestamp::UNIX_EPOCH,
            traceparent: traceparent.map(str::to_owned),
            tracestate: None,
            hops: 0,
        }
    }

    fn of(event: &EventRef, ratio: f64) -> Option<Trace> {
        Trace::of(&WorkspaceId::parse("default").unwrap(), event, ratio)
    }

    #[test]
    fn a_producers_trace_goes_on_if_it_is_sampled() {
        let trace = of(&event("1", Some(GIVEN)), 0.0).unwrap();
        assert!(trace.traceparent(trace.routing).starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert_eq!(trace, of(&event("1", Some(GIVEN)), 1.0).unwrap(), "the same event, the same spans");
        assert_ne!(trace.routing, of(&event("2", Some(GIVEN)), 0.0).unwrap().routing);
        assert_eq!(
            of(&event("1", Some(&GIVEN.replace("-01", "-00"))), 1.0),
            None,
            "its producer does not want it"
        );
    }

    #[test]
    fn of_events_without_a_trace_the_share_that_is_set_begins_one() {
        let begun =
            |ratio: f64| (0..1_000).filter(|id| of(&event(&id.to_string(), None), ratio).is_some()).count();
        assert_eq!((begun(0.0), begun(1.0)), (0, 1_000));
        assert!((50..150).contains(&begun(0.1)), "{}", begun(0.1));
    }
}
