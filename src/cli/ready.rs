//! `bugle ready`: asks a process of this machine whether it is ready; the health check of containers without a shell.

use std::time::Duration;

use clap::Args;

use super::say;
use crate::app::Failure;
use crate::config::Settings;

/// A health check that waits longer than this has its answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Ready {
    /// The admin port to ask; admin.listen of the settings when it is left out.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub async fn ready(settings: &Settings, arguments: &Ready) -> Result<(), Failure> {
    let mut address = settings.admin.listen;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let base = arguments.url.clone().unwrap_or_else(|| format!("http://{address}"));
    let url = format!("{}/readyz", base.trim_end_matches('/'));
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().map_err(Failure::run)?;
    let answer = client.get(&url).send().await;
    let answer = answer.map_err(|_| Failure::run(format!("nobody answers at {url}")))?;
    let good = answer.status().is_success();
    let text = answer.text().await.map_err(Failure::run)?;
    if good {
        say(text.trim())
    } else {
        Err(Failure::run(format!("not ready: {}", text.trim().replace('\n', "; "))))
    }
}
