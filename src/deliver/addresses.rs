//! Where a delivery goes: most channels have one place, some look it up for each recipient.

use jiff::Timestamp;

use super::audience;
use super::circuit::state::Whose;
use super::handler::Tools;
use crate::bus::BusError;
use crate::bus::people::People;
use crate::channel::secret::Redacted;
use crate::channel::{ChannelSpec, Kind, Try};
use crate::delivery::Delivery;
use crate::device::Device;
use crate::device::reach::Audience;
use crate::outcome::Reason;
use crate::recipient::{Addressing, Contact, RecipientKind};

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

impl Destination {
    /// A try of the delivery there.
    #[must_use]
    pub fn attempt<'a>(&'a self, delivery: &'a Delivery, earlier: Option<&'a str>, at: Timestamp) -> Try<'a> {
        let (to, unsubscribe) = (self.to.as_ref(), self.unsubscribe.as_deref());
        Try { to, earlier, devices: self.devices(), unsubscribe, ..Try::of(delivery, at) }
    }

    #[must_use]
    pub fn devices(&self) -> &[Device] {
        self.audience.as_ref().map_or(&[], |audience| &audience.devices)
    }

    /// Whom the failures of a try there concern.
    #[must_use]
    pub fn whose(&self, kind: Kind) -> Whose {
        match (&self.audience, &self.to) {
            (Some(_), _) if kind == Kind::WebPush => Whose::Device,
            (Some(_), _) | (None, Some(_)) => Whose::Recipient,
            (None, None) => Whose::Channel,
        }
    }
}

/// Where a delivery goes. Where nothing may be sent to its recipient: why.
///
/// # Errors
/// When the broker does not answer.
pub async fn destination(
    tools: &Tools,
    spec: &ChannelSpec,
    delivery: &Delivery,
) -> Result<Result<Destination, (Reason, String)>, BusError> {
    let contact = match spec.addressing() {
        Addressing::Fixed | Addressing::Named | Addressing::Inbox => return Ok(Ok(Destination::default())),
        Addressing::Devices => return Box::pin(audience::find(tools, spec.kind, delivery)).await,
        Addressing::Contact(contact) => contact,
    };
    let reach = match Box::pin(find(&tools.people, contact, delivery)).await? {
        Ok(reach) => reach,
        Err(why) => return Ok(Err(why)),
    };
    let unsubscribe = Box::pin(tools.unsubscribe.link(&tools.bus, reach.kind, delivery)).await?;
    Ok(Ok(Destination { to: Some(reach.address), unsubscribe, audience: None }))
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
