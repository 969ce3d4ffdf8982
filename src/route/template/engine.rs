//! Templates that need more than paths, on minijinja.
//!
//! The engine is given only what the template names: the fields at the top of the data, names of the envelope, and
//! the finished text of each plain path, whose tag is rewritten to a variable of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde_json::Value as Json;

use super::code::Code;
use super::scan::{Part, at_line, inside};
use super::text::{MARKS, Output, write_text};
use super::value::{Converter, print};
use super::{OUTPUT_BYTES_MAX, RenderError, filters};
use crate::rule::condition::{ENVELOPE, Facts, Path};
use crate::rule::fault::Fault;

/// The engine's steps for one rendering: some 1,000 rounds of a loop with a condition in it.
pub(super) const FUEL: u64 = 10_000;
/// Of a template with code, since text can grow with every operator.
const CODE_TEMPLATE_BYTES_MAX: usize = 16 * 1024;
const NAME: &str = "template";
const PATH_VARIABLE: &str = "bugle_path_";
/// An error may quote a value.
const ERROR_CHARS_MAX: usize = 200;

static BASE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|output, _state, value| print(value, output).map_err(Error::from));
    // The delimiters are the usual ones, which cannot be refused.
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_fuel(Some(FUEL));
    filters::install(&mut environment);
    environment
});

#[derive(Debug, Clone)]
pub(super) struct Engine {
    environment: Environment<'static>,
    /// Fields at the top of the data.
    fields: BTreeSet<String>,
    envelope: BTreeSet<String>,
    paths: Vec<Path>,
}

impl Engine {
    pub fn compile(source: &str, parts: &[Part<'_>]) -> Result<Self, Fault> {
        if source.len() > CODE_TEMPLATE_BYTES_MAX {
            let message = format!(
                "has {} bytes; a template with code has at most {CODE_TEMPLATE_BYTES_MAX}",
                source.len()
            );
            return Err(Fault::here(message));
        }
        let mut code = Code::default();
        for part in parts {
            if let Part::Code { tag, kind, line } = part {
                code.read(inside(tag), *kind).map_err(|message| at_line(*line, &message))?;
            }
        }
        let (rewritten, paths) = rewrite(parts, &code.bound);
        let mut environment = BASE.clone();
        environment.add_template_owned(NAME, rewritten).map_err(|error| syntax(&error))?;
        let template = environment.get_template(NAME).map_err(|error| syntax(&error))?;
        let mut fields: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
        fields.retain(|name| {
            name != ENVELOPE && !name.starts_with(PATH_VARIABLE) && !code.called.contains(name)
        });
        Ok(Self { environment, fields, envelope: code.envelope, paths })
    }

    pub fn render(&self, facts: &impl Facts) -> Result<Output, RenderError> {
        let context = self.context(facts)?;
        let template = self.environment.get_template(NAME).map_err(|error| failure(&error))?;
        let mut output = Output::up_to(OUTPUT_BYTES_MAX);
        let rendered = template.render_captured_to(context, &mut output).map(drop);
        match rendered {
            Ok(()) => Ok(output),
            Err(_) if output.overflowed => Err(RenderError::TooLong),
            Err(error) => Err(failure(&error)),
        }
    }

    fn context(&self, facts: &impl Facts) -> Result<Value, RenderError> {
        let mut converter = Converter::default();
        let mut context: BTreeMap<String, Value> = BTreeMap::new();
        for name in &self.fields {
            if let Some(value) = facts.data().get(name) {
                context.insert(name.clone(), converter.convert(value)?);
            }
        }
        let mut envelope: BTreeMap<&str, Json> = BTreeMap::new();
        for name in &self.envelope {
            if let Some(value) = facts.envelope(name) {
                envelope.insert(name, value.into_owned());
            }
        }
        let envelope = converter.fields(envelope.iter().map(|(name, value)| (*name, value)))?;
        context.insert(ENVELOPE.to_owned(), envelope);
        for (index, path) in self.paths.iter().enumerate() {
            context.insert(format!("{PATH_VARIABLE}{index}"), Value::from(path_text(path, facts)));
        }
        Ok(Value::from(context))
    }
}

/// A bit longer than an output may be, so that printing a longer text fails, and not printing it does not.
fn path_text(path: &Path, facts: &impl Facts) -> String {
    let mut output = Output::up_to(OUTPUT_BYTES_MAX + 4);
    if let Some(found) = path.find(facts) {
        // It remembers that it is cut by being too long.
        write_text(&found, &mut output).ok();
    }
    output.into_text()
}

/// The source for the engine, and the paths that it calls by number. Paths of loops' names are the engine's own.
fn rewrite(parts: &[Part<'_>], bound: &BTreeSet<String>) -> (String, Vec<Path>) {
    let mut source = String::new();
    let mut paths = Vec::new();
    for part in parts {
        let Part::Path { tag, path, .. } = part else {
            source.push_str(part.source());
            continue;
        };
        // A brace that is text must not become a part of the tag.
        if source.ends_with('{') {
            source.pop();
            source.push_str("{{ '{' }}");
        }
        if path.steps().first().is_some_and(|first| bound.contains(first)) {
            source.push_str(tag);
            continue;
        }
        let variable = format!("{PATH_VARIABLE}{}", paths.len());
        source.push_str(&tag.replacen(inside(tag), &variable, 1));
        paths.push(path.clone());
    }
    source.retain(|ch| !MARKS.contains(&ch));
    (source, paths)
}

fn syntax(error: &Error) -> Fault {
    at_line(error.line().unwrap_or(1), &said(error))
}

fn failure(error: &Error) -> RenderError {
    let kind = error.kind();
    if kind == ErrorKind::OutOfFuel {
        return RenderError::TooMuchWork;
    }
    // Our filters write to memory, which has no other reason to fail.
    if kind == ErrorKind::WriteFailure {
        return RenderError::TooLong;
    }
    RenderError::Failed(format!("line {}: {}", error.line().unwrap_or(1), said(error)))
}

fn said(error: &Error) -> String {
    let kind = error.kind().to_string();
    let text = error.detail().map_or(kind.clone(), |detail| format!("{kind}: {detail}"));
    text.chars().take(ERROR_CHARS_MAX).collect()
}
