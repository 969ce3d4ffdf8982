//! `bugle rules test`: fixtures against documents, for the CI of whoever writes rules. Needs no server and no settings.

mod page;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::paint::Paint;
use super::say;
use crate::app::Failure;
use crate::apply::files;
use crate::fixture::report::Report;
use crate::fixture::{self, Bench};

#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Run tests of rules: events, and what must come of them.
    ///
    /// Exits with 65 when a test fails or a file cannot be used.
    Test(Test),
}

#[derive(Debug, Args)]
pub struct Test {
    /// Fixtures (YAML, JSON or TOML): `bugle schema fixtures` describes them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

/// The tests of one file.
#[derive(Debug, Serialize)]
struct TestedFile {
    file: String,
    #[serde(flatten)]
    report: Report,
}

#[derive(Debug, Serialize)]
struct Results {
    passed: usize,
    failed: usize,
    files: Vec<TestedFile>,
}

pub fn rules(rules: &Rules) -> Result<(), Failure> {
    let Rules::Test(arguments) = rules;
    let mut benches = Vec::new();
    for path in &arguments.files {
        benches.push((path, bench(path).map_err(Failure::data)?));
    }
    let tested = benches.iter().map(|(path, bench)| {
        let file = path.display().to_string();
        TestedFile { file, report: bench.run() }
    });
    let files: Vec<TestedFile> = tested.collect();
    let count = |passed: bool| {
        files.iter().flat_map(|file| &file.report.tests).filter(|test| test.passed == passed).count()
    };
    let (passed, failed) = (count(true), count(false));
    let results = Results { passed, failed, files };
    if arguments.json {
        say(&serde_json::to_string_pretty(&results).map_err(Failure::run)?)?;
    } else {
        say(page::page(&results, Paint::stdout()).trim_end())?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::data(format!("{failed} of {} tests failed", passed + failed))),
    }
}

/// Reads a file of fixtures and the documents that it names.
///
/// # Errors
/// One sentence that names the file, the place and the fault.
fn bench(path: &Path) -> Result<Bench, String> {
    let shown = |fault: &dyn std::fmt::Display| format!("{}: {fault}", path.display());
    let (fixture, inline) = fixture::read(files::read_value(path)?).map_err(|fault| shown(&fault))?;
    let beside = |file: &PathBuf| path.parent().unwrap_or(Path::new("")).join(file);
    let named: Vec<PathBuf> = fixture.documents.iter().map(beside).collect();
    let mut documents = files::read_all(&named)?;
    documents.push(inline);
    let texts = files::read_texts(fixture.texts.as_ref().map(beside).as_deref())?;
    Bench::new(fixture, documents, texts).map_err(|fault| shown(&fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_does_what_its_fixtures_say() {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let folders = ["presets", "starter"].map(|name| std::fs::read_dir(config.join(name)).unwrap());
        let mut files = 0;
        for entry in folders.into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".test.yaml") {
                files += 1;
                let Report { tests, never_fired } = bench(&path).unwrap().run();
                let failed: Vec<_> = tests.iter().filter(|test| !test.passed).collect();
                assert!(never_fired.is_empty(), "{}: {never_fired:?}", path.display());
                assert!(tests.len() > 3 && failed.is_empty(), "{}: {failed:#?}", path.display());
            }
        }
        assert_eq!(files, crate::preset::Preset::ALL.len() + 1, "each preset and the starter have fixtures");
    }
}
