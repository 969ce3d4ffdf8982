//! What is wrong with a document, and where: a JSON Pointer and a sentence for the person who wrote it.
//!
//! The pointer is relative to whatever was parsed; who parses a larger document puts its own place in front with
//! [`Fault::below`]. A message quotes names of fields and operators, never a value, which could be a secret.

use std::fmt;

/// Guesses are offered for words up to this length; nobody mistypes more, and the distance takes quadratic time.
const GUESS_CHARS_MAX: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// RFC 6901; empty where the whole is meant.
    pub pointer: String,
    /// What was found and what is allowed.
    pub message: String,
}

impl Fault {
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }

    /// The whole of what was parsed is wrong.
    pub fn here(message: impl Into<String>) -> Self {
        Self::new("", message)
    }

    /// The same fault seen from the document around; `place` is a pointer too, such as `/rules/3`.
    #[must_use]
    pub fn below(self, place: &str) -> Self {
        Self { pointer: format!("{place}{}", self.pointer), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "at {}: {}", self.pointer, self.message)
    }
}

impl std::error::Error for Fault {}

/// So many entries of one list are told of; an event may bring thousands, and what is said of them travels along.
const NOTED_MAX: usize = 5;

/// What was left out of a list that an event brought, in words: the first entries, and how many more there were. The same is
/// not said twice.
#[derive(Debug, Default)]
pub struct LeftOut {
    notes: Vec<String>,
    more: usize,
}

impl LeftOut {
    pub fn add(&mut self, why: impl FnOnce() -> String) {
        if self.notes.len() >= NOTED_MAX {
            self.more += 1;
            return;
        }
        let why = why();
        if !self.notes.contains(&why) {
            self.notes.push(why);
        }
    }

    #[must_use]
    pub fn into_notes(self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more were left out", self.more));
        self.notes.into_iter().chain(more).collect()
    }
}

/// The pointer to a field of the object at hand.
#[must_use]
pub fn field_pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Longer lists help nobody.
const LISTED_MAX: usize = 20;

/// What is said of a field that nobody knows.
#[must_use]
pub fn unknown_field(found: &str, known: &[&str]) -> String {
    let fields = match known {
        [] => "; there are no fields here".to_owned(),
        _ if known.len() > LISTED_MAX => String::new(),
        _ => format!("; the fields here are {}", known.join(", ")),
    };
    format!("`{}` is not a known field{}{fields}", shortened(found), guess(found, known))
}

/// What is said of a word that is none of a closed list.
#[must_use]
pub fn unknown_word(found: &str, allowed: &[&str]) -> String {
    format!("found `{}`{}; allowed are {}", shortened(found), guess(found, allowed), allowed.join(", "))
}

/// The end of a sentence about a word, where a guess can be made.
#[must_use]
pub fn guess(found: &str, words: &[&str]) -> String {
    nearest(found, words).map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

/// A message is for a line of a terminal or a form.
#[must_use]
pub fn shortened(text: &str) -> String {
    text.chars().take(GUESS_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The allowed word that was probably meant. Case, `_` and `-` are no difference; two slips are, in a short word.
#[must_use]
pub fn nearest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let word = plain(word);
    if word.is_empty() || word.len() > GUESS_CHARS_MAX {
        return None;
    }
    let distances = allowed.iter().map(|candidate| (distance(&word, &plain(candidate)), *candidate));
    let (slips, candidate) = distances.min_by_key(|(slips, _)| *slips)?;
    (slips <= word.len().div_ceil(4)).then_some(candidate)
}

fn plain(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Levenshtein's, in which two neighbours that changed places are one slip. A row at a time, beside the two before it.
fn distance(a: &[char], b: &[char]) -> usize {
    let (mut before, mut above): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut slips = (above[j] + usize::from(from != to)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && *to == a[i - 1] {
                slips = slips.min(before[j - 1] + 1);
            }
            row.push(slips);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_a_place_and_a_sentence() {
        let fault = Fault::new("/op", "`eq` is no operator").below("/and/0").below("/condition");
        assert_eq!(fault.to_string(), "at /condition/and/0/op: `eq` is no operator");
        assert_eq!(Fault::here("is empty").to_string(), "is empty");
    }

    #[test]
    fn a_pointer_escapes_what_rfc_6901_wants_escaped() {
        assert_eq!(field_pointer("a/b~c"), "/a~1b~0c");
    }

    #[test]
    fn a_slip_of_the_finger_is_guessed_and_another_word_is_not() {
        let words = ["field", "op", "value", "starts_with", "not_exists"];
        assert_eq!(nearest("valeu", &words), Some("value"));
        assert_eq!(nearest("startsWith", &words), Some("starts_with"));
        assert_eq!(nearest("Not-Exists", &words), Some("not_exists"));
        assert_eq!(nearest("fiedl", &words), Some("field"));
        assert_eq!(nearest("po", &words), Some("op"));
        assert_eq!(nearest("comment", &words), None);
        assert_eq!(nearest("", &words), None);
        assert_eq!(nearest(&"v".repeat(1_000_000), &words), None);
    }
}
