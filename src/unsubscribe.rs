//! Links with which a recipient ends what a channel sends to them: made by workers, followed to the API.
//!
//! The secret that seals them protects recipients no better than their bucket does, where it lies: who can read that needs no link.

pub mod token;

use url::Url;

use crate::bus::{Bus, BusError};
use crate::delivery::Delivery;
use crate::installation::Installation;
use crate::recipient::RecipientKind;
use token::Leave;

/// Below the API's address.
pub const PATH: &str = "v1/unsubscribe";

/// A worker's links.
pub struct Links {
    /// None: there is no address that recipients could follow.
    base: Option<Url>,
    installation: Installation,
}

impl Links {
    /// `public_url`: where recipients reach the API.
    #[must_use]
    pub fn new(public_url: Option<&str>) -> Self {
        Self { base: public_url.and_then(|url| Url::parse(url).ok()), installation: Installation::default() }
    }

    /// The link for the recipient of a delivery. None where there is no address of ours, or the recipient is no person.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn link(
        &self,
        bus: &Bus,
        kind: RecipientKind,
        delivery: &Delivery,
    ) -> Result<Option<String>, BusError> {
        let (Some(base), Some(recipient), RecipientKind::Human) = (&self.base, &delivery.recipient, kind)
        else {
            return Ok(None);
        };
        let key = self.installation.key(bus).await?;
        let leave = Leave {
            workspace: delivery.workspace.clone(),
            recipient: recipient.clone(),
            channel: delivery.channel.clone(),
        };
        let link = |token: String| format!("{}/{PATH}/{token}", base.as_str().trim_end_matches('/'));
        Ok(leave.seal(&key).map(link))
    }
}
