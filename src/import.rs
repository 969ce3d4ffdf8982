//! From another system's configuration to documents. What does not come along as it was is said, with its place: nothing
//! is dropped in silence.

pub mod polpo;

use std::fmt;

use serde::Serialize;

use crate::channel::ChannelSpec;
use crate::channel::text::one_line;
use crate::rule::RuleSpec;
use crate::rule::fault::Fault;

/// What was taken, and what is to be known about the rest.
#[derive(Debug, Default)]
pub struct Import {
    pub channels: Vec<ChannelSpec>,
    pub rules: Vec<RuleSpec>,
    pub remarks: Vec<Remark>,
}

/// Something about the other system's file, at its place there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// It is not in the documents.
    LeftOut(Fault),
    /// It is in the documents, in another form or with another meaning.
    Changed(Fault),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, fault) = match self {
            Self::LeftOut(fault) => ("left out", fault),
            Self::Changed(fault) => ("changed", fault),
        };
        write!(f, "{}", one_line(&format!("{what} at {}: {}", fault.pointer, fault.message)))
    }
}

impl Import {
    /// How many things are not in the documents.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.remarks.iter().filter(|remark| matches!(remark, Remark::LeftOut(_))).count()
    }

    /// A file of documents.
    ///
    /// # Errors
    /// When it cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        #[derive(Serialize)]
        struct File<'a> {
            channels: &'a [ChannelSpec],
            rules: &'a [RuleSpec],
        }
        serde_saphyr::to_string(&File { channels: &self.channels, rules: &self.rules })
    }
}
