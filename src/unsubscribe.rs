//! Links with which a recipient ends what a channel sends to them: made by workers, followed to the API.
//!
//! Both need one secret. It is made once, first come first served, and lies in the bucket of the recipients, whose contacts
//! it protects no better than they are: who can read that bucket needs no link.

pub mod token;

use std::sync::Arc;

use async_nats::jetstream::kv::CreateErrorKind;
use data_encoding::BASE64URL_NOPAD;
use tokio::sync::OnceCell;
use url::Url;

use crate::bus::{Bus, BusError, topology};
use crate::clock;
use crate::delivery::Delivery;
use crate::recipient::RecipientKind;
use token::{Key, Leave};

/// Beside the recipients, and none of them.
const BUCKET_KEY: &str = "unsubscribe.key";
/// Below the API's address.
pub const PATH: &str = "v1/unsubscribe";

/// A worker's links.
pub struct Links {
    /// None: there is no address that recipients could follow.
    base: Option<Url>,
    key: OnceCell<Arc<Key>>,
}

impl Links {
    /// `public_url`: where recipients reach the API.
    #[must_use]
    pub fn new(public_url: Option<&str>) -> Self {
        Self { base: public_url.and_then(|url| Url::parse(url).ok()), key: OnceCell::new() }
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
        let key = self.key.get_or_try_init(|| key(bus)).await?;
        let leave = Leave {
            workspace: delivery.workspace.clone(),
            recipient: recipient.clone(),
            channel: delivery.channel.clone(),
        };
        let link = |token: String| format!("{}/{PATH}/{token}", base.as_str().trim_end_matches('/'));
        Ok(key.seal(&leave).map(link))
    }
}

/// The secret of this installation, made when there is none.
///
/// # Errors
/// When the broker does not answer, or what it holds is no secret of ours.
pub async fn key(bus: &Bus) -> Result<Arc<Key>, BusError> {
    let bucket = topology::people_bucket(bus).await?;
    let fresh = BASE64URL_NOPAD.encode(&clock::random::<32>());
    let held = match bucket.get(BUCKET_KEY).await.map_err(BusError::request)? {
        Some(held) => held,
        None => match bucket.create(BUCKET_KEY, fresh.clone().into()).await {
            Ok(_) => fresh.into(),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                let held = bucket.get(BUCKET_KEY).await.map_err(BusError::request)?;
                held.ok_or_else(|| BusError::Request("the secret of links is not there yet".to_owned()))?
            }
            Err(error) => return Err(BusError::request(error)),
        },
    };
    let secret = BASE64URL_NOPAD.decode(&held).ok().and_then(|bytes| bytes.try_into().ok());
    let key = secret.as_ref().and_then(Key::new);
    key.map(Arc::new).ok_or_else(|| BusError::Request("the secret of links cannot be read".to_owned()))
}
