//! `bugle import`: documents from other systems' configuration. Needs no broker, no database and no settings.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::app::Failure;
use crate::import;

#[derive(Debug, Subcommand)]
pub enum Import {
    /// Polpo's configuration (JSON): settings.notifications, or that object alone.
    ///
    /// Says on standard error what was left out or changed, a line each. Exits with 65 when something was left out.
    Polpo(Source),
}

#[derive(Debug, Args)]
pub struct Source {
    file: PathBuf,
    /// Write the documents to this file, which must not exist, instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite it.
    #[arg(long, requires = "output")]
    force: bool,
}

pub fn import(import: &Import) -> Result<(), Failure> {
    let Import::Polpo(source) = import;
    let shown = source.file.display();
    let refused = |error: &dyn std::fmt::Display| Failure::config(format!("{shown}: {error}"));
    let text = std::fs::read_to_string(&source.file).map_err(|error| refused(&error))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| refused(&error))?;
    let import = import::polpo::read(&value).map_err(|fault| refused(&fault))?;
    let yaml = import.to_yaml().map_err(Failure::run)?;
    match &source.output {
        Some(path) => write(path, &yaml, source.force)?,
        None => write!(std::io::stdout().lock(), "{yaml}").map_err(Failure::run)?,
    }
    let mut stderr = std::io::stderr().lock();
    for remark in &import.remarks {
        writeln!(stderr, "{remark}").map_err(Failure::run)?;
    }
    match import.left_out() {
        0 => Ok(()),
        count => Err(Failure::data(format!("{shown}: {count} left out, as said above"))),
    }
}

fn write(path: &Path, yaml: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    let written = options.open(path).and_then(|mut file| file.write_all(yaml.as_bytes()));
    written.map_err(|error| {
        let hint =
            if error.kind() == std::io::ErrorKind::AlreadyExists { ": --force overwrites it" } else { "" };
        Failure::config(format!("{}: {error}{hint}", path.display()))
    })
}
