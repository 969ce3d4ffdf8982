//! The names of devices: keys of the bucket of people, which is a stream below.
//!
//! Workspace and kind come first, so that whatever is asked is a prefix, but for one device whose user is not known.

use super::Names;
use crate::channel::Kind;
use crate::device::DeviceKey;
use crate::ids::{DeviceId, Recipient, WorkspaceId};

impl Names {
    /// The stream below the bucket of people.
    #[must_use]
    pub fn people_stream(&self) -> String {
        format!("KV_{}", self.people_bucket())
    }

    #[must_use]
    pub fn device(&self, workspace: &WorkspaceId, kind: Kind, key: &DeviceKey) -> String {
        format!("$KV.{}.devices.{workspace}.{kind}.{key}", self.people_bucket())
    }

    /// Devices of a workspace: of one kind or of all, of one user (None in it: of nobody) or of all, one of them or all.
    #[must_use]
    pub fn devices(
        &self,
        workspace: &WorkspaceId,
        kind: Option<Kind>,
        user: Option<Option<&Recipient>>,
        id: Option<&DeviceId>,
    ) -> String {
        let kind = kind.map_or("*", Kind::as_str);
        let user = user.map_or_else(|| "*".to_owned(), DeviceKey::user_token);
        let id = id.map_or("*", DeviceId::as_str);
        format!("$KV.{}.devices.{workspace}.{kind}.{user}.{id}", self.people_bucket())
    }

    /// The device of a subject of [`Names::device`].
    #[must_use]
    pub fn device_of(&self, subject: &str) -> Option<(WorkspaceId, Kind, DeviceKey)> {
        let rest = subject.strip_prefix("$KV.")?.strip_prefix(&self.people_bucket())?;
        let mut parts = rest.strip_prefix(".devices.")?.splitn(3, '.');
        let workspace = WorkspaceId::parse(parts.next()?).ok()?;
        Some((workspace, Kind::parse(parts.next()?)?, DeviceKey::parse(parts.next()?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_again_from_its_subject_and_by_each_filter() {
        let names = Names::new("b").unwrap();
        let (workspace, user) = (WorkspaceId::default(), Recipient::parse("ann.b@x > *").unwrap());
        let key = DeviceKey { user: Some(user.clone()), id: DeviceId::of("token") };
        let subject = names.device(&workspace, Kind::Expo, &key);
        assert_eq!(subject.split('.').count(), 7);
        assert_eq!(names.device_of(&subject), Some((workspace.clone(), Kind::Expo, key.clone())));
        assert_eq!(names.devices(&workspace, Some(Kind::Expo), Some(Some(&user)), Some(&key.id)), subject);
        assert!(names.devices(&workspace, None, Some(None), None).ends_with(".devices.default.*._.*"));
    }
}
