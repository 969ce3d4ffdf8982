//! What a try came to at each of several devices, and what that makes of the try.
//!
//! A device that got it must not get it again: whoever is left is named, and a later try is for them alone. Of several
//! failures the one that asks for most patience speaks for all.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Failure, Receipt, SendError};
use crate::device::DeviceKey;
use crate::outcome::Reason;

/// A number under which a provider tells later what became of a message to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub id: String,
    pub device: DeviceKey,
}

/// The devices of a try, by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub reached: u32,
    /// They have not got it and may get it later.
    pub left: Vec<DeviceKey>,
    /// They are no more: their subscriptions are to be removed.
    pub gone: Vec<DeviceKey>,
    /// They will never get this one.
    pub refused: u32,
    /// Of those that were reached.
    pub tickets: Vec<Ticket>,
    /// When to ask what became of the tickets.
    pub ask_after: Duration,
}

/// What the provider told of tickets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    pub confirmed: u32,
    pub gone: Vec<DeviceKey>,
    /// To be sent to again, later.
    pub again: Vec<DeviceKey>,
    pub refused: u32,
    /// The provider's words for the last of those that failed.
    pub why: Option<String>,
    /// Nothing is known of them yet.
    pub waiting: Vec<Ticket>,
}

/// What became of it at one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// With a ticket, where there is one.
    Reached(Option<String>),
    Gone(Failure),
    Failed(SendError),
}

/// Collects the devices of one try.
#[derive(Debug, Default)]
pub struct Count {
    tally: Tally,
    code: Option<u16>,
    provider_id: Option<String>,
    gone: Option<Failure>,
    /// The failure that asks for most patience.
    worst: Option<SendError>,
}

impl Count {
    pub fn add(&mut self, device: DeviceKey, answered: Answered) {
        match answered {
            Answered::Reached(ticket) => {
                self.tally.reached += 1;
                if let Some(id) = ticket {
                    self.provider_id.get_or_insert_with(|| id.clone());
                    self.tally.tickets.push(Ticket { id, device });
                }
            }
            Answered::Gone(failure) => {
                self.tally.gone.push(device);
                self.gone.get_or_insert(failure);
            }
            Answered::Failed(error) => {
                match &error {
                    SendError::Permanent(_) => self.tally.refused += 1,
                    SendError::Transient { .. } | SendError::RateLimited { .. } | SendError::Ours(_) => {
                        self.tally.left.push(device);
                    }
                }
                self.worst = Some(match self.worst.take() {
                    Some(worst) => worse(worst, error),
                    None => error,
                });
            }
        }
    }

    pub fn code(&mut self, code: u16) {
        self.code = Some(code);
    }

    #[must_use]
    pub fn has_reached_any(&self) -> bool {
        self.tally.reached > 0
    }

    /// `ask_after` is how long after the try the provider knows what became of its tickets.
    ///
    /// # Errors
    /// When a device is left, or none was reached.
    pub fn result(mut self, ask_after: Duration) -> Result<Receipt, SendError> {
        self.tally.ask_after = ask_after;
        let (done, reached) = (self.tally.left.is_empty(), self.tally.reached > 0);
        let nobody = || SendError::Permanent(Failure::new(Reason::NoAddress, "there is no device"));
        let tally = Some(Box::new(self.tally));
        if done && reached {
            let (provider_id, code) = (self.provider_id, self.code);
            return Ok(Receipt { provider_id, code, tally, ..Receipt::default() });
        }
        // What is refused says more than what is gone.
        let error = self.worst.or(self.gone.map(SendError::Permanent)).unwrap_or_else(nobody);
        Err(error.with_failure(|failure| Failure { tally, ..failure }))
    }
}

/// The one of two that asks for more patience; of two that wait, with the longer wait.
fn worse(one: SendError, other: SendError) -> SendError {
    let rank = |error: &SendError| match error {
        SendError::Permanent(_) => 0,
        SendError::Transient { .. } => 1,
        SendError::Ours(_) => 2,
        SendError::RateLimited { .. } => 3,
    };
    let wait = |error: &SendError| match error {
        SendError::Transient { retry_after, .. } | SendError::RateLimited { retry_after, .. } => *retry_after,
        SendError::Permanent(_) | SendError::Ours(_) => None,
    };
    if (rank(&other), wait(&other)) > (rank(&one), wait(&one)) { other } else { one }
}

/// What asks a provider for receipts.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    pub tickets: &'a [Ticket],
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DeviceId;

    fn device(name: &str) -> DeviceKey {
        DeviceKey { user: None, id: DeviceId::of(name) }
    }

    fn failed(reason: Reason) -> Failure {
        Failure::new(reason, "it failed")
    }

    #[test]
    fn whoever_is_left_makes_a_failure_that_names_them_and_nobody_else() {
        let mut count = Count::default();
        count.add(device("a"), Answered::Reached(Some("t".to_owned())));
        count.add(device("b"), Answered::Gone(failed(Reason::Gone)));
        let wait = |seconds| Some(Duration::from_secs(seconds));
        let transient = |seconds| SendError::Transient {
            failure: failed(Reason::ProviderError),
            retry_after: wait(seconds),
        };
        count.add(device("c"), Answered::Failed(transient(9)));
        count.add(device("d"), Answered::Failed(transient(3)));
        count.add(device("e"), Answered::Failed(SendError::Permanent(failed(Reason::Rejected))));
        let error = count.result(Duration::ZERO).unwrap_err();
        assert!(
            matches!(error, SendError::Transient { retry_after, .. } if retry_after == wait(9)),
            "{error:?}"
        );
        let tally = error.failure().tally.as_deref().unwrap();
        assert_eq!(tally.left, [device("c"), device("d")]);
        assert_eq!((tally.reached, tally.refused, &tally.gone), (1, 1, &vec![device("b")]));
        assert_eq!(tally.tickets, [Ticket { id: "t".to_owned(), device: device("a") }]);
    }

    #[test]
    fn it_is_sent_when_somebody_got_it_and_nobody_is_left() {
        let mut count = Count::default();
        count.add(device("a"), Answered::Reached(None));
        count.add(device("b"), Answered::Gone(failed(Reason::Gone)));
        count.add(device("c"), Answered::Failed(SendError::Permanent(failed(Reason::Rejected))));
        let tally = count.result(Duration::ZERO).unwrap().tally.unwrap();
        assert_eq!((tally.reached, tally.refused, tally.gone.len()), (1, 1, 1));
    }

    #[test]
    fn all_gone_is_gone_and_a_refusal_says_more() {
        let mut count = Count::default();
        count.add(device("a"), Answered::Gone(failed(Reason::Gone)));
        let error = count.result(Duration::ZERO).unwrap_err();
        assert!(matches!(&error, SendError::Permanent(failure) if failure.reason == Reason::Gone));
        let mut count = Count::default();
        count.add(device("a"), Answered::Gone(failed(Reason::Gone)));
        count.add(device("b"), Answered::Failed(SendError::Permanent(failed(Reason::Rejected))));
        let error = count.result(Duration::ZERO).unwrap_err();
        assert_eq!(error.failure().reason, Reason::Rejected);
    }
}
