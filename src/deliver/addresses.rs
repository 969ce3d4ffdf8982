//! Where a delivery goes: most channels have one place, some look it up for each recipient.

use crate::bus::BusError;
use crate::bus::people::People;
use crate::channel::secret::Redacted;
use crate::delivery::Delivery;
use crate::device::reach::Audience;
use crate::outcome::Reason;
use crate::recipient::{Contact, RecipientKind};

/// Where one delivery goes, and what goes with it.
#[derive(Default)]
pub struct Destination {
    /// None: to the one place of the channel.
    pub to: Option<Redacted<String>>,
    /// The address at which its recipient unsubscribes.
    pub unsubscribe: Option<String>,
    /// The devices of this try, for kinds that address some.
    pub audience: Option<Audience>,
}

/// Where a recipient is reached.
pub struct Reach {
    pub address: Redacted<String>,
    pub kind: RecipientKind,
}

/// Looks the recipient of a delivery up. Where nothing may be sent to them: why.
///
/// # Errors
/// When the broker does not answer.
pub async fn find(
    people: &People,
    contact: Contact,
    delivery: &Delivery,
) -> Result<Result<Reach, (Reason, String)>, BusError> {
    let none = |why: String| Ok(Err((Reason::NoAddress, why)));
    let Some(recipient) = &delivery.recipient else {
        return none("the channel takes its address from a recipient, and none is named".to_owned());
    };
    let found = people.get(&delivery.workspace, recipient).await?;
    let address = found.as_ref().and_then(|found| Some((contact.of(&found.contacts)?, found)));
    let Some((address, found)) = address else {
        return none(format!("the recipient has no {}", contact.as_str()));
    };
    if found.has_left(&delivery.channel) {
        return Ok(Err((Reason::Unsubscribed, "the recipient unsubscribed from this channel".to_owned())));
    }
    Ok(Ok(Reach { address: Redacted::new(address.to_owned()), kind: found.kind }))
}
