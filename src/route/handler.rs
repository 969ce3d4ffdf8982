//! The router's hand: from a message on the event stream to stored deliveries, and only then a verdict.
//!
//! Every step is published under an id of its own, so that an event that comes twice is routed once; what cannot be
//! read is kept among the dead letters with its bytes and the reason.
//!
//! Steps that most events do not take are boxed: a thousand events are in hand at once, and each has room for them all.

mod again;
mod take;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::carried::{Carried, Carriers};
use super::texts::Texts;
use super::throttle::{self, Entrant, Passes, Throttle};
use super::{Firing, World, plan};
use crate::bus::consumer::{Handler, Received, Verdict as Settle};
use crate::bus::directory::Directory;
use crate::bus::people::{People, Wishes};
use crate::bus::{Bus, BusError};
use crate::clock;
use crate::dead;
use crate::delivery::Delivery;
use crate::event::{DecodeError, Event, Incoming, decode};
use crate::ids::{Recipient, WorkspaceId};
use crate::metrics;
use crate::outcome::Reason;
use crate::preferences::Judgement;
use crate::publish::THROUGH;
use crate::rule::fault::Fault;
use crate::trace;
pub use again::{Again, Tally};
use take::{Held, Taken, Took, Way};

/// The broker is away or refuses: the event waits this long.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);
/// Recipients whose preferences are asked for side by side.
const ASKED_AT_ONCE: usize = 16;

pub struct Router {
    bus: Bus,
    directory: Arc<Directory>,
    people: Arc<People>,
    throttle: Throttle,
    texts: Arc<Texts>,
    carriers: Carriers,
}

impl Router {
    #[must_use]
    pub fn new(bus: Bus, directory: Arc<Directory>, people: Arc<People>, texts: Arc<Texts>) -> Self {
        Self { bus, directory, people, throttle: Throttle::default(), texts, carriers: Carriers::default() }
    }

    async fn route(&self, event: &Event, message: &Received) -> Result<(), BusError> {
        let started = Instant::now();
        let (firings, carried) = self.planned(event, through(message), message.stored_at)?;
        if let Some(faults) =
            carried.as_ref().map(|carried| &carried.faults).filter(|faults| !faults.is_empty())
        {
            Box::pin(self.bury_rules(event, message, faults)).await?;
        }
        let mut firings = self.heeded(event, firings).await?;
        let (mut delivered, mut suppressed) = (0, 0);
        let holder = throttle::place(&message.epoch, message.sequence, &event.id);
        let entrant = Entrant { event: &holder, stored_at: message.stored_at };
        for firing in &mut firings {
            self.carry_out(event, firing, Way { entrant, job: None }, |took| match took {
                Took::Out | Took::Before => delivered += 1,
                Took::Suppressed(_) | Took::GivenUp(_) => suppressed += 1,
            })
            .await?;
        }
        metrics::event_routed(firings.len());
        trace::export::routed(event, started.elapsed(), [firings.len(), delivered, suppressed]);
        tracing::info!(
            workspace = %event.workspace,
            event = event.id,
            source = event.source,
            r#type = event.event_type.as_str(),
            rules = firings.len(),
            delivered,
            suppressed,
            "event routed"
        );
        Ok(())
    }

    /// What an event that came `through` a source leads to at a moment, and the rules that it brought.
    fn planned(
        &self,
        event: &Event,
        through: Option<&str>,
        at: Timestamp,
    ) -> Result<(Vec<Firing>, Option<Arc<Carried>>), BusError> {
        let snapshot = self.directory.snapshot();
        let (scopes, carried) = snapshot.scopes_of(event, through, &self.carriers);
        let (rules, channels, texts) = (&snapshot.rules, &snapshot.channels, &*self.texts);
        let firings = plan(event, World { rules, scopes: &scopes, channels, texts, at });
        snapshot.can_read(&firings)?;
        Ok((firings, carried))
    }

    async fn heeded(&self, event: &Event, firings: Vec<Firing>) -> Result<Vec<Firing>, BusError> {
        if firings.iter().any(|firing| firing.asked().next().is_some()) {
            return Box::pin(self.heed(event, firings)).await;
        }
        Ok(firings)
    }

    /// Asks the windows, and takes every step of a firing.
    async fn carry_out(
        &self,
        event: &Event,
        firing: &mut Firing,
        way: Way<'_>,
        mut note: impl FnMut(Took),
    ) -> Result<(), BusError> {
        let held = self.hold(event, firing, way.entrant).await?;
        let (firing, held) = (&*firing, held.as_ref());
        let taken = Taken { firing, held, way };
        match firing.steps.as_slice() {
            [step] => note(self.take(step, taken).await?),
            steps => {
                let all = steps.iter().map(|step| self.take(step, taken)).collect::<FuturesUnordered<_>>();
                all.try_for_each(|took| {
                    note(took);
                    std::future::ready(Ok(()))
                })
                .await?;
            }
        }
        Ok(())
    }

    /// As the recipients want it: whom they are asked of is asked at once.
    async fn heed(&self, event: &Event, firings: Vec<Firing>) -> Result<Vec<Firing>, BusError> {
        let asked: BTreeSet<Recipient> = firings.iter().flat_map(Firing::asked).cloned().collect();
        let ask = |recipient: Recipient| async move {
            let wishes = self.people.wishes(&event.workspace, &recipient).await?;
            Ok::<_, BusError>(wishes.map(|wishes| (recipient, wishes)))
        };
        let answers = stream::iter(asked).map(ask).buffer_unordered(ASKED_AT_ONCE);
        let wishes: HashMap<Recipient, Wishes> =
            answers.try_filter_map(async |found| Ok(found)).try_collect().await?;
        if wishes.is_empty() {
            return Ok(firings);
        }
        let now = clock::now();
        let judge = |delivery: &Delivery| {
            let wishes = delivery.recipient.as_ref().and_then(|recipient| wishes.get(recipient));
            wishes.map_or(Judgement::Pass, |wishes| wishes.judge(delivery, now))
        };
        Ok(firings.into_iter().map(|firing| firing.heeding(now, judge)).collect())
    }

    /// What holds this firing back, if something does.
    async fn hold(
        &self,
        event: &Event,
        firing: &mut Firing,
        entrant: Entrant<'_>,
    ) -> Result<Option<Held>, BusError> {
        if !firing.windows.is_empty() {
            let asked = self.throttle.enter_all(&self.bus, &event.workspace, &firing.windows, entrant);
            match Box::pin(asked).await? {
                Passes::Open(held_back) => firing.stand_for(held_back),
                Passes::Closed(reason, until) => return Ok(Some(Held { reason, until })),
            }
        }
        if let Some(group) = &firing.group {
            let id = Box::pin(self.throttle.join(&self.bus, &event.workspace, group, entrant)).await?;
            firing.collapse_into(&id);
        }
        Ok(None)
    }

    /// Rules that the event brought and that are not valid: it is kept with their places, and routed by the others.
    async fn bury_rules(&self, event: &Event, message: &Received, faults: &[Fault]) -> Result<(), BusError> {
        let detail = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ");
        tracing::warn!(
            event = event.id,
            source = event.source,
            detail,
            "an event brought a rule that is not valid"
        );
        let grave = dead::Grave {
            subject: self.bus.names.dead_rule(&event.workspace),
            id: format!("{}/{}/rules", message.epoch, message.sequence),
            reason: Reason::InvalidRule,
            detail,
        };
        dead::bury(&self.bus, message, &grave).await
    }

    async fn bury(&self, message: &Received, reason: Reason, detail: &str) -> Result<(), BusError> {
        let workspace = workspace(&self.bus, message).ok().map(|(workspace, _)| workspace);
        let grave = dead::Grave {
            subject: self.bus.names.dead_event(workspace.as_ref()),
            id: format!("{}/{}/event", message.epoch, message.sequence),
            reason,
            detail: detail.to_owned(),
        };
        Box::pin(dead::bury(&self.bus, message, &grave)).await
    }
}

/// The event that a message of EVENTS is.
///
/// # Errors
/// Why it is no event.
pub fn decoded(bus: &Bus, message: &Received) -> Result<Event, DecodeError> {
    let bytes_max = bus.event_bytes_max();
    if message.payload.len() > bytes_max {
        return Err(DecodeError::TooLarge { bytes: message.payload.len(), bytes_max });
    }
    let (workspace, subject_type) = workspace(bus, message)?;
    let headers: Vec<(&str, &str)> = message
        .headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
        .collect();
    let message_id = message.headers.get(async_nats::header::NATS_MESSAGE_ID);
    let stream_id = format!("{}-{}", message.epoch, message.sequence);
    decode(&Incoming {
        workspace,
        subject_type,
        headers: &headers,
        body: &message.payload,
        fallback_id: message_id.map_or(stream_id.as_str(), |id| id.as_str()),
        fallback_source: "nats",
        received_at: message.stored_at,
    })
}

fn workspace<'a>(bus: &Bus, message: &'a Received) -> Result<(WorkspaceId, Option<&'a str>), DecodeError> {
    let (workspace, subject_type) =
        bus.names.event_parts(&message.subject).ok_or_else(|| DecodeError::missing("workspace"))?;
    let invalid = |_| DecodeError::Attribute {
        name: "workspace",
        found: workspace.chars().take(80).collect(),
        legal: "1 to 63 of a-z, 0-9, _ and -",
    };
    Ok((WorkspaceId::parse(workspace).map_err(invalid)?, subject_type))
}

impl Handler for Router {
    async fn handle(&self, message: &Received) -> Settle {
        let result = match decoded(&self.bus, message) {
            Ok(event) => self.route(&event, message).await,
            Err(error) => {
                tracing::warn!(subject = message.subject, sequence = message.sequence, %error, "not an event: kept among the dead letters");
                let too_large = matches!(error, DecodeError::TooLarge { .. });
                let reason = if too_large { Reason::TooLarge } else { Reason::Undecodable };
                self.bury(message, reason, &error.to_string()).await
            }
        };
        settle(message, result)
    }

    async fn poison(&self, message: &Received) -> Settle {
        tracing::error!(
            subject = message.subject,
            sequence = message.sequence,
            "an event that cannot be routed: kept among the dead letters"
        );
        let result = self.bury(message, Reason::Poison, "handed out again and again without a verdict").await;
        settle(message, result)
    }
}

/// The source document that an event came through, if it came through one.
#[must_use]
pub fn through(message: &Received) -> Option<&str> {
    message.headers.get(THROUGH).map(async_nats::HeaderValue::as_str)
}

fn settle(message: &Received, result: Result<(), BusError>) -> Settle {
    match result {
        Ok(()) => Settle::Done,
        Err(error) => {
            tracing::warn!(sequence = message.sequence, %error, "an event could not be routed now");
            Settle::Again(clock::jittered(AFTER_TROUBLE))
        }
    }
}
