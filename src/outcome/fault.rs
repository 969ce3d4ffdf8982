//! Whose fault a failure is: what a reason says to whoever has to do something about it.
//!
//! It is derived from the reason, so that what was given up long ago has it too.

use serde::{Deserialize, Serialize};

use super::{Reason, words};

words! {
    /// Who has to do something before it can go better.
    Fault {
        /// This recipient, or what was to be sent to them.
        Recipient = "recipient",
        /// Whoever should have taken it was not there, or not in time.
        Provider = "provider",
        /// How channels, rules, sources or producers are set up.
        Configuration = "configuration",
        /// Bugle itself.
        Ours = "ours",
    }
}

impl Reason {
    /// None for what is no failure.
    #[must_use]
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Rejected | Self::Gone | Self::NoAddress => Some(Fault::Recipient),
            Self::Timeout
            | Self::Unreachable
            | Self::ProviderError
            | Self::Deferred
            | Self::RateLimited
            // What kept it waiting is mostly a provider: tries that failed, a pause, a circuit. It may have been a queue.
            | Self::Expired => Some(Fault::Provider),
            Self::Unauthorized
            | Self::BlockedAddress
            | Self::Misconfigured
            | Self::UnknownChannel
            | Self::Undecodable
            | Self::Unmapped
            | Self::InvalidRule
            // A producer, a template or the broker's limit: none of them is a recipient's or a provider's.
            | Self::TooLarge => Some(Fault::Configuration),
            Self::Poison | Self::Internal => Some(Fault::Ours),
            Self::Accepted
            | Self::Confirmed
            | Self::Continued
            | Self::Delayed
            | Self::Waiting
            | Self::Redriven
            | Self::Replayed
            | Self::ChannelDisabled
            | Self::ChannelUnverified
            | Self::Cooldown
            | Self::Duplicate
            | Self::Superseded
            | Self::OutsideHours
            | Self::Muted
            | Self::QuietHours
            | Self::Snoozed
            | Self::Unsubscribed
            | Self::FailedOver
            | Self::Cancelled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_reasons() {
        for fault in Fault::ALL {
            assert!(Reason::ALL.iter().any(|reason| reason.fault() == Some(*fault)), "{fault}");
        }
    }
}
