//! How a connection stands: what its provider said when the fleet last asked, kept in the broker for everybody.
//!
//! One failed question may be a moment's trouble: it takes two in a row, but for an answer that no second question changes.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bus::{Bus, BusError, claim};
use crate::channel::SendError;
use crate::ids::{ConnectionId, WorkspaceId};
use crate::outcome::Reason;

/// What nobody asked about for so long is not known any more.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// So many failed questions in a row are an illness.
const FAILURES_MIN: u32 = 2;

crate::outcome::words! {
    /// Whether a connection works.
    HealthState {
        /// The provider knows the account.
        Healthy = "healthy",
        /// It does not, or cannot be reached.
        Unhealthy = "unhealthy",
        /// Nobody asked yet, or there is nothing to ask.
        Unknown = "unknown",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    pub state: HealthState,
    /// Since when it stands so.
    #[schema(value_type = String)]
    pub since: Timestamp,
    #[schema(value_type = String)]
    pub checked_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why; never a secret or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Questions in a row that failed.
    pub failures: u32,
}

impl Health {
    /// How it stands after a question.
    #[must_use]
    pub fn after(before: Option<&Self>, answer: &Result<(), SendError>, at: Timestamp) -> Self {
        let (was, since) = before.map_or((HealthState::Unknown, at), |before| (before.state, before.since));
        let failed = before.map_or(0, |before| before.failures) + 1;
        let (state, failures) = match answer {
            // Who asks for a pause knows the account.
            Ok(()) | Err(SendError::RateLimited { .. }) => (HealthState::Healthy, 0),
            Err(SendError::Transient { .. }) if failed < FAILURES_MIN => (was, failed),
            Err(SendError::Transient { .. } | SendError::Permanent(_) | SendError::Ours(_)) => {
                (HealthState::Unhealthy, failed)
            }
        };
        let failure = answer.as_ref().err().map(SendError::failure).filter(|_| failures > 0);
        Self {
            state,
            since: if state == was { since } else { at },
            checked_at: at,
            reason: failure.map(|failure| failure.reason),
            detail: failure.map(|failure| failure.detail.clone()),
            failures,
        }
    }

    /// How it stands when nobody has asked, or there is nothing to ask.
    #[must_use]
    pub fn unknown(at: Timestamp) -> Self {
        let state = HealthState::Unknown;
        Self { state, since: at, checked_at: at, reason: None, detail: None, failures: 0 }
    }

    /// Why a channel on it is refused. None: it is not.
    #[must_use]
    pub fn objection(&self, id: &ConnectionId) -> Option<String> {
        let why = self.detail.as_deref().unwrap_or("its provider does not answer");
        (self.state == HealthState::Unhealthy).then(|| format!("the connection {id} is not healthy: {why}"))
    }
}

/// How a connection stands that was `written` last then. None: nobody asked since.
///
/// # Errors
/// When the broker does not answer.
pub async fn read(
    bus: &Bus,
    (workspace, id): (&WorkspaceId, &ConnectionId),
    written: Timestamp,
) -> Result<Option<Health>, BusError> {
    let found = claim::last(bus, &bus.names.connection_health(workspace, id)).await?;
    Ok(found.map(|(health, _): (Health, u64)| health).filter(|health| health.checked_at >= written))
}

/// Has it asked about at the next look of a worker, whosever turn it would have been.
///
/// # Errors
/// When the broker does not answer.
pub async fn ask_soon(bus: &Bus, workspace: &WorkspaceId, id: &ConnectionId) -> Result<(), BusError> {
    claim::forget(bus, bus.names.connection_turn(workspace, id)).await
}

/// What an answer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Sickened,
    Recovered,
}

/// How it stands, with its sequence. Where nothing is known that is stored first: it gives a name to what follows, the same for
/// all who find it.
///
/// # Errors
/// When the broker does not answer.
pub async fn stored(
    bus: &Bus,
    (workspace, id): (&WorkspaceId, &ConnectionId),
    at: Timestamp,
) -> Result<(Health, u64), BusError> {
    let (subject, unknown) = (bus.names.connection_health(workspace, id), Health::unknown(at));
    match claim::first(bus, &subject, &unknown, Some(KEPT_FOR)).await? {
        claim::First::Mine(sequence) => Ok((unknown, sequence)),
        claim::First::Theirs(found, sequence) => Ok((found, sequence)),
    }
}

/// Stores how it stands, after what that changes was told: whoever is killed in between leaves both to the next one who asks.
///
/// # Errors
/// [`BusError::Conflict`] when somebody else was first, or the broker does not answer.
pub async fn put(
    bus: &Bus,
    (workspace, id): (&WorkspaceId, &ConnectionId),
    health: &Health,
    expected: u64,
) -> Result<(), BusError> {
    let subject = bus.names.connection_health(workspace, id);
    claim::put(bus, &subject, health, Some(KEPT_FOR), expected).await.map(drop)
}

/// What the change from one state to the other means.
#[must_use]
pub fn turn(before: HealthState, after: HealthState) -> Option<Turn> {
    match (before, after) {
        (HealthState::Healthy | HealthState::Unknown, HealthState::Unhealthy) => Some(Turn::Sickened),
        (HealthState::Unhealthy, HealthState::Healthy | HealthState::Unknown) => Some(Turn::Recovered),
        (HealthState::Healthy | HealthState::Unknown, HealthState::Healthy | HealthState::Unknown)
        | (HealthState::Unhealthy, HealthState::Unhealthy) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Failure;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn transient() -> Result<(), SendError> {
        Err(SendError::Transient { failure: Failure::new(Reason::Timeout, "no answer"), retry_after: None })
    }

    #[test]
    fn one_moments_trouble_is_no_illness_and_two_in_a_row_are() {
        let well = Health::after(None, &Ok(()), at(1));
        assert_eq!((well.state, well.since, well.failures), (HealthState::Healthy, at(1), 0));
        let once = Health::after(Some(&well), &transient(), at(2));
        assert_eq!(
            (once.state, once.since, once.checked_at, once.failures),
            (HealthState::Healthy, at(1), at(2), 1)
        );
        assert_eq!(once.objection(&ConnectionId::parse("bot").unwrap()), None);
        let twice = Health::after(Some(&once), &transient(), at(3));
        assert_eq!((twice.state, twice.since, twice.failures), (HealthState::Unhealthy, at(3), 2));
        assert_eq!((twice.reason, twice.detail.as_deref()), (Some(Reason::Timeout), Some("no answer")));
        let again = Health::after(Some(&twice), &Ok(()), at(4));
        assert_eq!(
            (again.state, again.since, again.failures, again.reason),
            (HealthState::Healthy, at(4), 0, None)
        );
    }

    #[test]
    fn refused_credentials_are_an_illness_at_once_and_a_pause_is_none() {
        let refused = Err(SendError::Ours(Failure::new(Reason::Unauthorized, "the token is refused")));
        let sick = Health::after(None, &refused, at(1));
        assert_eq!((sick.state, sick.reason), (HealthState::Unhealthy, Some(Reason::Unauthorized)));
        let why = sick.objection(&ConnectionId::parse("bot").unwrap()).unwrap();
        assert_eq!(why, "the connection bot is not healthy: the token is refused");
        let pause = Err(SendError::RateLimited {
            failure: Failure::new(Reason::RateLimited, "x"),
            retry_after: None,
        });
        assert_eq!(Health::after(Some(&sick), &pause, at(2)).state, HealthState::Healthy);
        assert_eq!(Health::after(None, &transient(), at(1)).state, HealthState::Unknown);
    }
}
