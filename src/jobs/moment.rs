//! Moments as people write them: RFC 3339, `2h` ago, or Unix milliseconds.

use jiff::{Span, SpanRelativeTo, Timestamp};

/// `2h`, `3d`, `1h30m`: so long before `now`. `now`, RFC 3339 and Unix milliseconds: that moment.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || {
        let hint = if text.contains(' ') { ": in an address + is written %2B" } else { "" };
        format!("{text:?} is neither RFC 3339, nor a duration such as 2h or 3d, nor Unix milliseconds{hint}")
    };
    if text == "now" {
        return Ok(now);
    }
    if let Ok(milliseconds) = text.parse::<i64>() {
        return Timestamp::from_millisecond(milliseconds).map_err(|_| wrong());
    }
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    let ago = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    now.checked_sub(ago.abs()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_any_of_the_ways() {
        let now: Timestamp = "2026-03-04T12:00:00Z".parse().unwrap();
        for (text, is) in [
            ("now", "2026-03-04T12:00:00Z"),
            ("2h", "2026-03-04T10:00:00Z"),
            ("3d", "2026-03-01T12:00:00Z"),
            ("1h30m", "2026-03-04T10:30:00Z"),
            ("90s", "2026-03-04T11:58:30Z"),
            ("2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z"),
            ("1000", "1970-01-01T00:00:01Z"),
        ] {
            assert_eq!(parse(text, now).unwrap().to_string(), is, "{text}");
        }
        for text in ["", "-", "yesterday", "2x", "1 month", "99999999d"] {
            assert!(parse(text, now).is_err(), "{text}");
        }
        assert!(parse("2026-01-01T00:00:00 01:00", now).unwrap_err().contains("%2B"));
    }
}
