//! What templates can call: the engine's own, where they cannot be made to eat memory, and ours instead of those
//! that can.
//!
//! The engine counts steps, not what a step costs, so filters that walk through their input pay for its length.
//! Left out are `batch`, `slice`, `zip`, `chain`, `pprint` and `safe`, and of `map` the form that applies a filter.

#![expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]

mod time;

use std::borrow::Cow;
use std::fmt::Write;

use minijinja::filters as builtin;
use minijinja::value::{Kwargs, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::OUTPUT_BYTES_MAX;
use super::text::Output;
use super::value::{Markdown, write_json, write_value};

pub(super) const FILTERS: [&str; 47] = [
    "abs",
    "attr",
    "bool",
    "capitalize",
    "count",
    "d",
    "date",
    "default",
    "dictsort",
    "duration",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "json",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "markdown",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
];
pub(super) const TESTS: [&str; 34] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];
pub(super) const FUNCTIONS: [&str; 2] = ["dict", "range"];

/// Items and bytes, over one rendering: a tenth of a second at worst.
const WALKED_MAX: usize = 500_000;
const RANGE_MAX: usize = 1000;
const TRUNCATED_CHARS: usize = 255;
const INDENT_MAX: usize = 64;
/// `format` pads to a width and a precision of so many digits, and takes a pattern of so many bytes.
const FORMAT_DIGITS_MAX: usize = 2;
const FORMAT_BYTES_MAX: usize = 256;

pub(super) fn install(environment: &mut Environment<'static>) {
    for name in ["e", "escape"] {
        environment.add_filter(name, escape);
    }
    environment.add_filter("format", format);
    environment.add_filter("indent", indent);
    environment.add_filter("markdown", markdown);
    environment.add_filter("replace", replace);
    environment.add_filter("string", |value: &Value| bounded(|output| write_value(value, output)));
    for name in ["json", "tojson"] {
        environment.add_filter(name, tojson);
    }
    environment.add_filter("date", time::date);
    environment.add_filter("duration", time::duration);
    environment.add_filter("truncate", truncate);
    environment.add_function("range", range);
    for (name, filter) in [
        ("dictsort", Value::from_function(builtin::dictsort)),
        ("groupby", Value::from_function(builtin::groupby)),
        ("items", Value::from_function(builtin::items)),
        ("join", Value::from_function(join)),
        ("lines", Value::from_function(builtin::lines)),
        ("list", Value::from_function(builtin::list)),
        ("map", Value::from_function(map)),
        ("max", Value::from_function(builtin::max)),
        ("min", Value::from_function(builtin::min)),
        ("reject", Value::from_function(builtin::reject)),
        ("rejectattr", Value::from_function(builtin::rejectattr)),
        ("reverse", Value::from_function(builtin::reverse)),
        ("select", Value::from_function(builtin::select)),
        ("selectattr", Value::from_function(builtin::selectattr)),
        ("sort", Value::from_function(builtin::sort)),
        ("split", Value::from_function(builtin::split)),
        ("sum", Value::from_function(builtin::sum)),
        ("unique", Value::from_function(builtin::unique)),
    ] {
        environment.add_filter(name, move |state: &mut State, value: &Value, rest: Rest<ValueOrKwargs>| {
            pay(state, value)?;
            let mut arguments = vec![value.clone()];
            arguments.extend(rest.into_values());
            filter.call(state, &arguments)
        });
    }
    // Null arrives as undefined.
    environment.add_test("none", |value: &Value| value.is_undefined() || value.is_none());
}

/// What one rendering has paid.
#[derive(Debug, Default)]
struct Paid(usize);

fn pay(state: &mut State, value: &Value) -> Result<(), Error> {
    let length = value.as_str().map_or_else(|| value.len().unwrap_or_default(), str::len);
    let paid = state.get_or_insert_extension(Paid::default());
    paid.0 = paid.0.saturating_add(length);
    if paid.0 > WALKED_MAX {
        return Err(Error::from(ErrorKind::OutOfFuel));
    }
    Ok(())
}

fn range(lower: isize, upper: Option<isize>, step: Option<isize>) -> Result<Value, Error> {
    let range = minijinja::functions::range(lower, upper, step)?;
    if range.len().is_none_or(|length| length > RANGE_MAX) {
        return Err(failed(format!("`range` makes at most {RANGE_MAX} numbers")));
    }
    Ok(range)
}

fn failed(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn bounded(write: impl FnOnce(&mut Output) -> std::fmt::Result) -> Result<String, Error> {
    let mut output = Output::up_to(OUTPUT_BYTES_MAX);
    write(&mut output).map_err(Error::from)?;
    Ok(output.into_text())
}

/// For HTML. What it makes is a text as any other.
fn escape(state: &mut State, value: Value) -> Result<String, Error> {
    builtin::escape(state, &value).map(|escaped| escaped.to_string())
}

/// Pads to no more than two digits' width, and takes no width from its arguments.
fn format(state: &mut State, pattern: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let text = pattern.as_str().unwrap_or_default();
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or_default();
    if text.len() > FORMAT_BYTES_MAX || digits > FORMAT_DIGITS_MAX || text.contains('*') {
        let limits = format!("{FORMAT_BYTES_MAX} bytes, numbers of {FORMAT_DIGITS_MAX} digits, no `*`");
        return Err(failed(format!("the pattern of `format` is too large: {limits}")));
    }
    builtin::format(state, pattern, arguments)
}

fn indent(text: Cow<'_, str>, width: Option<usize>, first: Option<bool>) -> Result<String, Error> {
    let width = width.unwrap_or(4);
    if width > INDENT_MAX {
        return Err(failed(format!("`indent` takes at most {INDENT_MAX}")));
    }
    bounded(|output| {
        for (index, line) in text.lines().enumerate() {
            let indented = !line.is_empty() && (index > 0 || first.unwrap_or(false));
            let (line_break, width) = (if index > 0 { "\n" } else { "" }, if indented { width } else { 0 });
            write!(output, "{line_break}{:width$}{line}", "")?;
        }
        Ok(())
    })
}

fn join(items: &Value, joiner: Option<Cow<'_, str>>) -> Result<String, Error> {
    let joiner = joiner.unwrap_or_default();
    let items = items.try_iter()?;
    bounded(|output| {
        for (index, item) in items.enumerate() {
            if index > 0 {
                output.write_str(&joiner)?;
            }
            write_value(&item, output)?;
        }
        Ok(())
    })
}

/// A value whose Markdown counts, in a body.
fn markdown(value: &Value) -> Result<Value, Error> {
    bounded(|output| write_value(value, output)).map(|text| Value::from_object(Markdown(text)))
}

/// `map(attribute="task.name")`.
fn map(items: &Value, kwargs: Kwargs) -> Result<Vec<Value>, Error> {
    let attribute: Option<&str> = kwargs.get("attribute")?;
    let default: Option<Value> = kwargs.get("default")?;
    kwargs.assert_all_used()?;
    let attribute =
        attribute.ok_or_else(|| failed("`map` needs an attribute: map(attribute=\"name\")".to_owned()))?;
    let mut found = Vec::new();
    for item in items.try_iter()? {
        let value = attribute.split('.').try_fold(item, |here, step| {
            if here.is_undefined() {
                return Ok(here);
            }
            step.parse().map_or_else(|_| here.get_attr(step), |index| here.get_item_by_index(index))
        })?;
        let missing = value.is_undefined();
        found.push(default.clone().filter(|_| missing).unwrap_or(value));
    }
    Ok(found)
}

fn replace(text: Cow<'_, str>, from: Cow<'_, str>, to: Cow<'_, str>) -> Result<String, Error> {
    let mut last = 0;
    bounded(|output| {
        for (at, found) in text.match_indices(&*from) {
            write!(output, "{}{to}", &text[last..at])?;
            last = at + found.len();
        }
        output.write_str(&text[last..])
    })
}

fn tojson(value: &Value) -> Result<String, Error> {
    bounded(|output| write_json(value, output))
}

/// To so many characters, the sign that something was cut among them.
fn truncate(value: &Value, length: Option<usize>, end: Option<Cow<'_, str>>) -> Result<String, Error> {
    let length = length.unwrap_or(TRUNCATED_CHARS);
    let text = bounded(|output| write_value(value, output))?;
    if text.chars().nth(length).is_none() {
        return Ok(text);
    }
    let end = end.unwrap_or(Cow::Borrowed("…"));
    let kept = length.saturating_sub(end.chars().count());
    Ok(text.chars().take(kept).chain(end.chars()).take(length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_check_allows_the_engine_has() {
        let mut environment = Environment::new();
        install(&mut environment);
        for name in FILTERS {
            let there = environment.render_str(&format!("{{{{ '{name}' is filter }}}}"), ());
            assert_eq!(there.unwrap(), "True", "{name}");
        }
        for name in TESTS {
            let there = environment.render_str(&format!("{{{{ '{name}' is test }}}}"), ());
            assert_eq!(there.unwrap(), "True", "{name}");
        }
        let functions: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
        assert!(FUNCTIONS.iter().all(|name| functions.contains(name)));
    }
}
