//! A pass over all devices of a workspace, by their places in the bucket.
//!
//! A device that says that it is still there moves to the bucket's end, and the notification itself makes apps say so. So the
//! pass ends where the bucket ended when it began, and nobody is met twice. Whoever moves behind that end before their turn has
//! come would be missed: what moved is heard before each step. Only who moves twice while a pass stands still is met again.

use std::collections::HashSet;

use crate::bus::devices::{self, Span};
use crate::bus::{Bus, BusError};
use crate::channel::Kind;
use crate::device::reach::{DEVICES_PER_TRY_MAX, Reach};
use crate::device::{Device, DeviceKey};
use crate::ids::WorkspaceId;

/// The next devices behind the place `after`.
pub(super) async fn step(
    bus: &Bus,
    (workspace, kind): (&WorkspaceId, Kind),
    after: u64,
    rest: &mut Reach,
) -> Result<Vec<Device>, BusError> {
    let of = (workspace, Some(kind), None);
    let last = devices::last_place(bus).await?;
    let until = *rest.until.get_or_insert(last);
    let mut heard = rest.heard.unwrap_or(last);
    while heard < last {
        let behind = Span { after: heard, until: Some(last) };
        let page = devices::page(bus, of, behind, DEVICES_PER_TRY_MAX).await?;
        heard = page.next.unwrap_or(last);
        rest.heard = Some(heard);
        let moved: Vec<Device> = page.devices.into_iter().filter(|device| is_due(device, after)).collect();
        if !moved.is_empty() {
            return Ok(moved);
        }
    }
    let page = devices::page(bus, of, Span { after, until: Some(until) }, DEVICES_PER_TRY_MAX).await?;
    let mut found = page.devices;
    // Whoever moved while it was read may have been missed.
    let now = devices::last_place(bus).await?;
    if now > last {
        let behind = Span { after: last, until: Some(now) };
        let moved = devices::page(bus, of, behind, usize::MAX).await?.devices;
        let met: HashSet<DeviceKey> = found.iter().map(Device::key).collect();
        found
            .extend(moved.into_iter().filter(|device| is_due(device, after) && !met.contains(&device.key())));
    }
    (rest.after, rest.heard) = (page.next, Some(now.max(last)));
    Ok(found)
}

/// True when it moved before its turn. One that is new since the pass began is not meant.
fn is_due(device: &Device, after: u64) -> bool {
    device.moved_from.is_some_and(|from| from > after)
}
