//! Files of documents: read whole, in YAML, JSON or TOML, and checked before anything is applied.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::channel::http::{HttpClient, HttpPolicy};
use crate::channel::secret::expand_value;
use crate::channel::text::one_line;
use crate::channel::{ChannelSpec, Enabled, Kind, Workshop};
use crate::config;
use crate::connection::{self, ConnectionSpec};
use crate::documents::{DocumentFile, checked_file, unique};
use crate::route::texts::Texts;
use crate::rule::fault::{Fault, shortened};
use crate::secrets;
use crate::secrets::seal::is_sealed;
use crate::source::secrets::Keys;

/// Reads files that are to be applied together.
///
/// # Errors
/// When one is not valid, or two have one owner: each would remove what the other made.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<DocumentFile>, String> {
    together(paths, read_file)
}

/// As [`read_all`], for who names files on a command line: `-` is standard input, in YAML or JSON, and its name is `stdin`.
///
/// # Errors
/// As [`read_all`].
pub fn read_given(paths: &[PathBuf]) -> Result<Vec<DocumentFile>, String> {
    together(paths, |path| if path == Path::new("-") { read_stdin() } else { read_file(path) })
}

fn together(
    paths: &[PathBuf],
    read: impl Fn(&Path) -> Result<DocumentFile, String>,
) -> Result<Vec<DocumentFile>, String> {
    let mut owners: BTreeMap<String, &Path> = BTreeMap::new();
    let mut files = Vec::new();
    for path in paths {
        let file = read(path)?;
        let checked = check_channels(&file).and_then(|()| check_sources(&file));
        checked.map_err(|fault| format!("{}: {fault}", path.display()))?;
        let owner = file.name.clone().unwrap_or_default();
        if let Some(other) = owners.insert(owner.clone(), path) {
            return Err(format!(
                "{} and {} are both the documents of {owner:?}, and would remove each other's: give one of them a `name`",
                other.display(),
                path.display()
            ));
        }
        files.push(file);
    }
    Ok(files)
}

/// The default texts, with those of a file, if there is one.
///
/// # Errors
/// One sentence that names the file, the place and the fault.
pub fn read_texts(path: Option<&Path>) -> Result<Texts, String> {
    let texts = Texts::built_in().map_err(|fault| format!("the built-in texts are broken: {fault}"))?;
    let Some(path) = path else { return Ok(texts) };
    texts.with(&read_value(path)?).map_err(|fault| format!("{}: {fault}", path.display()))
}

/// Reads a file of documents and checks all that is in it.
///
/// # Errors
/// One sentence that names the file, the place and the fault.
fn read_file(path: &Path) -> Result<DocumentFile, String> {
    let value = read_value(path)?;
    let file = checked_file(value).map_err(|fault| format!("{}: {fault}", path.display()))?;
    Ok(DocumentFile { name: file.name.or_else(|| file_name(path)), ..file })
}

fn read_stdin() -> Result<DocumentFile, String> {
    let text = std::io::read_to_string(std::io::stdin()).map_err(|error| format!("stdin: {error}"))?;
    let value = yaml(&text).map_err(|error| format!("stdin: {}", one_line(&error)))?;
    let file = checked_file(value).map_err(|fault| format!("stdin: {fault}"))?;
    Ok(DocumentFile { name: file.name.or_else(|| Some("stdin".to_owned())), ..file })
}

/// YAML, JSON or TOML, by the file's extension.
///
/// # Errors
/// One sentence that names the file and what is wrong.
pub fn read_value(path: &Path) -> Result<Value, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => yaml(&text).map_err(|error| format!("{shown}: {error}")),
        Some("json") => unique::json(text.as_bytes()).map_err(|fault| format!("{shown}: {fault}")),
        // The parser's own text would quote the line, and with it perhaps a secret.
        Some("toml") => toml::from_str(&text).map_err(|error| crate::config::not_toml(path, &text, &error)),
        _ => Err(format!("{shown}: must be a .yaml, .json or .toml file")),
    }
}

/// YAML 1.2: `on`, `off`, `yes` and `no` are texts, so that a channel may be called `off`.
///
/// # Errors
/// Where it is no YAML.
pub fn yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| not_yaml(&error))
}

/// The library would tell of its own options, which nobody here can set.
fn not_yaml(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    use serde_saphyr::budget::BudgetBreach;
    let line = error.location().map_or(0, |location| location.line());
    if let Error::DuplicateMappingKey { key, .. } = error {
        let key = key.as_ref().map(|key| format!(" {:?}", shortened(key))).unwrap_or_default();
        return format!("line {line}: the key{key} is there twice");
    }
    if let Error::Budget { breach: BudgetBreach::Nodes { .. }, .. } = error {
        let allowed = serde_saphyr::Budget::default().max_nodes;
        return format!("has too many values: {allowed} in one file are allowed; take several files");
    }
    if matches!(error, Error::Budget { .. }) {
        return format!("line {line}: the file holds more than one may");
    }
    if matches!(error, Error::MultipleDocuments { .. }) {
        return format!("line {line}: a second document begins: a file has one, without `---` between");
    }
    one_line(&error.to_string())
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn check_channels(file: &DocumentFile) -> Result<(), Fault> {
    for (index, spec) in file.channels.iter().enumerate() {
        let id = spec.connection.as_ref();
        let connection = id.and_then(|id| file.connections.iter().find(|known| known.id == *id));
        check_on(spec, connection).map_err(|fault| fault.below(&format!("/channels/{index}")))?;
    }
    Ok(())
}

/// Opens the secrets of sources whose variables are set here.
fn check_sources(file: &DocumentFile) -> Result<(), Fault> {
    for (index, spec) in file.sources.iter().enumerate() {
        let Some(http) = &spec.http else { continue };
        let unset = Cell::new(false);
        let variable = |name: &str| {
            let value = config::environment(name);
            unset.set(unset.get() || value.is_none());
            value
        };
        match Keys::open(http, &variable, &|text: &str| Ok(text.to_owned())) {
            Err(fault) if !unset.get() => return Err(fault.below(&format!("/sources/{index}/http"))),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Builds a channel whose variables are set here, and forgets it: addresses, headers and secrets that no worker could use
/// are refused now. Where plain http and private addresses are concerned the workers have the last word.
///
/// # Errors
/// The place in the channel and the fault.
pub fn check_config(spec: &ChannelSpec) -> Result<(), Fault> {
    check_on(spec, None)
}

/// The same for a channel on a connection. What is sealed is known to workers alone, and what a connection that is not given has
/// to whoever finds it: nothing is said of such a channel.
///
/// # Errors
/// As [`check_config`].
pub fn check_on(spec: &ChannelSpec, connection: Option<&ConnectionSpec>) -> Result<(), Fault> {
    let config = match (connection, &spec.connection) {
        (None, Some(_)) => return Ok(()),
        (None, None) => spec.config.clone(),
        (Some(connection), _) => connection::merged(connection, spec)?,
    };
    let schema = secrets::config_schema(spec.kind);
    let is_sealed = |place: &String| config.pointer(place).and_then(Value::as_str).is_some_and(is_sealed);
    if secrets::places(&schema, &config).iter().any(is_sealed) {
        return Ok(());
    }
    // A variable that is not set here may be set where the workers run.
    let unset = Cell::new(false);
    let variable = |name: &str| {
        let value = config::environment(name);
        // An empty one switches an `auto` channel off as one that is not set does.
        let off = spec.enabled == Enabled::Auto && value.as_deref() == Some("");
        unset.set(unset.get() || value.is_none() || off);
        value
    };
    match expand_value(&config, &variable) {
        Ok(config) if !unset.get() => build(spec.kind, &config).map_err(|fault| fault.below("/config")),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Builds a channel from settings without variables, and forgets it.
///
/// # Errors
/// The place in the settings and the fault.
pub fn build(kind: Kind, config: &Value) -> Result<(), Fault> {
    let policy = HttpPolicy { allow_plain_http: true, ..HttpPolicy::default() };
    let Ok(http) = HttpClient::new(policy) else { return Ok(()) };
    kind.build(config, &Workshop { http, bus: None }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_yaml_is_said_with_its_line_and_in_our_words() {
        for (text, said) in [
            ("a: 1\nb: 2\na: 3\n", "line 3: the key \"a\" is there twice"),
            ("a: 1\n---\nb: 2\n", "line 3: a second document begins"),
        ] {
            let error = yaml(text).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
        let error = yaml(&format!("[{}]", "1,".repeat(300_000))).unwrap_err();
        assert!(error.contains("too many values: 250000 in one file are allowed"), "{error}");
    }
}
