//! What is kept for how long: in the broker, in inboxes, in the history; and what some workspaces have otherwise.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ConfigError, Settings};
use crate::ids::WorkspaceId;

const DAYS: RangeInclusive<u32> = 1..=3650;
/// 0: for ever.
const HISTORY_DAYS: RangeInclusive<u32> = 0..=3650;
const PER_RECIPIENT: RangeInclusive<u32> = 10..=100_000;

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    #[schemars(range(min = 1, max = 3650))]
    pub events_days: u32,
    #[schemars(range(min = 1, max = 3650))]
    pub records_days: u32,
    #[schemars(range(min = 1, max = 3650))]
    pub dead_days: u32,
    #[schemars(range(min = 0, max = 3650))]
    pub history_days: u32,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inbox {
    #[schemars(range(min = 1, max = 3650))]
    pub keep_days: u32,
    #[schemars(range(min = 10, max = 100_000))]
    pub keep_per_recipient: u32,
}

/// What one workspace has otherwise.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// In place of `inbox.keep_days`.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1, max = 3650))]
    pub inbox_days: Option<u32>,
    /// In place of `inbox.keep_per_recipient`.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 10, max = 100_000))]
    pub inbox_per_recipient: Option<u32>,
    /// In place of `keep.history_days`; 0: for ever.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 0, max = 3650))]
    pub history_days: Option<u32>,
}

/// How much SQL keeps, of each workspace.
#[derive(Debug, Clone)]
pub struct Kept {
    keep: Keep,
    inbox: Inbox,
    workspaces: BTreeMap<WorkspaceId, Workspace>,
}

impl Kept {
    fn of(&self, workspace: &WorkspaceId) -> Workspace {
        self.workspaces.get(workspace).copied().unwrap_or_default()
    }

    /// What was created before goes from inboxes.
    #[must_use]
    pub fn inbox_since(&self, workspace: &WorkspaceId, now: Timestamp) -> Timestamp {
        days_before(now, self.of(workspace).inbox_days.unwrap_or(self.inbox.keep_days))
    }

    /// Notifications of one inbox at most.
    #[must_use]
    pub fn inbox_max(&self, workspace: &WorkspaceId) -> u32 {
        self.of(workspace).inbox_per_recipient.unwrap_or(self.inbox.keep_per_recipient)
    }

    /// What changed last before that goes from the history; None: nothing.
    #[must_use]
    pub fn history_since(&self, workspace: &WorkspaceId, now: Timestamp) -> Option<Timestamp> {
        let days = self.of(workspace).history_days.unwrap_or(self.keep.history_days);
        (days > 0).then(|| days_before(now, days))
    }
}

fn days_before(now: Timestamp, days: u32) -> Timestamp {
    now.checked_sub(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Settings {
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept { keep: self.keep, inbox: self.inbox, workspaces: self.workspaces.clone() }
    }

    pub(super) fn check_kept(&self) -> Result<(), ConfigError> {
        let Keep { events_days, records_days, dead_days, history_days } = self.keep;
        let everywhere = [
            ("keep.events_days", events_days, DAYS),
            ("keep.records_days", records_days, DAYS),
            ("keep.dead_days", dead_days, DAYS),
            ("keep.history_days", history_days, HISTORY_DAYS),
            ("inbox.keep_days", self.inbox.keep_days, DAYS),
            ("inbox.keep_per_recipient", self.inbox.keep_per_recipient, PER_RECIPIENT),
        ];
        for (key, value, range) in everywhere {
            check(key, value, &range)?;
        }
        for (id, workspace) in &self.workspaces {
            for (key, value, range) in [
                ("inbox_days", workspace.inbox_days, DAYS),
                ("inbox_per_recipient", workspace.inbox_per_recipient, PER_RECIPIENT),
                ("history_days", workspace.history_days, HISTORY_DAYS),
            ] {
                if let Some(value) = value {
                    check(&format!("workspaces.{id}.{key}"), value, &range)?;
                }
            }
        }
        Ok(())
    }
}

fn check(key: &str, value: u32, range: &RangeInclusive<u32>) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ConfigError(format!("{key} is {value}: {} to {}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Result<Kept, String> {
        let file = std::env::temp_dir().join(format!("bugle-keep-{}.toml", fastrand::u64(..)));
        std::fs::write(&file, text).unwrap();
        let settings = Settings::from_parts(Some(&file), &[]);
        std::fs::remove_file(&file).unwrap();
        settings.map(|settings| settings.kept()).map_err(|error| error.to_string())
    }

    fn workspace(id: &str) -> WorkspaceId {
        WorkspaceId::parse(id).unwrap()
    }

    #[test]
    fn a_workspace_has_what_it_sets_and_of_the_rest_what_all_have() {
        let text =
            "[workspaces.team-b]\ninbox_days = 2\n[workspaces.c]\nhistory_days = 0\ninbox_per_recipient = 10";
        let kept = kept(text).unwrap();
        let now = Timestamp::from_second(100 * 86_400).unwrap();
        let day = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
        let of = |id: &str| {
            let id = workspace(id);
            (kept.inbox_since(&id, now), kept.inbox_max(&id), kept.history_since(&id, now))
        };
        let year = now.checked_sub(SignedDuration::from_hours(24 * 365)).unwrap();
        assert_eq!(of("default"), (day(10), 500, Some(year)));
        assert_eq!(of("team-b"), (day(98), 500, Some(year)));
        assert_eq!(of("c"), (day(10), 10, None));
    }

    #[test]
    fn the_settings_on_the_page_are_settings() {
        let page = include_str!("../../docs/retention.md");
        let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let kept = kept(text).unwrap();
        assert_eq!(
            (kept.inbox_max(&workspace("default")), kept.inbox_max(&workspace("team-b"))),
            (500, 1_000)
        );
        assert_eq!(kept.history_since(&workspace("team-b"), Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn what_is_out_of_range_or_unknown_is_refused_with_its_key() {
        for (text, said) in [
            ("[inbox]\nkeep_days = 0", "inbox.keep_days is 0: 1 to 3650"),
            ("[inbox]\nkeep_per_recipient = 9", "inbox.keep_per_recipient is 9: 10 to 100000"),
            ("[keep]\nhistory_days = 3651", "keep.history_days is 3651: 0 to 3650"),
            ("[workspaces.b]\ninbox_days = 0", "workspaces.b.inbox_days is 0: 1 to 3650"),
            (
                "[workspaces.b]\ninbox_per_recipient = 100001",
                "workspaces.b.inbox_per_recipient is 100001: 10 to 100000",
            ),
            ("[workspaces.b]\nhistory = 1", "unknown key \"history\" in [workspaces.b]"),
            ("[workspaces.\"Team B\"]\ninbox_days = 1", "workspace \"Team B\" is not valid: 1 to 63 of"),
            ("workspaces = 1", "workspaces must be"),
        ] {
            let error = kept(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(kept("[keep]\nhistory_days = 0").is_ok());
    }
}
