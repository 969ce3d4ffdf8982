//! How a delivery stands to what its recipient prefers: whoever takes it knows whether they are to be asked.

use serde::{Deserialize, Serialize};

/// How a delivery stands to what its recipient prefers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consent {
    /// They were asked, or there is nobody to ask.
    #[default]
    Given,
    /// They are asked before its first try: they had it wait, or nobody asked them yet.
    Open,
    /// It is mandatory: they are not asked.
    NotNeeded,
}

impl Consent {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    pub(super) fn is_given(&self) -> bool {
        *self == Self::Given
    }

    /// The other one, unless none is needed.
    pub(super) fn kept(self, other: Self) -> Self {
        if self == Self::NotNeeded { self } else { other }
    }
}
