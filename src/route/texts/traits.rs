//! What a type of event is besides its texts: whether its recipients may mute it, and how the in-app inbox takes it where
//! neither the rule nor the event says so.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::documents::strict;
use crate::event::urgency::{Urgency, WORDS};
use crate::route::template::Template;
use crate::rule::fault::Fault;
use crate::rule::{Collapse, CollapseSpec, Dedupe, DedupeSpec, positive};

/// Their fields in a file of texts.
pub(super) const FIELDS: [&str; 4] = ["severity", "mandatory", "dedupe", "collapse"];

/// What is None is not said.
#[derive(Debug, Clone, Default)]
pub struct Traits {
    /// For the inbox. The word is kept as it was written.
    pub urgency: Option<Urgency>,
    /// It passes what its recipients prefer, on every kind of channel.
    pub mandatory: Option<bool>,
    /// For the inbox, each recipient's for itself. A key that renders empty dedupes nothing.
    pub dedupe: Option<Dedupe>,
    /// The same.
    pub collapse: Option<Collapse>,
}

impl Traits {
    /// Takes what the fields of an entry say.
    ///
    /// # Errors
    /// The place and the fault.
    pub(super) fn take(&mut self, fields: &Map<String, Value>) -> Result<(), Fault> {
        if let Some(value) = fields.get("severity") {
            let urgency = value.as_str().and_then(Urgency::parse);
            let words = WORDS.join(", ");
            let unknown = || Fault::new("/severity", format!("{value} is none of {words}"));
            self.urgency = Some(urgency.ok_or_else(unknown)?);
        }
        if let Some(value) = fields.get("mandatory") {
            let fault = || Fault::new("/mandatory", "must be true or false");
            self.mandatory = Some(value.as_bool().ok_or_else(fault)?);
        }
        if let Some(value) = fields.get("dedupe") {
            self.dedupe = Some(dedupe(value).map_err(|fault| fault.below("/dedupe"))?);
        }
        if let Some(value) = fields.get("collapse") {
            self.collapse = Some(collapse(value).map_err(|fault| fault.below("/collapse"))?);
        }
        Ok(())
    }

    /// Those of another type, where these say nothing.
    pub(super) fn or(&mut self, other: Self) {
        self.urgency = self.urgency.take().or(other.urgency);
        self.mandatory = self.mandatory.or(other.mandatory);
        self.dedupe = self.dedupe.take().or(other.dedupe);
        self.collapse = self.collapse.take().or(other.collapse);
    }
}

fn dedupe(value: &Value) -> Result<Dedupe, Fault> {
    let spec: DedupeSpec = strict(value.clone())?;
    Ok(Dedupe { window: positive("/windowMs", spec.window_ms)?, key: key(&spec.key)? })
}

fn collapse(value: &Value) -> Result<Collapse, Fault> {
    let spec: CollapseSpec = strict(value.clone())?;
    let window: Option<Duration> = spec.window_ms.map(|ms| positive("/windowMs", ms)).transpose()?;
    Ok(Collapse { window, key: key(&spec.key)? })
}

/// An empty one takes back what a type came with.
fn key(text: &str) -> Result<Template, Fault> {
    Template::compile(text).map_err(|fault| fault.below("/key"))
}
