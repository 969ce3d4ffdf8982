//! Checking the code of a template before the engine runs it.
//!
//! The engine finds an unknown filter only when it comes by; here it is found when the template is written. And the
//! engine counts steps but not memory: text can double with every step that joins and binds. So nothing binds a
//! computed value but `for`, and the operators that join are counted. What is left can grow by a known factor only.

use std::collections::BTreeSet;

use super::filters::{FILTERS, FUNCTIONS, TESTS};
use super::scan::{Kind, string_length};
use crate::rule::condition::ENVELOPE;
use crate::rule::fault::nearest;

const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];
/// Words that may stand before a bracket without being called.
const OPERATORS: [&str; 8] = ["not", "and", "or", "in", "if", "else", "elif", "is"];
const NESTED_LOOPS_MAX: usize = 2;
/// `~` and `+` count one each.
const JOINS_MAX: usize = 16;
/// `*` repeats a text, up to a hundred megabytes by the engine's own limit: one is enough, next to little else.
const REPEAT_JOINS: usize = 12;

/// What the code of one template uses.
#[derive(Debug, Default)]
pub(super) struct Code {
    /// Names that loops bind; elsewhere, too, they are not looked up in the event.
    pub bound: BTreeSet<String>,
    /// Names behind `_event`.
    pub envelope: BTreeSet<String>,
    pub called: BTreeSet<String>,
    joins: usize,
    loops: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Literal,
    Sign(char),
}

impl Code {
    /// `inside` is a tag without its delimiters. The error says what is wrong and what is available.
    pub fn read(&mut self, inside: &str, kind: Kind) -> Result<(), String> {
        let tokens = tokens(inside);
        match kind {
            Kind::Inert => return Ok(()),
            Kind::Expression => {}
            Kind::Statement => self.statement(&tokens)?,
        }
        for at in 0..tokens.len() {
            self.token(&tokens, at)?;
        }
        if self.joins > JOINS_MAX {
            return Err(format!(
                "too many operators `~`, `+` and `*`: {JOINS_MAX} in all, of which `*` counts {REPEAT_JOINS}"
            ));
        }
        Ok(())
    }

    fn statement(&mut self, tokens: &[Token<'_>]) -> Result<(), String> {
        match tokens.first() {
            Some(Token::Word("for")) => {
                self.loops += 1;
                if self.loops > NESTED_LOOPS_MAX {
                    return Err(format!("loops are nested at most {NESTED_LOOPS_MAX} deep"));
                }
                if tokens.last() == Some(&Token::Word("recursive")) {
                    return Err("loops cannot be recursive".to_owned());
                }
                let targets = tokens[1..].iter().take_while(|token| **token != Token::Word("in"));
                self.bound.extend(targets.filter_map(Token::word).map(str::to_owned));
                self.bound.insert("loop".to_owned());
            }
            Some(Token::Word("endfor")) => self.loops = self.loops.saturating_sub(1),
            Some(Token::Word(word)) if !STATEMENTS.contains(word) => {
                let available = STATEMENTS.join(", ");
                return Err(format!("there is no statement `{word}` here; there are {available} and raw"));
            }
            Some(Token::Word(_) | Token::Literal | Token::Sign(_)) | None => {}
        }
        Ok(())
    }

    fn token(&mut self, tokens: &[Token<'_>], at: usize) -> Result<(), String> {
        let before = at.checked_sub(1).map(|before| tokens[before]);
        let after = tokens.get(at + 1).copied();
        let is_called = after == Some(Token::Sign('('));
        match tokens[at] {
            Token::Sign('~' | '+') => self.joins += 1,
            Token::Sign('*') => self.joins += REPEAT_JOINS,
            Token::Sign('|') => known("filter", after, &FILTERS)?,
            Token::Word(word) if before == Some(Token::Sign('.')) => {
                let of_loop = at.checked_sub(2).is_some_and(|at| tokens[at] == Token::Word("loop"));
                if is_called && !of_loop {
                    return Err(format!(
                        "`{word}()`: values have no methods; there are filters, as in `x|{word}`"
                    ));
                }
            }
            Token::Word(ENVELOPE) => match (after, tokens.get(at + 2)) {
                (Some(Token::Sign('.')), Some(Token::Word(name))) => {
                    self.envelope.insert((*name).to_owned());
                }
                _ => return Err(format!("`{ENVELOPE}` needs a name behind it, such as `{ENVELOPE}.type`")),
            },
            Token::Word("is") if before.is_some() => {
                let test =
                    if after == Some(Token::Word("not")) { tokens.get(at + 2).copied() } else { after };
                known("test", test, &TESTS)?;
            }
            Token::Word(word) if is_called && !is_operand_name(before) && !OPERATORS.contains(&word) => {
                known("function", Some(Token::Word(word)), &FUNCTIONS)?;
                self.called.insert(word.to_owned());
            }
            Token::Word(_) | Token::Literal | Token::Sign(_) => {}
        }
        Ok(())
    }
}

/// The name of a filter or of a test, whose brackets hold arguments.
fn is_operand_name(before: Option<Token<'_>>) -> bool {
    matches!(before, Some(Token::Sign('|') | Token::Word("is" | "not")))
}

fn known(what: &str, token: Option<Token<'_>>, names: &[&str]) -> Result<(), String> {
    // Anything but a word here is a fault that the engine's parser explains.
    let Some(Token::Word(word)) = token else { return Ok(()) };
    if names.contains(&word) {
        return Ok(());
    }
    let available = match nearest(word, names) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are {}", names.join(", ")),
    };
    Err(format!("there is no {what} `{word}`; {available}"))
}

impl<'a> Token<'a> {
    fn word(&self) -> Option<&'a str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Literal | Self::Sign(_) => None,
        }
    }
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' | '\'' => {
                tokens.push(Token::Literal);
                string_length(rest.as_bytes(), rest.as_bytes()[0]).unwrap_or(rest.len())
            }
            '0'..='9' => {
                tokens.push(Token::Literal);
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length =
                    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                tokens.push(Token::Word(&rest[..length]));
                length
            }
            sign => {
                tokens.push(Token::Sign(sign));
                sign.len_utf8()
            }
        };
        rest = rest[length..].trim_start();
    }
    tokens
}
