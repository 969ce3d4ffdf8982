//! The scopes of tasks and missions, and which of them an event falls into.
//!
//! They come and go with tasks, so the book of them is changed in place, not copied for each change.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use crate::event::Event;
use crate::ids::WorkspaceId;
use crate::rule::scope::{Level, Scope, ScopeId};

/// All scopes of all workspaces.
#[derive(Default)]
pub struct ScopeBook(RwLock<HashMap<WorkspaceId, Levels>>);

#[derive(Default)]
struct Levels {
    tasks: HashMap<String, Arc<Scope>>,
    missions: HashMap<String, Arc<Scope>>,
}

impl Levels {
    fn at(&self, level: Level) -> &HashMap<String, Arc<Scope>> {
        match level {
            Level::Task => &self.tasks,
            Level::Mission => &self.missions,
        }
    }

    fn at_mut(&mut self, level: Level) -> &mut HashMap<String, Arc<Scope>> {
        match level {
            Level::Task => &mut self.tasks,
            Level::Mission => &mut self.missions,
        }
    }
}

/// The scopes that an event falls into, the nearest first.
#[derive(Debug, Default, Clone)]
pub struct EventScopes(pub Vec<Arc<Scope>>);

impl ScopeBook {
    pub fn put(&self, workspace: &WorkspaceId, id: &ScopeId, scope: Arc<Scope>) {
        let mut book = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let levels = book.entry(workspace.clone()).or_default();
        levels.at_mut(id.level).insert(id.id.as_str().to_owned(), scope);
    }

    pub fn remove(&self, workspace: &WorkspaceId, id: &ScopeId) {
        let mut book = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(levels) = book.get_mut(workspace) else { return };
        levels.at_mut(id.level).remove(id.id.as_str());
        if levels.tasks.is_empty() && levels.missions.is_empty() {
            book.remove(workspace);
        }
    }

    #[must_use]
    pub fn get(&self, workspace: &WorkspaceId, id: &ScopeId) -> Option<Arc<Scope>> {
        let book = self.0.read().unwrap_or_else(PoisonError::into_inner);
        book.get(workspace)?.at(id.level).get(id.id.as_str()).cloned()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The scope of the task that the event names, and that of the mission that it or the task's scope names.
    #[must_use]
    pub fn of(&self, event: &Event) -> EventScopes {
        let book = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(levels) = book.get(&event.workspace) else { return EventScopes::default() };
        let task = id(event, Level::Task).and_then(|id| levels.tasks.get(id.as_ref()));
        let named =
            task.and_then(|task| task.mission.as_ref()).map(|mission| Cow::Borrowed(mission.as_str()));
        let mission = id(event, Level::Mission).or(named).and_then(|id| levels.missions.get(id.as_ref()));
        EventScopes(task.into_iter().chain(mission).cloned().collect())
    }
}

/// `data.taskId`, `data.task.id` or the attribute `taskid`; likewise for missions.
fn id(event: &Event, level: Level) -> Option<Cow<'_, str>> {
    let (flat, nested, attribute) = match level {
        Level::Task => ("taskId", "task", "taskid"),
        Level::Mission => ("missionId", "mission", "missionid"),
    };
    let in_data = event.data.get(flat).and_then(text);
    let nested = || event.data.get(nested)?.get("id").and_then(text);
    let attribute = || event.attributes.get(attribute).map(|id| Cow::Borrowed(id.as_str()));
    in_data.or_else(nested).or_else(attribute)
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
