//! How a channel stands, apart from its document: whether a test reached somebody, since when nothing works, whether it was
//! switched off for that.
//!
//! Each of these is about one address: it holds the digest of the kind and configuration that it was found out with, those of
//! its connection too, and counts no more when they are others. A channel that a file owns was put there by an operator, and needs no test.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ChannelSpec, Kind};
use crate::connection::ConnectionSpec;
use crate::ids::digest;
use crate::outcome::{Reason, words};

/// The owner of what Bugle itself notes.
pub const OWN_OWNER: &str = "bugle";
/// How the owner of a file's documents begins.
const FILE_OWNER: &str = "file:";
/// Five days, as long as most of the field gives an endpoint.
const DISABLE_AFTER_MS: u64 = 5 * 24 * 3600 * 1000;

/// What happened to a channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelStanding {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// While no try works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// The same address under another digest: its secrets were, or are about to be, sealed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resealed: Option<Resealed>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resealed {
    pub from: String,
    pub to: String,
}

/// A test went through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    pub digest: String,
    pub at: Timestamp,
    /// Who asked for the test.
    pub by: String,
}

/// It was switched off for what its provider said, or did not say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disabled {
    pub digest: String,
    pub at: Timestamp,
    pub cause: Cause,
    /// For people; no secret, no address.
    pub why: String,
}

/// Every try failed since then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failing {
    pub digest: String,
    pub since: Timestamp,
}

words! {
    /// Why a channel was switched off.
    Cause {
        /// Its receiver said that it wants no more, or is no more (a webhook's 410, a webhook that Discord does not know).
        Gone = "gone",
        /// Nothing worked for too long.
        Failing = "failing",
    }
}

words! {
    /// Whether anybody is known to listen.
    Verification {
        Pending = "pending",
        Verified = "verified",
    }
}

/// Why a channel gets nothing although its document has it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub reason: Reason,
    pub why: String,
}

/// The address of inboxes: there is no other, and nothing to test in it.
const INBOXES: &str = "in_app";

/// What a standing is about: another address, another digest. A connection that is not there (any more) leads nowhere.
#[must_use]
pub fn digest_of(spec: &ChannelSpec, connection: Option<&ConnectionSpec>) -> String {
    if spec.kind == Kind::InApp {
        return INBOXES.to_owned();
    }
    let (kind, config) = (spec.kind.as_str(), spec.config.to_string());
    let Some(id) = &spec.connection else { return digest(&["channel", kind, "", &config]) };
    let shared = connection.map(|shared| (shared.kind.as_str(), shared.config.to_string()));
    let (shared_kind, shared_config) = shared.unwrap_or_default();
    digest(&["channel", kind, id.as_str(), &config, shared_kind, &shared_config])
}

/// True for documents of files.
#[must_use]
pub fn is_of_file(owner: &str) -> bool {
    owner.starts_with(FILE_OWNER)
}

/// Each is asked for an `address`: what [`digest_of`] says now.
impl ChannelStanding {
    #[must_use]
    pub fn verification(&self, owner: &str, address: &str) -> Verification {
        let tested = || self.verified.as_ref().is_some_and(|verified| self.is_of(&verified.digest, address));
        if is_of_file(owner) || address == INBOXES || tested() {
            Verification::Verified
        } else {
            Verification::Pending
        }
    }

    /// What switched it off, unless its address is another one by now.
    #[must_use]
    pub fn disabled(&self, address: &str) -> Option<&Disabled> {
        self.disabled.as_ref().filter(|disabled| self.is_of(&disabled.digest, address))
    }

    /// Since when nothing works there.
    #[must_use]
    pub fn failing(&self, address: &str) -> Option<&Failing> {
        self.failing.as_ref().filter(|failing| self.is_of(&failing.digest, address))
    }

    /// True when what holds this digest is about the channel as it is.
    fn is_of(&self, found: &str, address: &str) -> bool {
        let same = |resealed: &Resealed| resealed.to == address && resealed.from == found;
        found == address || self.resealed.as_ref().is_some_and(same)
    }

    /// What is known goes on when secrets of the channel or of its connection are sealed anew: before that is written and
    /// after it.
    pub fn reseal(&mut self, from: String, to: String) {
        let mut digests: Vec<&mut String> = Vec::new();
        digests.extend(self.verified.as_mut().map(|verified| &mut verified.digest));
        digests.extend(self.disabled.as_mut().map(|disabled| &mut disabled.digest));
        digests.extend(self.failing.as_mut().map(|failing| &mut failing.digest));
        if let Some(earlier) = self.resealed.take().filter(|earlier| earlier.to == from) {
            digests
                .into_iter()
                .filter(|found| **found == earlier.from)
                .for_each(|found| found.clone_from(&from));
        }
        self.resealed = Some(Resealed { from, to });
    }

    #[must_use]
    pub fn closed(&self, owner: &str, address: &str) -> Option<Closed> {
        if let Some(disabled) = self.disabled(address) {
            return Some(Closed { reason: Reason::ChannelDisabled, why: disabled.why.clone() });
        }
        match self.verification(owner, address) {
            Verification::Verified => None,
            Verification::Pending => {
                let why = "no test of the channel went through since its address was set".to_owned();
                Some(Closed { reason: Reason::ChannelUnverified, why })
            }
        }
    }
}

impl ChannelSpec {
    /// How long every try may fail before the channel is switched off, in milliseconds. None: for ever.
    #[must_use]
    pub fn disable_after(&self) -> Option<u64> {
        let usual = match self.kind {
            // Endpoints of somebody's own go, and nobody tells.
            Kind::Webhook => Some(DISABLE_AFTER_MS),
            Kind::Console
            | Kind::InApp
            | Kind::Slack
            | Kind::Telegram
            | Kind::WhatsApp
            | Kind::Email
            | Kind::Nats
            | Kind::Expo
            | Kind::WebPush
            | Kind::Url => None,
        };
        self.disable_after_ms.or(usual).filter(|after| *after > 0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(url: &str) -> ChannelSpec {
        serde_json::from_value(json!({"id": "c", "kind": "webhook", "config": {"url": url}})).unwrap()
    }

    fn address(url: &str) -> String {
        digest_of(&spec(url), None)
    }

    fn verified(address: &str) -> ChannelStanding {
        let verified =
            Verified { digest: address.to_owned(), at: Timestamp::UNIX_EPOCH, by: "ann".to_owned() };
        ChannelStanding { verified: Some(verified), ..ChannelStanding::default() }
    }

    #[test]
    fn a_channel_is_verified_by_a_test_of_this_address_or_by_its_file() {
        let (here, there) = (address("https://a.example/"), address("https://b.example/"));
        let standing = verified(&here);
        assert_eq!(standing.verification("api", &here), Verification::Verified);
        assert_eq!(standing.verification("api", &there), Verification::Pending);
        assert_eq!(standing.closed("api", &there).unwrap().reason, Reason::ChannelUnverified);
        assert_eq!(ChannelStanding::default().closed("file:a.yaml", &there), None);
        // What is no part of the address changes nothing.
        let slower = ChannelSpec { timeout_ms: Some(1), ..spec("https://a.example/") };
        assert_eq!(standing.closed("api", &digest_of(&slower, None)), None);
    }

    #[test]
    fn the_settings_of_its_connection_are_a_part_of_a_channels_address() {
        let shared = |more: &serde_json::Value| -> ConnectionSpec {
            let mut spec = json!({"id": "hooks", "kind": "webhook", "config": {"url": "https://a.example/"}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(spec).unwrap()
        };
        let on = json!({"id": "c", "kind": "webhook", "connection": "hooks", "config": {"method": "PUT"}});
        let on: ChannelSpec = serde_json::from_value(on).unwrap();
        let here = digest_of(&on, Some(&shared(&json!({}))));
        for (more, same) in [
            (json!({"name": "Hooks", "enabled": false}), true),
            (json!({"config": {"url": "https://b.example/"}}), false),
            (json!({"kind": "url"}), false),
        ] {
            let now = digest_of(&on, Some(&shared(&more)));
            assert_eq!(verified(&here).closed("api", &now).is_none(), same, "{more}");
        }
        assert!(verified(&here).closed("api", &digest_of(&on, None)).is_some());
    }

    #[test]
    fn what_switched_a_channel_off_counts_for_that_address_whoever_owns_it() {
        let (here, there) = (address("https://a.example/"), address("https://b.example/"));
        let (digest, at) = (here.clone(), Timestamp::UNIX_EPOCH);
        let disabled = Disabled { digest, at, cause: Cause::Gone, why: "it said so".to_owned() };
        let standing = ChannelStanding { disabled: Some(disabled), ..verified(&here) };
        for owner in ["api", "file:a.yaml"] {
            let closed = standing.closed(owner, &here).unwrap();
            assert_eq!((closed.reason, closed.why.as_str()), (Reason::ChannelDisabled, "it said so"));
        }
        assert_eq!(standing.closed("file:a.yaml", &there), None);
    }

    #[test]
    fn what_is_known_of_a_channel_outlives_the_sealing_of_its_secrets() {
        let sealed: Vec<String> = (0..4).map(|key| address(&format!("sealed:{key}"))).collect();
        let mut standing = verified(&sealed[0]);
        standing.failing = Some(Failing { digest: sealed[0].clone(), since: Timestamp::UNIX_EPOCH });
        for pair in sealed.windows(2) {
            standing.reseal(pair[0].clone(), pair[1].clone());
            // Written in two steps, and both are true.
            for address in pair {
                assert_eq!(standing.verification("api", address), Verification::Verified);
                assert!(standing.failing(address).is_some());
            }
            assert_eq!(standing.verification("api", &address("other")), Verification::Pending);
        }
        assert_eq!(standing.verification("api", &sealed[0]), Verification::Pending);
    }

    #[test]
    fn webhooks_are_switched_off_after_five_days_unless_they_say_otherwise_and_others_when_they_say_so() {
        let after = |kind: &str, config: serde_json::Value, more: Option<u64>| {
            let spec = json!({"id": "c", "kind": kind, "config": config, "disableAfterMs": more});
            serde_json::from_value::<ChannelSpec>(spec).unwrap().disable_after()
        };
        let url = || json!({"url": "https://a.example/"});
        assert_eq!(after("webhook", url(), None), Some(432_000_000));
        assert_eq!(after("webhook", url(), Some(0)), None);
        assert_eq!(after("webhook", url(), Some(5)), Some(5));
        assert_eq!(after("console", json!({}), None), None);
        assert_eq!(after("console", json!({}), Some(5)), Some(5));
    }

    #[test]
    fn inboxes_need_no_test() {
        let spec: ChannelSpec = serde_json::from_value(json!({"id": "in_app", "kind": "in_app"})).unwrap();
        let standing = ChannelStanding::default();
        assert_eq!(standing.verification("api", &digest_of(&spec, None)), Verification::Verified);
    }
}
