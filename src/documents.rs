//! Documents: what an operator writes down (channels, rules, scopes, sources, tokens), with owner, version and author.
//!
//! At the edges (file, API, CLI) an unknown field is an error that names it. What comes from the bucket is read
//! leniently, so that old and new processes can run side by side.

mod key;
mod pace;
pub mod unique;

pub use key::Key;
pub use pace::{BURST_MAX, FALLBACKS_MAX, PER_SECOND_MAX, PER_SECOND_MIN};

use std::collections::HashSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::channel::{ChannelSpec, Kind};
use crate::connection::{self, ConnectionSpec};
use crate::ids::{ChannelId, Recipient, WorkspaceId};
use crate::notification;
use crate::rule::fault::{Fault, nearest};
use crate::rule::pattern::Pattern;
use crate::rule::scope::{Scope, ScopeSpec};
use crate::rule::template_spec::check_names;
use crate::rule::{Rule, RuleSpec};
use crate::schema;
use crate::source::{Source, SourceSpec};

/// What the bucket holds under a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<T> {
    pub v: u16,
    /// `file:<name>` or `api`. Only its owner changes or removes it.
    pub owner: String,
    /// 1 when it was new, and one more with each change.
    pub version: u64,
    /// Who changed it last.
    pub author: String,
    pub updated_at: Timestamp,
    pub spec: T,
}

/// A token, stored under the hash of its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSpec {
    pub id: String,
    pub name: String,
    pub role: Role,
    /// None: every workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    /// When set, the token sees nothing beyond what is this recipient's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
}

crate::outcome::words! {
    /// A named set of permissions.
    Role {
        /// Publishes events.
        Publisher = "publisher",
        /// Reads.
        Viewer = "viewer",
        /// Reads, sends, marks, decides.
        Operator = "operator",
        /// An agent: its own inbox, and events in.
        Agent = "agent",
        /// Everything.
        Admin = "admin",
    }
}

/// A file of documents.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentFile {
    /// For editors; nothing else reads it.
    #[serde(default, rename = "$schema")]
    pub schema: Option<String>,
    /// The owner's name; the file's own name when it says none.
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub workspace: WorkspaceId,
    #[serde(default)]
    pub connections: Vec<ConnectionSpec>,
    #[serde(default)]
    pub channels: Vec<ChannelSpec>,
    #[serde(default)]
    pub rules: Vec<RuleSpec>,
    #[serde(default)]
    pub scopes: Vec<ScopeSpec>,
    #[serde(default)]
    pub sources: Vec<SourceSpec>,
}

/// Checks all that is in a file of documents.
///
/// # Errors
/// The place and the fault.
pub fn checked_file(value: Value) -> Result<DocumentFile, Fault> {
    let file: DocumentFile = strict(value)?;
    connection::check_list(&file.connections)?;
    for (index, spec) in file.channels.iter().enumerate() {
        check_channel(spec).map_err(|fault| fault.below(&format!("/channels/{index}")))?;
        if file.channels[..index].iter().any(|earlier| earlier.id == spec.id) {
            return Err(Fault::new(
                format!("/channels/{index}/id"),
                format!("channel {} is there twice", spec.id),
            ));
        }
    }
    for (index, spec) in file.rules.iter().enumerate() {
        let place = format!("/rules/{index}");
        check_rule(spec).map_err(|fault| fault.below(&place))?;
        if file.rules[..index].iter().any(|earlier| earlier.id == spec.id) {
            return Err(Fault::new(format!("/rules/{index}/id"), format!("rule {} is there twice", spec.id)));
        }
    }
    let mut scopes = HashSet::new();
    for (index, spec) in file.scopes.iter().enumerate() {
        let place = format!("/scopes/{index}");
        let scope = check_scope(spec).map_err(|fault| fault.below(&place))?;
        if !scopes.insert(scope.name.clone()) {
            return Err(Fault::new(place, format!("the scope of {} is there twice", scope.name)));
        }
    }
    for (index, spec) in file.sources.iter().enumerate() {
        let place = format!("/sources/{index}");
        Source::compile(&file.workspace, spec).map_err(|fault| fault.below(&place))?;
        if file.sources[..index].iter().any(|earlier| earlier.id == spec.id) {
            return Err(Fault::new(format!("{place}/id"), format!("source {} is there twice", spec.id)));
        }
    }
    Ok(file)
}

/// Checks a rule as it is written: also what a process that only runs it leaves to newer ones.
///
/// # Errors
/// The place and the fault.
pub fn check_rule(spec: &RuleSpec) -> Result<Rule, Fault> {
    let rule = Rule::compile(spec)?;
    let names = spec.template.as_ref().map_or(Ok(()), check_names);
    names.map_err(|fault| fault.below("/template")).map(|()| rule)
}

/// The same for a rule that does not belong to the whole workspace.
///
/// # Errors
/// The place and the fault.
pub fn check_scoped_rule(spec: &RuleSpec) -> Result<Rule, Fault> {
    let rule = check_rule(spec)?;
    match rule.patterns.iter().position(Pattern::names_own_events) {
        None => Ok(rule),
        Some(index) => {
            let message = "asks for events about deliveries, which belong to no task, mission or event: ask for them in a rule of the workspace";
            Err(Fault::new(format!("/events/{index}"), message))
        }
    }
}

/// The same for a scope and its rules.
///
/// # Errors
/// The place and the fault.
pub fn check_scope(spec: &ScopeSpec) -> Result<Scope, Fault> {
    for (index, rule) in spec.rules.iter().enumerate() {
        check_scoped_rule(rule).map_err(|fault| fault.below(&format!("/rules/{index}")))?;
    }
    Scope::compile(spec)
}

/// The longest try that fits the broker's patience with a margin for storing its outcome.
pub const TIMEOUT_MS_MAX: u64 = 25_000;
pub const EXPIRY_MS_MAX: u64 = 30 * 24 * 3600 * 1000;
pub const RETRY_WAIT_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
pub const RETRIES_MAX: usize = 50;
pub const DISABLE_AFTER_MS_MAX: u64 = 365 * 24 * 3600 * 1000;

/// Checks what can be known of a channel without its environment: the limits, not the addresses.
///
/// # Errors
/// The place and the fault.
pub fn check_channel(spec: &ChannelSpec) -> Result<(), Fault> {
    if !spec.config.is_object() {
        return Err(Fault::new("/config", "must be an object"));
    }
    if spec.id.as_str() == notification::CHANNEL && spec.kind != Kind::InApp {
        let message = format!("is {}: a channel called {} is of the kind in_app", spec.kind, spec.id);
        return Err(Fault::new("/kind", message));
    }
    connection::check_config(spec)?;
    range("/timeoutMs", spec.timeout_ms, 1, TIMEOUT_MS_MAX)?;
    range("/expiresInMs", spec.expires_in_ms, 1, EXPIRY_MS_MAX)?;
    range("/disableAfterMs", spec.disable_after_ms, 0, DISABLE_AFTER_MS_MAX)?;
    let waits = spec.retry.as_ref().map_or(&[][..], |retry| &retry.schedule_ms);
    if waits.len() > RETRIES_MAX {
        return Err(Fault::new(
            "/retry/scheduleMs",
            format!("has {} waits: at most {RETRIES_MAX}", waits.len()),
        ));
    }
    for (index, wait) in waits.iter().enumerate() {
        range(&format!("/retry/scheduleMs/{index}"), Some(*wait), 1, RETRY_WAIT_MS_MAX)?;
    }
    pace::check(spec)
}

fn range(place: &str, found: Option<u64>, min: u64, max: u64) -> Result<(), Fault> {
    match found {
        Some(found) if !(min..=max).contains(&found) => {
            Err(Fault::new(place, format!("{found} is out of range: {min} to {max}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads a value whose unknown fields are errors that name the field and the place.
///
/// # Errors
/// The place and the fault.
pub fn strict<T: DeserializeOwned + JsonSchema + 'static>(value: Value) -> Result<T, Fault> {
    // serde ignores unknown fields, and would read a list as the fields in their order.
    if let Some(fault) = schema::shape::fault(&schema::of::<T>(), &value) {
        return Err(fault);
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        Fault::new(pointer(&error.path().to_string()), in_words(&error.into_inner().to_string()))
    })
}

/// serde speaks of Rust's types where a number is too large for its field.
fn in_words(message: &str) -> String {
    let types =
        [("u8", "0 to 255"), ("u16", "0 to 65535"), ("u32", "0 to 4294967295"), ("u64", "a whole number")];
    match message.rsplit_once(", expected ") {
        Some((_, wanted)) => match types.iter().find(|(known, _)| *known == wanted) {
            Some((_, range)) => format!("is out of range: {range} is allowed"),
            None => message.to_owned(),
        },
        None => message.to_owned(),
    }
}

/// From serde's `rules[0].events` or `rules.0.events` to a JSON pointer.
fn pointer(path: &str) -> String {
    let parts = path.split(['.', '[', ']', '?']).filter(|part| !part.is_empty());
    parts.flat_map(|part| ["/", part]).collect()
}

/// Every kind's word, for messages.
#[must_use]
pub fn kinds() -> String {
    Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

/// So many names are told.
const NAMES_MAX: usize = 10;

/// What is wrong with a channel that nobody knows, and which one was probably meant.
#[must_use]
pub fn unknown_channel(id: &ChannelId, known: &[&str]) -> Fault {
    let meant = nearest(id.as_str(), known);
    let hint = match (meant, known) {
        (Some(meant), _) => format!("did you mean {meant}?"),
        (None, []) => "there are none yet".to_owned(),
        (None, known) if known.len() <= NAMES_MAX => format!("there are {}", known.join(", ")),
        (None, known) => {
            format!("there are {} and {} more", known[..NAMES_MAX].join(", "), known.len() - NAMES_MAX)
        }
    };
    Fault::here(format!("there is no channel {id}: {hint}"))
}

#[cfg(test)]
mod tests;
