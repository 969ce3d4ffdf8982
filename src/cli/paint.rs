//! Colours for people: on a terminal that can show them, and never where `NO_COLOR` is set.

use std::fmt::Display;
use std::io::IsTerminal;

use crate::config::environment;

const RESET: &str = "\x1b[0m";

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output.
    #[must_use]
    pub fn stdout() -> Self {
        let set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
        let dumb = environment("TERM").is_some_and(|term| term == "dumb");
        Self { on: std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    #[cfg(test)]
    pub const PLAIN: Self = Self { on: false };
    #[cfg(test)]
    pub const COLOURED: Self = Self { on: true };

    fn paint(self, code: &str, text: impl Display) -> String {
        if self.on { format!("\x1b[{code}m{text}{RESET}") } else { text.to_string() }
    }

    pub fn bold(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub fn faint(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    pub fn good(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    pub fn bad(self, text: impl Display) -> String {
        self.paint("31", text)
    }

    pub fn doubtful(self, text: impl Display) -> String {
        self.paint("33", text)
    }
}
