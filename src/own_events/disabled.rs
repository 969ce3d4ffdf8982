//! `channel:disabled`: a channel that was switched off for what its receiver said, or did not say.

use serde_json::{Value, json};

use crate::channel::standing::Disabled;
use crate::event::OWN_SOURCE;
use crate::outcome::Outcome;

/// The event about a try that was the last one. `step` is the same for all who find out the same.
#[must_use]
pub fn event(outcome: &Outcome, disabled: &Disabled, step: u64) -> Value {
    let Disabled { at, cause, why, .. } = disabled;
    json!({
        "id": format!("channel-disabled/{}/{step}", outcome.channel),
        "source": OWN_SOURCE,
        "type": "channel:disabled",
        "time": at,
        "severity": "warning",
        "data": {
            "channel": outcome.channel, "kind": outcome.kind, "reason": cause, "error": why, "code": outcome.code,
        },
    })
}
