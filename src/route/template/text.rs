//! How a JSON value reads in a text: what is missing or null is nothing, lists are joined by commas, objects are
//! JSON.

use std::fmt::{self, Write};
use std::io;

use serde_json::Value;

use crate::rule::condition::Exact;

/// A text that takes no more than it may.
#[derive(Debug)]
pub(super) struct Output {
    text: String,
    bytes_max: usize,
    /// It was asked to take more, and holds what fitted.
    pub overflowed: bool,
}

impl Output {
    pub fn up_to(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max, overflowed: false }
    }

    pub fn into_text(self) -> String {
        self.text
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
        self.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
