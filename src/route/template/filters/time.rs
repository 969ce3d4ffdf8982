//! Moments and spans as people write them.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use minijinja::value::Kwargs;
use minijinja::{Error, Value};

use super::failed;

const FORMAT: &str = "%Y-%m-%d %H:%M %Z";
/// Of a format and of a zone's name.
const BYTES_MAX: usize = 100;
/// A format may pad to a width of so many digits.
const WIDTH_DIGITS_MAX: usize = 2;
/// Numbers from here on are milliseconds: as seconds they are beyond the year 5000, as milliseconds in 1973.
const MILLISECONDS_FROM: f64 = 1e11;

/// An RFC 3339 time, or Unix time in seconds or milliseconds. Nothing stays nothing.
pub(super) fn date(
    value: Value,
    format: Option<Cow<'_, str>>,
    zone: Option<Cow<'_, str>>,
    named: Kwargs,
) -> Result<String, Error> {
    let format =
        format.map_or_else(|| named.get::<Option<String>>("format"), |format| Ok(Some(format.into())))?;
    let zone = zone.map_or_else(|| named.get::<Option<String>>("zone"), |zone| Ok(Some(zone.into())))?;
    named.assert_all_used()?;
    if is_nothing(&value) {
        return Ok(String::new());
    }
    let (format, zone) = (format.as_deref().unwrap_or(FORMAT), zone.as_deref().unwrap_or("UTC"));
    let width = format.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or_default();
    if format.len() > BYTES_MAX || zone.len() > BYTES_MAX || width > WIDTH_DIGITS_MAX {
        return Err(failed(format!(
            "the format of `date` is too large: {BYTES_MAX} bytes, numbers of {WIDTH_DIGITS_MAX} digits"
        )));
    }
    let zone = TimeZone::get(zone).map_err(|_| {
        failed("`date` knows no such time zone; there are `UTC`, `Europe/Berlin` and so on".to_owned())
    })?;
    strtime::format(format, &moment(&value)?.to_zoned(zone))
        .map_err(|error| failed(format!("the format of `date` cannot be used: {error}")))
}

fn moment(value: &Value) -> Result<Timestamp, Error> {
    let no_time =
        || failed("`date` takes an RFC 3339 time, or Unix time in seconds or milliseconds".to_owned());
    let Some(number) = number(value) else {
        return value.as_str().and_then(|text| text.trim().parse().ok()).ok_or_else(no_time);
    };
    let seconds = if number.abs() < MILLISECONDS_FROM { number } else { number / 1000.0 };
    let span = jiff::SignedDuration::try_from_secs_f64(seconds).map_err(|_| no_time())?;
    Timestamp::UNIX_EPOCH.checked_add(span).map_err(|_| no_time())
}

/// Of milliseconds, or seconds when it says `unit='s'`: the two largest units, such as `2 h 5 min`.
pub(super) fn duration(value: Value, unit: Option<&str>, named: Kwargs) -> Result<String, Error> {
    let unit = unit.map_or_else(|| named.get("unit"), |unit| Ok(Some(unit)))?;
    named.assert_all_used()?;
    if is_nothing(&value) {
        return Ok(String::new());
    }
    let number = number(&value).ok_or_else(|| failed("`duration` takes a number".to_owned()))?;
    let milliseconds = match unit {
        None | Some("ms") => number,
        Some("s") => number * 1000.0,
        Some(_) => return Err(failed("the unit of `duration` is `ms` or `s`".to_owned())),
    };
    let sign = if milliseconds < 0.0 { "-" } else { "" };
    let span = jiff::SignedDuration::try_from_secs_f64((milliseconds / 1000.0).abs())
        .map_err(|_| failed("`duration` takes less than that".to_owned()))?;
    let seconds = span.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, left) = (seconds / 60 % 60, seconds % 60);
    let text = match (days, hours, minutes, left) {
        (0, 0, 0, 0) => format!("{} ms", span.subsec_millis()),
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => two(minutes, "min", seconds, "s"),
        (0, hours, minutes, _) => two(hours, "h", minutes, "min"),
        (days, hours, _, _) => two(days, "d", hours, "h"),
    };
    Ok(format!("{sign}{text}"))
}

fn two(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        return format!("{large} {large_unit}");
    }
    format!("{large} {large_unit} {small} {small_unit}")
}

fn is_nothing(value: &Value) -> bool {
    value.is_undefined() || value.is_none() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

fn number(value: &Value) -> Option<f64> {
    let number = match value.as_str() {
        Some(text) => text.trim().parse().ok()?,
        None if value.is_number() => f64::try_from(value.clone()).ok()?,
        None => return None,
    };
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::Template;
    use crate::rule::condition::fixture::Case;

    fn render(expression: &str) -> Result<String, String> {
        let data = json!({ "iso": "2026-07-01T22:30:00.5Z", "offset": "2026-07-01T22:30:00+02:00", "s": 1_782_945_000,
            "ms": 1_782_945_000_500_i64, "text": "1782945000", "bad": "soon", "list": [1], "none": null, "half": 0.5 });
        let template = Template::compile(&format!("{{{{ {expression} }}}}")).unwrap();
        template.render(&Case::of(&data)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_moment_is_shown_in_its_form_and_zone() {
        for (expression, expected) in [
            ("iso|date", "2026-07-01 22:30 UTC"),
            ("offset|date('%H:%M')", "20:30"),
            ("s|date", "2026-07-01 22:30 UTC"),
            ("ms|date('%FT%T%.3f')", "2026-07-01T22:30:00.500"),
            ("text|date('%Y')", "2026"),
            ("iso|date('%d %b %Y, %H:%M', 'Europe/Berlin')", "02 Jul 2026, 00:30"),
            ("iso|date('%H:%M', zone='America/New_York')", "18:30"),
            ("missing|date", ""),
            ("nul|date", ""),
            ("''|date", ""),
        ] {
            assert_eq!(render(expression).as_deref(), Ok(expected), "{expression}");
        }
        for (expression, words) in [
            ("bad|date", "RFC 3339"),
            ("list|date", "RFC 3339"),
            ("1e300|date", "RFC 3339"),
            ("iso|date('%H', 'Mars/Base')", "no such time zone"),
            ("iso|date('%H', '../../etc/passwd')", "no such time zone"),
            ("iso|date('%!')", "cannot be used"),
            ("iso|date('%999Y')", "too large"),
        ] {
            let said = render(expression).unwrap_err();
            assert!(said.contains(words), "{expression}: {said}");
        }
    }

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (expression, expected) in [
            ("850|duration", "850 ms"),
            ("0|duration", "0 ms"),
            ("45000|duration", "45 s"),
            ("200000|duration", "3 min 20 s"),
            ("'7500000'|duration", "2 h 5 min"),
            ("7200000|duration", "2 h"),
            ("273600|duration('s')", "3 d 4 h"),
            ("60|duration(unit='s')", "1 min"),
            ("-90000|duration", "-1 min 30 s"),
            ("half|duration('s')", "500 ms"),
            ("missing|duration", ""),
        ] {
            assert_eq!(render(expression).as_deref(), Ok(expected), "{expression}");
        }
        for expression in ["bad|duration", "list|duration", "1|duration('weeks')", "1e300|duration"] {
            assert!(render(expression).is_err(), "{expression}");
        }
    }
}
