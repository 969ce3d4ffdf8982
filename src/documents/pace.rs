//! What a channel's document may say about its rate and about the channels that stand in for it.
//!
//! Whether those exist is not known here: files and API look them up as they do for rules.

use super::{EXPIRY_MS_MAX, range};
use crate::channel::{ChannelSpec, RateLimit};
use crate::rule::fault::Fault;

/// One in a day.
pub const PER_SECOND_MIN: f64 = 1.0 / 86_400.0;
pub const PER_SECOND_MAX: f64 = 10_000.0;
pub const BURST_MAX: u32 = 1_000;
pub const FALLBACKS_MAX: usize = 5;

pub(super) fn check(spec: &ChannelSpec) -> Result<(), Fault> {
    if let Some(RateLimit { per_second, burst }) = &spec.rate_limit {
        if !(PER_SECOND_MIN..=PER_SECOND_MAX).contains(per_second) {
            let message = format!("{per_second} is out of range: one a day to {PER_SECOND_MAX} a second");
            return Err(Fault::new("/rateLimit/perSecond", message));
        }
        range("/rateLimit/burst", burst.map(u64::from), 1, u64::from(BURST_MAX))?;
    }
    check_fallback(spec)
}

fn check_fallback(spec: &ChannelSpec) -> Result<(), Fault> {
    range("/fallbackAfterMs", spec.fallback_after_ms, 1, EXPIRY_MS_MAX)?;
    let count = spec.fallback.len();
    if count > FALLBACKS_MAX {
        return Err(Fault::new("/fallback", format!("has {count} channels: at most {FALLBACKS_MAX}")));
    }
    if count == 0 && spec.fallback_after_ms.is_some() {
        return Err(Fault::new("/fallbackAfterMs", "says when, and no `fallback` says where to"));
    }
    for (index, id) in spec.fallback.iter().enumerate() {
        let place = format!("/fallback/{index}");
        if *id == spec.id {
            return Err(Fault::new(place, "is the channel itself"));
        }
        if spec.fallback[..index].contains(id) {
            return Err(Fault::new(place, format!("channel {id} is there twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::documents::{check_channel, strict};

    #[test]
    fn a_rate_and_fallbacks_are_checked_with_their_place() {
        for (more, pointer) in [
            (json!({"rateLimit": {"perSecond": 0}}), "/rateLimit/perSecond"),
            (json!({"rateLimit": {"perSecond": -1}}), "/rateLimit/perSecond"),
            (json!({"rateLimit": {}}), "/rateLimit/perSecond"),
            (json!({"rateLimit": {"perSecond": 1, "burst": 0}}), "/rateLimit/burst"),
            (json!({"rateLimit": {"perMinute": 1}}), "/rateLimit/perMinute"),
            (json!({"fallback": ["c"]}), "/fallback/0"),
            (json!({"fallback": ["a", "b", "a"]}), "/fallback/2"),
            (json!({"fallback": ["1", "2", "3", "4", "5", "6"]}), "/fallback"),
            (json!({"fallbackAfterMs": 5}), "/fallbackAfterMs"),
        ] {
            let mut value = json!({"id": "c", "kind": "console"});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let found = strict::<ChannelSpec>(value).and_then(|spec| check_channel(&spec));
            assert_eq!(found.unwrap_err().pointer, pointer, "{more}");
        }
        let good = json!({"id": "c", "kind": "console", "rateLimit": {"perSecond": 0.2, "burst": 3},
            "fallback": ["a", "b"], "fallbackAfterMs": 1000});
        check_channel(&strict(good).unwrap()).unwrap();
    }
}
