//! Where a delivery goes: most channels have one place, some look it up for each recipient.

use crate::bus::BusError;
use crate::bus::people::People;
use crate::channel::secret::Redacted;
use crate::delivery::Delivery;
use crate::recipient::Contact;

/// The recipient's address, or why there is none.
pub type Address = Result<Redacted<String>, String>;

/// Looks the recipient of a delivery up.
///
/// # Errors
/// When the broker does not answer.
pub async fn find(people: &People, contact: Contact, delivery: &Delivery) -> Result<Address, BusError> {
    let Some(recipient) = &delivery.recipient else {
        return Ok(Err("the channel takes its address from a recipient, and none is named".to_owned()));
    };
    let found = people.get(&delivery.workspace, recipient).await?;
    let address = found.as_ref().and_then(|contacts| contact.of(contacts));
    let address = address.map(|address| Redacted::new(address.to_owned()));
    Ok(address.ok_or_else(|| format!("the recipient has no {}", contact.as_str())))
}
