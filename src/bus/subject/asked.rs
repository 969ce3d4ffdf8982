//! The subjects of questions over core NATS, which no stream has.

use super::Names;
use crate::channel::Kind;
use crate::errand::What;

impl Names {
    /// Where workers of a kind are asked to do something at once. No stream has it.
    #[must_use]
    pub fn errand(&self, what: What, kind: Kind) -> String {
        format!("{}.ask.{what}.{kind}", self.prefix)
    }

    /// Where every process is asked who it is and how it does. No stream has it.
    #[must_use]
    pub fn ping(&self) -> String {
        format!("{}.ping", self.prefix)
    }

    /// Where workers of a kind are asked how a connection stands. No stream has it.
    #[must_use]
    pub fn connection_question(&self, kind: Kind) -> String {
        format!("{}.ask.connection.{kind}", self.prefix)
    }
}
