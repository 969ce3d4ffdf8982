//! Tries to a device of a test, for the kinds that address devices; to the channel's one place for the others.

use super::{AT, PATH_SECRET};
use crate::channel::webpush::tests::browser;
use crate::channel::{Kind, Try};
use crate::delivery::Delivery;
use crate::device::{Device, Way};

/// A try, to one device where the kind addresses devices.
pub(super) fn try_at<'a>(delivery: &'a Delivery, kind: Kind, base: &str) -> Try<'a> {
    Try { devices: devices(kind, base), ..Try::of(delivery, AT.parse().unwrap()) }
}

/// A test's few bytes stay until it ends.
fn devices(kind: Kind, base: &str) -> &'static [Device] {
    let mut device = browser(&format!("{base}/{PATH_SECRET}"));
    if kind == Kind::Expo {
        device.way = Way::Expo { expo_push_token: format!("ExponentPushToken[{PATH_SECRET}]") };
    }
    if matches!(kind, Kind::Expo | Kind::WebPush) { vec![device].leak() } else { &[] }
}
