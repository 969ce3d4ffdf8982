//! Name resolution that hands out permitted addresses only.
//!
//! The check belongs here and nowhere earlier: the client connects to what this answers, so a name cannot mean one
//! address when it is checked and another when it is connected to.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

use super::{HttpPolicy, transport};
use crate::channel::{Failure, SendError};
use crate::outcome::Reason;

/// Every address of the name is forbidden. Names none of them.
#[derive(Debug)]
pub(super) struct AllForbidden;

impl fmt::Display for AllForbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the network policy forbids every address of the name")
    }
}

impl std::error::Error for AllForbidden {}

pub(super) struct GuardedResolver {
    policy: Arc<HttpPolicy>,
}

impl GuardedResolver {
    pub(super) fn new(policy: Arc<HttpPolicy>) -> Self {
        Self { policy }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            // The client puts the port of the URL in place of 0.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted = permitted(found.collect(), &policy)?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// Where a host can be reached, for connections that are not HTTP's: only what is in here may be connected to.
///
/// # Errors
/// When the name is not resolved, or policy forbids all that it stands for.
pub async fn addresses(host: &Host, port: u16, policy: &HttpPolicy) -> Result<Vec<SocketAddr>, SendError> {
    let found = match host {
        Host::Ipv4(address) => vec![SocketAddr::new((*address).into(), port)],
        Host::Ipv6(address) => vec![SocketAddr::new((*address).into(), port)],
        Host::Domain(name) => match tokio::net::lookup_host((name.as_str(), port)).await {
            Ok(found) => found.collect(),
            Err(_) => Vec::new(),
        },
    };
    permitted(found, policy).map_err(|error| {
        if error.is::<AllForbidden>() {
            return transport::blocked();
        }
        let failure = Failure::new(Reason::Unreachable, "name not resolved");
        SendError::Transient { failure, retry_after: None }
    })
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A name with some forbidden addresses is reached at its others.
fn permitted(found: Vec<SocketAddr>, policy: &HttpPolicy) -> Result<Vec<SocketAddr>, BoxError> {
    if found.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound).into());
    }
    let permitted: Vec<_> = found.into_iter().filter(|address| policy.permits(address.ip())).collect();
    if permitted.is_empty() {
        return Err(AllForbidden.into());
    }
    Ok(permitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_addresses_are_left_out_and_none_left_is_an_error() {
        let policy = HttpPolicy::default();
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let mixed = vec![address("10.0.0.1"), address("8.8.8.8"), address("::1")];
        assert_eq!(permitted(mixed, &policy).unwrap(), [address("8.8.8.8")]);
        let forbidden = permitted(vec![address("10.0.0.1"), address("::1")], &policy).unwrap_err();
        assert!(forbidden.is::<AllForbidden>());
        assert!(!permitted(Vec::new(), &policy).unwrap_err().is::<AllForbidden>());
    }
}
