//! What `bugle init` writes: a configuration to begin with, and packs of rules for a field, each with its tests.
//!
//! The files are those of `config/starter` and `config/presets`, built into the program. The ids of a pack begin with its
//! name, so that packs stand beside each other.

use serde::{Deserialize, Serialize};

use crate::outcome::words;

words! {
    /// A pack of rules.
    Preset {
        Agents = "agents",
        Ci = "ci",
        Alerts = "alerts",
    }
}

/// A file to be written.
#[derive(Debug, Clone, Copy)]
pub struct File {
    pub name: &'static str,
    pub text: &'static str,
}

macro_rules! files {
    ($folder:literal: $($name:literal),+) => {
        &[$(File { name: $name, text: include_str!(concat!("../config/", $folder, "/", $name)) }),+]
    };
}

/// The configuration, the documents, their tests.
pub const STARTER: &[File] = files!("starter": "bugle.toml", "documents.yaml", "documents.test.yaml");

impl Preset {
    /// The documents, then their tests.
    #[must_use]
    pub fn files(self) -> &'static [File] {
        match self {
            Self::Agents => files!("presets": "agents.yaml", "agents.test.yaml"),
            Self::Ci => files!("presets": "ci.yaml", "ci.test.yaml"),
            Self::Alerts => files!("presets": "alerts.yaml", "alerts.test.yaml"),
        }
    }

    /// What it is for, in a line.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Self::Agents => {
                "agents, batches and pipelines that end or fail; rate limits, progress and sessions live"
            }
            Self::Ci => "builds that fail and recover, deployments, flaky tests",
            Self::Alerts => "alerts by severity and hour, escalation, what is over",
        }
    }
}
