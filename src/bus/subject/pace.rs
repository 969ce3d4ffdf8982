//! The subjects of rates, pauses and circuits.

use super::Names;
use crate::channel::Kind;
use crate::ids::{ChannelId, WorkspaceId};

impl Names {
    #[must_use]
    pub fn pause(&self, workspace: &WorkspaceId, channel: &ChannelId) -> String {
        format!("{}.pace.{workspace}.{channel}", self.prefix)
    }

    /// All of [`Names::pause`]: what else is about rates has one token more.
    #[must_use]
    pub fn pause_filter(&self) -> String {
        format!("{}.pace.*.*", self.prefix)
    }

    /// Where the fleet reserves what a limit has left.
    #[must_use]
    pub fn limit(&self, kind: Kind, limit: &str) -> String {
        format!("{}.pace.limit.{kind}.{limit}", self.prefix)
    }

    /// Where it is written that nothing works on a channel.
    #[must_use]
    pub fn circuit(&self, workspace: &WorkspaceId, channel: &ChannelId) -> String {
        format!("{}.pace.circuit.{workspace}.{channel}", self.prefix)
    }

    #[must_use]
    pub fn circuit_filter(&self) -> String {
        format!("{}.pace.circuit.*.*", self.prefix)
    }

    /// The channel that a subject of [`Names::circuit`] names.
    #[must_use]
    pub fn circuit_channel(&self, subject: &str) -> Option<(WorkspaceId, ChannelId)> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix(".pace.circuit.")?;
        let (workspace, channel) = rest.split_once('.')?;
        Some((WorkspaceId::parse(workspace).ok()?, ChannelId::parse(channel).ok()?))
    }

    /// The channel that a subject of [`Names::pause`] names.
    #[must_use]
    pub fn paused_channel(&self, subject: &str) -> Option<(WorkspaceId, ChannelId)> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix(".pace.")?;
        let (workspace, channel) = rest.split_once('.')?;
        Some((WorkspaceId::parse(workspace).ok()?, ChannelId::parse(channel).ok()?))
    }
}
