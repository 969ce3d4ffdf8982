//! Templates of text, paths and simple `if`s, which is what nearly all are: rendered here, some ten times as fast as by
//! the engine. What is not understood here is left to the engine, down to its errors.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde_json::Value;

use super::scan::{Kind, Part, inside, is_plain_path};
use super::text::{Output, write_text};
use super::{OUTPUT_BYTES_MAX, RenderError};
use crate::rule::condition::{Facts, Path};

/// Rendering goes down as deep; deeper ones are the engine's.
const DEPTH_MAX: usize = 16;
/// Names that mean something else in a condition.
const KEYWORDS: [&str; 14] =
    ["true", "false", "none", "True", "False", "None", "not", "and", "or", "in", "is", "if", "else", "loop"];

#[derive(Debug, Clone)]
pub(super) struct Plain(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    /// The first that is true, as in `a or b`; else the last.
    Path(Vec<Path>),
    If {
        branches: Vec<(Test, Vec<Piece>)>,
        otherwise: Vec<Piece>,
    },
}

/// `path`, `path or path`, `not path`, `path is defined` or `path is not defined`.
#[derive(Debug, Clone)]
struct Test {
    /// One of them is enough.
    paths: Vec<Path>,
    negated: bool,
    /// Asked is whether it is there, whatever it is.
    defined: bool,
}

/// An `if` whose end was not seen yet.
#[derive(Default)]
struct Open {
    branches: Vec<(Test, Vec<Piece>)>,
    /// None behind `else`.
    test: Option<Test>,
    pieces: Vec<Piece>,
}

impl Plain {
    /// None for what needs the engine.
    pub fn compile(parts: &[Part<'_>]) -> Option<Self> {
        let (mut open, mut pieces) = (Vec::<Open>::new(), Vec::new());
        for part in parts {
            match part {
                Part::Text(text) => pieces.push(Piece::Text((*text).to_owned())),
                Part::Path { path, trims: false, .. } => pieces.push(Piece::Path(vec![path.clone()])),
                Part::Code { tag, kind: Kind::Expression, .. } if !trims(tag) => {
                    let words: Vec<&str> = inside(tag).split_whitespace().collect();
                    pieces.push(Piece::Path(alternatives(&words)?));
                }
                Part::Code { tag, kind: Kind::Statement, .. } if !trims(tag) => {
                    pieces = statement(inside(tag), pieces, &mut open)?;
                }
                Part::Path { trims: true, .. } | Part::Code { .. } => return None,
            }
        }
        open.is_empty().then_some(Self(pieces))
    }

    pub fn render(&self, facts: &impl Facts) -> Result<Output, RenderError> {
        let mut output = Output::up_to(OUTPUT_BYTES_MAX);
        write(&self.0, facts, &mut output).map_err(|_| RenderError::TooLong)?;
        Ok(output)
    }
}

/// The pieces to go on with; `pieces` are those that came before the statement, since the one around it.
fn statement(words: &str, pieces: Vec<Piece>, open: &mut Vec<Open>) -> Option<Vec<Piece>> {
    let (word, rest) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
    match (word, rest) {
        ("if", condition) if open.len() < DEPTH_MAX => {
            open.push(Open { test: Some(Test::parse(condition)?), pieces, ..Open::default() });
            Some(Vec::new())
        }
        ("elif", condition) => {
            let around = open.last_mut()?;
            let test = around.test.replace(Test::parse(condition)?)?;
            around.branches.push((test, pieces));
            Some(Vec::new())
        }
        ("else", "") => {
            let around = open.last_mut()?;
            let test = around.test.take()?;
            around.branches.push((test, pieces));
            Some(Vec::new())
        }
        ("endif", "") => {
            let Open { mut branches, test, pieces: mut before } = open.pop()?;
            let otherwise = match test {
                Some(test) => {
                    branches.push((test, pieces));
                    Vec::new()
                }
                None => pieces,
            };
            before.push(Piece::If { branches, otherwise });
            Some(before)
        }
        _ => None,
    }
}

/// It has a sign that rules the white space around it.
fn trims(tag: &str) -> bool {
    [2, tag.len() - 3].into_iter().any(|at| matches!(tag.as_bytes()[at], b'-' | b'+'))
}

impl Test {
    fn parse(condition: &str) -> Option<Self> {
        let words: Vec<&str> = condition.split_whitespace().collect();
        let (paths, negated, defined) = match words.as_slice() {
            ["not", path] => (alternatives(&[path])?, true, false),
            [path, "is", "defined"] => (alternatives(&[path])?, false, true),
            [path, "is", "not", "defined"] => (alternatives(&[path])?, true, true),
            words => (alternatives(words)?, false, false),
        };
        Some(Self { paths, negated, defined })
    }

    fn holds(&self, facts: &impl Facts) -> bool {
        let holds = |value: &Value| if self.defined { !value.is_null() } else { is_true(value) };
        self.paths.iter().any(|path| path.find(facts).is_some_and(|value| holds(&value))) != self.negated
    }
}

/// Of `a`, `a or b`, and so on.
fn alternatives(words: &[&str]) -> Option<Vec<Path>> {
    let is_or = |(at, word): (usize, &&str)| at.is_multiple_of(2) || *word == "or";
    if words.len().is_multiple_of(2) || !words.iter().enumerate().all(is_or) {
        return None;
    }
    words.iter().step_by(2).map(|word| name(word)).collect()
}

/// A path that the engine would not take for anything else.
fn name(text: &str) -> Option<Path> {
    let ascii = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'[' | b']');
    let first = text.split(['.', '[']).next().unwrap_or_default();
    let is_name = is_plain_path(text) && text.bytes().all(ascii) && !KEYWORDS.contains(&first);
    Path::parse(text).ok().filter(|_| is_name)
}

/// As Jinja has it.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn first_true<'a>(paths: &[Path], facts: &'a impl Facts) -> Option<Cow<'a, Value>> {
    let mut found = None;
    for path in paths {
        found = path.find(facts);
        if paths.len() > 1 && found.as_deref().is_some_and(is_true) {
            break;
        }
    }
    found
}

fn write(pieces: &[Piece], facts: &impl Facts, output: &mut Output) -> fmt::Result {
    for piece in pieces {
        match piece {
            Piece::Text(text) => output.write_str(text)?,
            Piece::Path(paths) => {
                output.start_value();
                if let Some(found) = first_true(paths, facts) {
                    write_text(&found, output)?;
                }
                output.end_value();
            }
            Piece::If { branches, otherwise } => {
                let taken = branches.iter().find(|(test, _)| test.holds(facts));
                write(taken.map_or(otherwise, |(_, pieces)| pieces), facts, output)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Body, Template};
    use crate::rule::condition::fixture::Case;

    #[test]
    fn an_if_means_the_same_here_and_in_the_engine() {
        let data = json!({ "yes": true, "no": false, "zero": 0, "float": 0.0, "one": 1, "empty": "", "text": "t",
            "none": null, "list": [], "items": [0], "object": {}, "deep": { "a": [{ "b": 1 }] } });
        let names = "yes no zero float one empty text nul list items object deep deep.a deep.a[0].b deep.a.1 missing.x \
            items.length list.length text.length";
        for name in names.split(' ') {
            for condition in [
                name.to_owned(),
                format!("not {name}"),
                format!("{name} is defined"),
                format!("{name} is not defined"),
                format!("{name} or zero"),
                format!("empty or {name} or list"),
            ] {
                let source = format!(
                    "<{{% if {condition} %}}1{{% elif yes %}}2{{% if no %}}3{{% endif %}}{{% else %}}4{{% endif %}}{{{{ {name} or zero }}}}{{{{ list or {name} or missing or text.length }}}}>"
                );
                let plain = Template::compile(&source).unwrap();
                assert!(matches!(plain.body, Body::Plain(_)), "{source}");
                let engine = Template::compile(&format!("{source}{{{{ yes|upper }}}}")).unwrap();
                assert!(matches!(engine.body, Body::Engine(_)));
                let case = Case::of(&data);
                let expected = plain.render(&case).unwrap() + "TRUE";
                assert_eq!(engine.render(&case).unwrap(), expected, "{condition}");
            }
        }
    }

    #[test]
    fn what_is_not_simple_is_the_engines() {
        for source in [
            "{% if a > 1 %}x{% endif %}",
            "{% if true %}x{% endif %}",
            "{%- if a %}x{% endif %}",
            "{% if a and b %}x{% endif %}",
        ] {
            assert!(matches!(Template::compile(source).unwrap().body, Body::Engine(_)), "{source}");
        }
        for source in [
            "{% if a %}x",
            "x{% endif %}",
            "{% if a %}{% else %}{% elif b %}{% endif %}",
            "{% if %}{% endif %}",
            "{% else %}",
        ] {
            assert!(Template::compile(source).is_err(), "{source}");
        }
        let deep = format!("{}x{}", "{% if a %}".repeat(17), "{% endif %}".repeat(17));
        assert!(matches!(Template::compile(&deep).unwrap().body, Body::Engine(_)));
    }
}
