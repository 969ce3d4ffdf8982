//! What was measured: a table for people, a file for machines. Every figure stands beside its limit of the same run.

use std::path::Path;

use serde_json::{Value, json};

use crate::Anything;

/// What a figure is asked to be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// It is stated, and nothing is asked of it.
    Stated,
}

impl Goal {
    fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::Stated => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
            Self::Stated => String::new(),
        }
    }
}

struct Row {
    section: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    goal: Goal,
}

#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Notes a figure and says it at once: a bench of minutes shows that it lives.
    pub fn note(
        &mut self,
        section: &'static str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        goal: Goal,
    ) {
        let row = Row { section, what: what.into(), value, unit, goal };
        if self.rows.last().is_none_or(|last| last.section != section) {
            println!("\n{section}");
        }
        println!("{}", row.line());
        self.rows.push(row);
    }

    pub fn state(&mut self, section: &'static str, what: impl Into<String>, value: f64, unit: &'static str) {
        self.note(section, what, value, unit, Goal::Stated);
    }

    /// Writes the file and says how many goals were met.
    pub fn finish(&self, file: &Path) -> Anything<()> {
        let (mut met, mut missed) = (0, Vec::new());
        for row in &self.rows {
            match row.goal.met(row.value) {
                Some(true) => met += 1,
                Some(false) => missed.push(row),
                None => {}
            }
        }
        std::fs::write(file, serde_json::to_string_pretty(&self.json())?)?;
        println!("\n{met} goals met, {} missed; all figures: {}", missed.len(), file.display());
        for row in missed {
            println!("  missed: {}: {}", row.section, row.line().trim());
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "section": row.section, "what": row.what, "value": row.value, "unit": row.unit,
                    "goal": row.goal.words(), "met": row.goal.met(row.value)
                })
            })
            .collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        json!({ "version": env!("CARGO_PKG_VERSION"), "cores": cores, "figures": rows })
    }
}

impl Row {
    fn line(&self) -> String {
        let digits = if self.value >= 1_000.0 {
            0
        } else if self.value >= 10.0 {
            1
        } else {
            3
        };
        let verdict = match self.goal.met(self.value) {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let line = format!(
            "  {:<58} {:>12.digits$} {:<16} {:<7} {verdict}",
            self.what,
            self.value,
            self.unit,
            self.goal.words()
        );
        line.trim_end().to_owned()
    }
}
