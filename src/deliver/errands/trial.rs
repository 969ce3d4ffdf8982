//! The test of a channel: a real message through the very adapter that deliveries go through, tried once.
//!
//! It passes no queue, no share and no pause, since somebody waits for it; it leaves a record, and never a dead letter.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::adapters::Built;
use super::super::handler::Tools;
use super::super::{addresses, attempt};
use super::document;
use crate::channel::standing::{Disabled, OWN_OWNER, is_of_file};
use crate::channel::{ChannelSpec, Enabled, Receipt, SendError};
use crate::clock;
use crate::deliver::after;
use crate::deliver::circuit::TryEnd;
use crate::deliver::failing::Seen;
use crate::delivery::{Delivery, GLOBAL_SCOPE};
use crate::documents::{Document, Key};
use crate::errand::{Errand, Of, Refusal, Tested};
use crate::event::{EventRef, EventType, OWN_SOURCE};
use crate::ids::{DeliveryKey, WorkspaceId};
use crate::metrics;
use crate::outcome::{Outcome, Reason, State, Verdict};
use crate::shelf::{self, standing};

const EVENT_TYPE: &str = "channel:test";
/// For a change to reach this worker.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// After a 429 that names no wait.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) async fn test(tools: &Tools, errand: &Errand) -> Result<Tested, Refusal> {
    let Of::Channel(id) = &errand.of else {
        return Err(Refusal::new(Reason::Internal, "a connection is asked about, not tested"));
    };
    let key = Key::Channel(errand.workspace.clone(), id.clone());
    let Document { owner, spec, .. } = document::<ChannelSpec>(tools, key).await?;
    let spec = Arc::new(spec);
    let (workspace, began) = (&errand.workspace, clock::now());
    let delivery = message(errand, &spec, began);
    let destination = addresses::destination(tools, &spec, &delivery).await?;
    let destination = destination.map_err(|(reason, why)| Refusal::new(reason, why))?;
    heard_of(tools, workspace, &spec).await?;
    let built = tools.adapters.get(workspace, &spec);
    let started = Instant::now();
    let sent = attempt::one_try(&built, destination.attempt(&delivery, None, began)).await;
    let took = started.elapsed();
    if let Err(SendError::RateLimited { retry_after, .. }) = &sent {
        let until = after(clock::now(), retry_after.unwrap_or(PAUSE));
        tools.pauses.pause(workspace, &spec.id, until).await?;
    }
    let wants_no_more = sent.as_ref().is_err_and(SendError::wants_no_more);
    let outcome = Outcome::of(&delivery, verdict(sent), Some(took), clock::now());
    log(&outcome, errand);
    let ok = outcome.state == State::Sent;
    let whose = destination.whose(spec.kind);
    tools
        .failing
        .note(&Seen {
            outcome: &outcome,
            spec: &built.spec,
            connection: built.connection.as_deref(),
            whose,
            wants_no_more,
        })
        .await;
    if ok {
        // Those who were held back need not wait for the next probe. A test that fails is somebody's try-out.
        let end = TryEnd { probe: None, whose, some_reached: false };
        tools.circuits.note(&delivery, &spec, &outcome, end).await;
    }
    let revision = if ok && !is_of_file(&owner) && owner != OWN_OWNER {
        standing::verify(&tools.bus, (workspace, &spec.id), built.address(), &errand.by).await?
    } else {
        None
    };
    // What was tried is told even when it could not be recorded.
    match tools.bus.record(&outcome, delivery.id.as_str()).await {
        Ok(_) => metrics::outcome(&outcome),
        Err(error) => {
            tracing::warn!(delivery = %delivery.id, %error, "the test of a channel is not recorded");
        }
    }
    let duration_ms = outcome.duration_ms.unwrap_or_default();
    let Outcome { reason, detail, code, .. } = outcome;
    let note = if ok { still_off(tools, workspace, &built).await? } else { None };
    Ok(Tested { ok, delivery: delivery.id, reason, detail, code, duration_ms, note, revision })
}

/// An adapter is built with the connection that this worker knows: a test must not go through one that was changed just now.
async fn heard_of(tools: &Tools, workspace: &WorkspaceId, spec: &ChannelSpec) -> Result<(), Refusal> {
    let Some(id) = &spec.connection else { return Ok(()) };
    let newest = shelf::get(&tools.bus, &Key::Connection(workspace.clone(), id.clone())).await?;
    if let Some(newest) = newest
        && !tools.directory.seen(newest.revision, PATIENCE).await
    {
        let why = "the worker that was asked has not heard of a change of the connection yet: ask again";
        return Err(Refusal::new(Reason::Internal, why));
    }
    Ok(())
}

/// Whoever sees the test arrive must not wonder why nothing else comes.
async fn still_off(tools: &Tools, workspace: &WorkspaceId, built: &Built) -> Result<Option<String>, Refusal> {
    if built.spec.enabled != Enabled::On {
        return Ok(Some("the channel is switched off: nothing else goes out".to_owned()));
    }
    let (standing, _) = standing::read(&tools.bus, workspace, &built.spec.id).await?;
    let off = |found: &Disabled| format!("the channel was switched off ({}): switch it on again", found.why);
    Ok(standing.disabled(&built.address()).map(off))
}

fn verdict(sent: Result<Receipt, SendError>) -> Verdict {
    match sent {
        Ok(receipt) => Verdict {
            code: receipt.code,
            provider_id: receipt.provider_id,
            detail: receipt.note,
            ..Verdict::new(State::Sent, Reason::Accepted)
        },
        Err(error) => {
            let failure = error.failure();
            let verdict = Verdict::new(State::Failed, failure.reason).detail(failure.detail.clone());
            Verdict { code: failure.code, ..verdict }
        }
    }
}

fn log(outcome: &Outcome, errand: &Errand) {
    tracing::info!(
        delivery = %outcome.delivery,
        workspace = %outcome.workspace,
        channel = %outcome.channel,
        by = errand.by,
        state = outcome.state.as_str(),
        reason = outcome.reason.as_str(),
        code = outcome.code,
        detail = outcome.detail,
        duration_ms = outcome.duration_ms,
        "channel tested"
    );
}

fn message(errand: &Errand, spec: &ChannelSpec, at: Timestamp) -> Delivery {
    let (workspace, channel) = (&errand.workspace, &spec.id);
    let event = clock::random_id();
    let key = DeliveryKey {
        workspace,
        source: OWN_SOURCE,
        event: &event,
        scope: GLOBAL_SCOPE,
        rule: None,
        channel,
        recipient: errand.recipient.as_ref(),
    };
    let data = json!({ "test": true, "workspace": workspace, "channel": channel });
    let data = serde_json::value::to_raw_value(&data).unwrap_or_else(|_| RawValue::NULL.to_owned());
    // A name of our own that is a valid type.
    let event_type = EventType::parse(EVENT_TYPE).unwrap_or_else(|_| unreachable!("{EVENT_TYPE} is a type"));
    let source = OWN_SOURCE.to_owned();
    Delivery {
        kind: Some(spec.kind),
        recipient: errand.recipient.clone(),
        title: format!("Bugle test: {channel}"),
        body: format!("If you can read this, the channel `{channel}` of the workspace `{workspace}` works."),
        data: data.into(),
        expires_at: crate::route::expiry(at, Some(spec)),
        ..Delivery::begin(
            key.id(),
            workspace.clone(),
            EventRef {
                id: event,
                source,
                event_type,
                time: at,
                traceparent: None,
                tracestate: None,
                hops: 0,
            },
            channel.clone(),
        )
    }
}
