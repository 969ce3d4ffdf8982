//! `bugle init`: writes a configuration to begin with, or packs of rules. Needs nothing and overwrites nothing.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{quoted, say};
use crate::app::Failure;
use crate::channel::secret::variables_without_default;
use crate::documents::DocumentFile;
use crate::preset::{File, Preset, STARTER};
use crate::rule::fault::unknown_word;

#[derive(Debug, Args)]
pub struct Init {
    /// Packs of rules to write; may be given several times. Without one: a configuration to begin with.
    #[arg(long = "preset", value_name = "NAME")]
    presets: Vec<String>,
    /// Where to write.
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Overwrite files that are there.
    #[arg(long)]
    force: bool,
    /// List the packs.
    #[arg(long, conflicts_with_all = ["presets", "force"])]
    list: bool,
}

pub fn init(arguments: &Init) -> Result<(), Failure> {
    if arguments.list {
        let width = Preset::ALL.iter().map(|preset| preset.as_str().len()).max().unwrap_or_default();
        return Preset::ALL
            .iter()
            .try_for_each(|preset| say(&format!("{:width$}  {}", preset.as_str(), preset.summary())));
    }
    let words: Vec<&str> = Preset::ALL.iter().map(|preset| preset.as_str()).collect();
    let parsed = |name: &String| {
        Preset::parse(name)
            .ok_or_else(|| Failure::config(format!("--preset: {}", unknown_word(name, &words))))
    };
    let mut presets = Vec::new();
    for preset in &arguments.presets {
        let preset = parsed(preset)?;
        if !presets.contains(&preset) {
            presets.push(preset);
        }
    }
    let files: Vec<File> = match presets.as_slice() {
        [] => STARTER.to_vec(),
        presets => presets.iter().flat_map(|preset| preset.files()).copied().collect(),
    };
    write_all(&files, &arguments.dir, arguments.force)?;
    let at = |file: &File| quoted(&shown(&arguments.dir, file).display().to_string());
    if presets.is_empty() { started(&files, at) } else { packed(&files, at) }
}

fn shown(dir: &Path, file: &File) -> PathBuf {
    if dir == Path::new(".") { PathBuf::from(file.name) } else { dir.join(file.name) }
}

/// All of them or, when one is there already, none.
fn write_all(files: &[File], dir: &Path, force: bool) -> Result<(), Failure> {
    let refused =
        |path: &Path, error: &dyn std::fmt::Display| Failure::config(format!("{}: {error}", path.display()));
    let there: Vec<String> = files
        .iter()
        .map(|file| shown(dir, file))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() && !force {
        let (verb, them) = if there.len() == 1 { ("is", "it") } else { ("are", "them") };
        let sentence = format!("{} {verb} there already: --force overwrites {them}", there.join(", "));
        return Err(Failure::config(sentence));
    }
    fs::create_dir_all(dir).map_err(|error| refused(dir, &error))?;
    for file in files {
        let path = shown(dir, file);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).create_new(!force);
        let written = options.open(&path).and_then(|mut open| open.write_all(file.text.as_bytes()));
        written.map_err(|error| refused(&path, &error))?;
        say(&format!("wrote {}", path.display()))?;
    }
    Ok(())
}

fn started(files: &[File], at: impl Fn(&File) -> String) -> Result<(), Failure> {
    let [config, documents, tests] = files else { return Ok(()) };
    let (config, documents, tests) = (at(config), at(documents), at(tests));
    say("\nNext:")?;
    step(&format!("bugle rules test {tests}"), "test the rules, without a server")?;
    step(&format!("bugle run --config {config}"), "start everything on this machine")?;
    say("\nThen, in another terminal:")?;
    let publish = "publish task:transition '{\"taskId\": \"t-1\", \"to\": \"failed\"}'";
    step(&format!("bugle --config {config} {publish}"), "publish an event")?;
    step(&format!("bugle --config {config} apply -f {documents}"), "put changed rules in force")
}

fn packed(files: &[File], at: impl Fn(&File) -> String) -> Result<(), Failure> {
    let (tests, documents): (Vec<&File>, Vec<&File>) =
        files.iter().partition(|file| file.name.ends_with(".test.yaml"));
    let list = |files: &[&File]| files.iter().map(|file| at(file)).collect::<Vec<_>>();
    say("\nNext:")?;
    step(&format!("bugle rules test {}", list(&tests).join(" ")), "test the rules, without a server")?;
    step(&format!("bugle apply -f {}", list(&documents).join(" -f ")), "put them in force")?;
    say("  or name the documents in `documents` of your configuration\n")?;
    say(&format!("Their channels are on where these are set: {}", needed(&documents)?.join(", ")))
}

fn step(command: &str, what: &str) -> Result<(), Failure> {
    say(&format!("  {command:<44}  # {what}"))
}

/// The variables without which some channel stays off.
fn needed(documents: &[&File]) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for file in documents {
        let value = crate::apply::files::yaml(file.text).map_err(Failure::run)?;
        let documents: DocumentFile = crate::documents::checked_file(value).map_err(Failure::run)?;
        for name in documents.channels.iter().flat_map(|spec| variables_without_default(&spec.config)) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    Ok(found)
}
