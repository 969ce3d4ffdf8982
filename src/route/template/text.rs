//! How a JSON value reads in a text: what is missing or null is nothing, lists are joined by commas, objects are
//! JSON.

use std::fmt::{self, Write};
use std::io;
use std::ops::Range;

use serde_json::Value;

use crate::rule::condition::Exact;

/// The engine has no other way to tell its own text from an expression's: these stand around what one prints. They
/// are no characters, and are dropped from everything else.
pub(super) const VALUE_STARTS: &str = "\u{fdd0}";
pub(super) const VALUE_ENDS: &str = "\u{fdd1}";
pub(super) const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// A text that takes no more than it may, and knows which parts of it are values.
#[derive(Debug)]
pub(super) struct Output {
    text: String,
    bytes_max: usize,
    /// It was asked to take more, and holds what fitted.
    pub overflowed: bool,
    values: Vec<Range<usize>>,
    value_start: usize,
}

impl Output {
    pub fn up_to(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max, overflowed: false, values: Vec::new(), value_start: 0 }
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// The text, and where values are in it.
    pub fn into_parts(self) -> (String, Vec<Range<usize>>) {
        (self.text, self.values)
    }

    pub fn start_value(&mut self) {
        self.value_start = self.text.len();
    }

    pub fn end_value(&mut self) {
        self.values.push(self.value_start..self.text.len());
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let free = self.bytes_max - self.text.len();
        let fitting = text.floor_char_boundary(free);
        self.text.push_str(&text[..fitting]);
        self.overflowed |= fitting < text.len();
        if self.overflowed { Err(fmt::Error) } else { Ok(()) }
    }
}

/// For the engine, which writes whole strings.
impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        match text {
            VALUE_STARTS => self.start_value(),
            VALUE_ENDS => self.end_value(),
            _ => self.write_str(text).map_err(io::Error::other)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on what is no mark.
pub(super) struct Unmarked<'a, W>(pub &'a mut W);

impl<W: Write> Write for Unmarked<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.split(MARKS).filter(|part| !part.is_empty()).try_for_each(|part| self.0.write_str(part))
    }
}

pub(super) fn write_text(value: &Value, output: &mut impl Write) -> fmt::Result {
    match value {
        Value::Null => Ok(()),
        Value::Bool(flag) => write!(output, "{flag}"),
        Value::Number(number) => output.write_str(&Exact::of(number).text()),
        Value::String(text) => output.write_str(text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    output.write_char(',')?;
                }
                write_text(item, output)?;
            }
            Ok(())
        }
        Value::Object(_) => write!(output, "{value}"),
    }
}
