//! Rows: on or off for a type, a project, a kind of channel, or all of any of them. Of those that fit the most specific one
//! counts: the type before the project before the kind.

use std::collections::{HashMap, HashSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Facts, ROWS_MAX};
use crate::channel::Kind;
use crate::documents::kinds;
use crate::event::EventType;
use crate::event::project::{PROJECT_BYTES_MAX, is_id};
use crate::rule::fault::Fault;

/// In the place of a type or a kind.
const ALL: &str = "*";

/// One row, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferenceSpec {
    /// A type of event; `*`: all of them.
    #[serde(rename = "type", default = "all")]
    pub event_type: String,
    /// None: all of them, and events without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// A kind of channel; `*`: all of them.
    #[serde(default = "all")]
    pub channel: String,
    pub enabled: bool,
}

fn all() -> String {
    ALL.to_owned()
}

impl PreferenceSpec {
    #[must_use]
    pub fn is_for_the_same(&self, other: &Self) -> bool {
        (&self.event_type, &self.project, &self.channel)
            == (&other.event_type, &other.project, &other.channel)
    }
}

/// What a row is for. None: all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    pub event_type: Option<String>,
    pub project: Option<String>,
    pub kind: Option<Kind>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event_type = self.event_type.as_deref().unwrap_or(ALL);
        let project = self.project.as_deref().unwrap_or("all");
        let channel = self.kind.map_or(ALL, Kind::as_str);
        write!(f, "muted by the recipient: type {event_type}, project {project}, channel {channel}")
    }
}

/// All rows of a recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows(HashMap<Row, bool>);

impl Rows {
    /// Rows for a kind that this version does not know fit nothing.
    pub fn of(specs: &[PreferenceSpec]) -> Self {
        let some = |text: &String| Some(text.clone()).filter(|text| text != ALL);
        let row = |spec: &PreferenceSpec| {
            let kind = if spec.channel == ALL { None } else { Some(Kind::parse(&spec.channel)?) };
            let row = Row { event_type: some(&spec.event_type), project: spec.project.clone(), kind };
            Some((row, spec.enabled))
        };
        Self(specs.iter().filter_map(row).collect())
    }

    /// The row by which it is off.
    pub fn mutes(&self, facts: &Facts<'_>) -> Option<Row> {
        if self.0.is_empty() {
            return None;
        }
        let projects = [facts.project, None];
        for event_type in [Some(facts.event_type), None] {
            // Without a project the rows for all are looked at once.
            for project in &projects[usize::from(facts.project.is_none())..] {
                for kind in [Some(facts.kind), None] {
                    let (event_type, project) = (event_type.map(str::to_owned), project.map(str::to_owned));
                    let row = Row { event_type, project, kind };
                    match self.0.get(&row) {
                        Some(true) => return None,
                        Some(false) => return Some(row),
                        None => {}
                    }
                }
            }
        }
        None
    }
}

/// Checks all rows, and gives types their one form.
pub(super) fn check(rows: &mut [PreferenceSpec]) -> Result<(), Fault> {
    if rows.len() > ROWS_MAX {
        let message = format!("has {} entries: at most {ROWS_MAX} are allowed", rows.len());
        return Err(Fault::new("/preferences", message));
    }
    let mut seen = HashSet::new();
    for (index, row) in rows.iter_mut().enumerate() {
        let place = format!("/preferences/{index}");
        check_one(row).map_err(|fault| fault.below(&place))?;
        if !seen.insert((row.event_type.clone(), row.project.clone(), row.channel.clone())) {
            return Err(Fault::new(place, "is there twice: the same type, project and channel"));
        }
    }
    Ok(())
}

fn check_one(row: &mut PreferenceSpec) -> Result<(), Fault> {
    if row.event_type != ALL {
        let parsed = EventType::parse(&row.event_type);
        let fault = |error| Fault::new("/type", format!("{error}; or * for all"));
        parsed.map_err(fault)?.as_str().clone_into(&mut row.event_type);
    }
    if row.project.as_deref().is_some_and(|project| !is_id(project)) {
        let message = format!(
            "has 1 to {PROJECT_BYTES_MAX} bytes and no control characters; leave it out for all projects"
        );
        return Err(Fault::new("/project", message));
    }
    if row.channel != ALL && Kind::parse(&row.channel).is_none() {
        return Err(Fault::new("/channel", format!("{:?} is none of *, {}", row.channel, kinds())));
    }
    Ok(())
}
