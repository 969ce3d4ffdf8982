//! Text for people: cleaned of what deceives the eye or a terminal, measured, and cut where it may be cut.
//!
//! Lengths are UTF-16 units, as Telegram counts them; that is never less than characters, which others count.

/// A cut looks this far back for white space before it goes through a word.
pub(super) const WORD_BYTES_MAX: usize = 48;

/// A cut steps over at most so many joined characters: more are a text made to be slow.
const CLUSTER_CHARS_MAX: usize = 16;

/// Without control characters (so no terminal escapes), direction overrides and isolates, and invisible characters
/// that have no use in running text. Line feeds and tabs stay; so do the joiners that emoji and scripts need.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().filter(|&ch| !is_deceptive(ch)).collect()
}

fn is_deceptive(ch: char) -> bool {
    match ch {
        '\n' | '\t' => false,
        '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{feff}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{206f}' => true,
        _ => ch.is_control(),
    }
}

/// The same in one line: runs of white space become one space.
#[must_use]
pub fn one_line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[must_use]
pub fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// At most `units_max` long, with "…" where something is missing.
#[must_use]
pub fn cut(text: &str, units_max: usize) -> String {
    cut_by(text, units_max, char::len_utf16)
}

/// Like [`cut`], with a price of its own for each character: what it costs once it is escaped. "…" costs one.
#[must_use]
pub fn cut_by(text: &str, price_max: usize, price: impl Fn(char) -> usize) -> String {
    if fitting(text, price_max, &price) == text.len() {
        return text.to_owned();
    }
    let end = boundary(text, fitting(text, price_max.saturating_sub(1), &price));
    format!("{}…", text[..end].trim_end())
}

/// At most `bytes_max` bytes long as a JSON string, whose quotes are not counted.
#[must_use]
pub fn cut_json(text: &str, bytes_max: usize) -> String {
    let price = |ch: char| match ch {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        ch if ch.is_ascii_control() => 6,
        ch => ch.len_utf8(),
    };
    // "…" costs three bytes, and one of them is counted.
    if fitting(text, bytes_max, price) == text.len() {
        return text.to_owned();
    }
    if bytes_max < '…'.len_utf8() {
        return String::new();
    }
    cut_by(text, bytes_max - 2, price)
}

/// How many bytes of `text` can be had for `price_max`.
pub(super) fn fitting(text: &str, price_max: usize, price: impl Fn(char) -> usize) -> usize {
    let mut spent = 0;
    for (index, ch) in text.char_indices() {
        spent += price(ch);
        if spent > price_max {
            return index;
        }
    }
    text.len()
}

/// The best place to cut at or before `end`, a place between two characters: between words if one ends nearby, else
/// not inside what is seen as one character.
pub(super) fn boundary(text: &str, end: usize) -> usize {
    let mut end = end;
    for _ in 0..CLUSTER_CHARS_MAX {
        if !is_joined(text, end) {
            break;
        }
        end = text[..end].char_indices().next_back().map_or(0, |(index, _)| index);
    }
    if text[end..].starts_with(char::is_whitespace) {
        return end;
    }
    match text[..end].rfind(char::is_whitespace) {
        Some(space) if space > 0 && end - space <= WORD_BYTES_MAX => space,
        Some(_) | None => end,
    }
}

/// True when the characters on both sides of `at` are seen as one. A small part of UAX #29: marks, variation
/// selectors, skin tones, joiners and flags.
fn is_joined(text: &str, at: usize) -> bool {
    let Some(next) = text[at..].chars().next() else { return false };
    let Some(previous) = text[..at].chars().next_back() else { return false };
    if is_flag_half(previous) && is_flag_half(next) {
        return text[..at].chars().rev().take_while(|&ch| is_flag_half(ch)).count() % 2 == 1;
    }
    previous == '\u{200d}'
        || matches!(
            next,
            '\u{300}'..='\u{36f}'
                | '\u{1ab0}'..='\u{1aff}'
                | '\u{1dc0}'..='\u{1dff}'
                | '\u{200d}'
                | '\u{20d0}'..='\u{20ff}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{fe20}'..='\u{fe2f}'
                | '\u{1f3fb}'..='\u{1f3ff}'
        )
}

fn is_flag_half(ch: char) -> bool {
    ('\u{1f1e6}'..='\u{1f1ff}').contains(&ch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deceptive_characters_are_dropped_and_joiners_stay() {
        assert_eq!(clean("a\u{202e}b\u{2066}c\u{200b}d\x1b[31m\r\n\te\u{9b}"), "abcd[31m\n\te");
        assert_eq!(clean("👩\u{200d}🚀 نمی\u{200c}خواهم"), "👩\u{200d}🚀 نمی\u{200c}خواهم");
        assert_eq!(one_line("  a\n\n b\tc "), "a b c");
    }

    #[test]
    fn a_cut_keeps_to_its_limit_and_to_words() {
        assert_eq!(cut("one two three", 13), "one two three");
        assert_eq!(cut("one two three", 12), "one two…");
        assert_eq!(cut("onetwothree", 5), "onet…");
        assert_eq!(cut("🚀🚀🚀", 5), "🚀🚀…");
        assert_eq!(cut("abc", 1), "…");
        assert_eq!(cut(" bcdef", 4), " bc…");
    }

    #[test]
    fn a_cut_does_not_divide_what_is_seen_as_one_character() {
        assert_eq!(cut("ae\u{301}x", 3), "a…");
        assert_eq!(cut("a👩\u{200d}🚀bcdef", 6), "a…");
        assert_eq!(cut("🇩🇪🇫🇷x", 7), "🇩🇪…");
    }

    #[test]
    fn a_cut_of_json_keeps_to_its_bytes() {
        for text in ["plain words and more of them", "\"quotes\"\n\n\\ and lines", "Grüße 🚀🚀🚀🚀 und mehr"]
        {
            for bytes_max in 0..50 {
                let cut = cut_json(text, bytes_max);
                let json = serde_json::to_string(&cut).unwrap();
                assert!(json.len() - 2 <= bytes_max, "{json} {bytes_max}");
                assert!(cut == text || cut.is_empty() || cut.ends_with('…'));
            }
        }
    }

    #[test]
    fn a_character_costs_what_its_escape_costs() {
        let price = |ch| if ch == '&' { 5 } else { 1 };
        assert_eq!(cut_by("a&b", 7, price), "a&b");
        assert_eq!(cut_by("a&b", 6, price), "a…");
    }
}
