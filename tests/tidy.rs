//! The rules of the house that no compiler checks. Needs nothing but the checkout.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files without I/O, clock or chance.
const PURE: &[&str] = &[
    "src/ids.rs",
    "src/trace.rs",
    "src/event.rs",
    "src/event",
    "src/rule.rs",
    "src/rule",
    "src/delivery.rs",
    "src/delivery",
    "src/outcome.rs",
    "src/outcome",
    "src/documents.rs",
    "src/documents",
    "src/preferences.rs",
    "src/preferences",
    "src/fixture.rs",
    "src/fixture",
    "src/preset.rs",
    "src/schema.rs",
    "src/source.rs",
    "src/source/alertmanager.rs",
    "src/source/book.rs",
    "src/source/map.rs",
    "src/source/secrets.rs",
    "src/source/signature.rs",
    "src/schema",
    "src/connection.rs",
    "src/secrets/key.rs",
    "src/secrets/mask.rs",
    "src/secrets/places.rs",
    "src/route.rs",
    "src/route/carried.rs",
    "src/route/channels.rs",
    "src/route/firing.rs",
    "src/route/recipients.rs",
    "src/route/ruleset.rs",
    "src/route/scopes.rs",
    "src/route/throttle/rehearsal.rs",
    "src/route/template.rs",
    "src/route/template",
    "src/route/texts.rs",
    "src/route/texts",
    "src/route/windows.rs",
    "src/route/wording.rs",
    "src/deliver.rs",
    "src/deliver/circuit/state.rs",
    "src/deliver/pace/book.rs",
    "src/live/frame.rs",
    "src/live/heard.rs",
    "src/live/place.rs",
    "src/channel/markdown.rs",
    "src/channel/markdown",
    "src/channel/standing.rs",
    "src/channel/text.rs",
    "src/store/merge.rs",
    "src/api/limits/quota.rs",
];
const IMPURE: &[&str] = &[
    "async fn",
    ".await",
    "tokio::",
    "async_nats",
    "Timestamp::now",
    "clock::",
    "std::fs",
    "fastrand",
    "reqwest",
    "sqlx",
];
const LINES_MAX: usize = 400;
const BIN_LINES_MAX: usize = 30;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic_free(&format!("{}: {error}", path.display())))
}

fn panic_free(message: &str) -> String {
    assert!(message.is_empty(), "{message}");
    String::new()
}

/// Every Rust file below, with its path from the root.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(folder)];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push((name, text));
        }
    }
    found.sort();
    found
}

/// The part of a file before its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\n").next().unwrap_or(text)
}

#[test]
fn every_file_opens_with_its_purpose() {
    for folder in ["src", "bin", "tests", "benches"] {
        for (name, text) in sources(folder) {
            assert!(text.starts_with("//! "), "{name} does not open with //!");
        }
    }
}

#[test]
fn files_stay_small() {
    for (name, text) in sources("src").into_iter().chain(sources("tests")) {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines: at most {LINES_MAX}");
    }
    for (name, text) in sources("bin") {
        let lines = text.lines().count();
        assert!(lines <= BIN_LINES_MAX, "{name} has {lines} lines: a binary chooses a role and nothing else");
    }
}

#[test]
fn pure_files_know_no_io_no_clock_and_no_chance() {
    let pure = |name: &str| PURE.iter().any(|path| name == *path || name.starts_with(&format!("{path}/")));
    for path in PURE {
        assert!(root().join(path).exists(), "{path} is listed as pure and does not exist");
    }
    for (name, text) in
        sources("src").into_iter().filter(|(name, _)| pure(name) && !name.ends_with("tests.rs"))
    {
        for (number, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in IMPURE {
                assert!(!code.contains(word), "{name}:{}: {word} in a pure file", number + 1);
            }
        }
    }
}

#[test]
fn subjects_are_built_in_one_file_and_sql_is_written_in_one_folder() {
    for (name, text) in sources("src") {
        let code = without_tests(&text);
        if name != "src/bus/subject.rs" {
            for head in [".deliveries.", ".outcomes.", ".later.", ".dead.", ".throttle."] {
                assert!(!code.contains(&format!("{{}}{head}")), "{name} builds a subject: bus::subject does");
            }
        }
        if !name.starts_with("src/store") {
            assert!(!code.contains("sqlx::"), "{name} speaks SQL: only store does");
        }
        if !name.starts_with("src/bus/consumer") {
            assert!(!code.contains("AckKind"), "{name} settles messages: only bus::consumer does");
        }
    }
}

#[test]
fn every_setting_is_explained() {
    let (docs, mut section) = (read("docs/configuration.md"), String::new());
    for line in read("config/default.toml").lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            assert!(
                docs.contains(&format!("`{section}{key}`")),
                "docs/configuration.md does not name {section}{key}"
            );
        }
    }
}

#[test]
fn every_metric_is_explained() {
    let code = sources("src/metrics").into_iter().map(|(_, text)| text).collect::<String>();
    let code = metrics_in(&code);
    let docs = metrics_in(&rows(&read("docs/metrics.md")));
    assert_eq!(docs, code, "docs/metrics.md, and src/metrics");
}

/// The first cells of a page's tables.
fn rows(page: &str) -> String {
    page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect::<Vec<_>>().join(" ")
}

/// The names of metrics in a text; of a histogram that of the whole.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| word.starts_with("bugle_") || word.starts_with("process_"))
        .map(|word| {
            let whole = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
            whole.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_that_there_are() {
    let known = metrics_in(&rows(&read("docs/metrics.md")));
    let mut files = vec![root().join("config/prometheus/alerts.yml")];
    let dashboards = fs::read_dir(root().join("config/grafana/dashboards")).unwrap();
    files.extend(dashboards.map(|file| file.unwrap().path()));
    for file in files {
        let asked = metrics_in(&read(&file));
        assert!(!asked.is_empty(), "{} asks for nothing", file.display());
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{} asks for {unknown:?}, which docs/metrics.md has not", file.display());
    }
}

#[test]
fn every_alert_has_a_runbook_and_a_test_and_every_runbook_an_alert() {
    let names = |text: &str, head: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(head)).map(str::to_owned).collect()
    };
    let (alerts, tests) = (read("config/prometheus/alerts.yml"), read("config/prometheus/alerts.test.yml"));
    let alerting = names(&alerts, "- alert: ");
    assert_eq!(names(&read("docs/runbooks.md"), "### "), alerting, "docs/runbooks.md, and the alerts");
    for name in &alerting {
        let link = format!("docs/runbooks.md#{}\n", name.to_lowercase());
        assert!(alerts.contains(&link), "{name} has no link to its runbook");
        for case in ["fires", "is quiet"] {
            assert!(tests.contains(&format!("- name: {name} {case}\n")), "no test in which {name} {case}");
        }
    }
}

#[test]
fn every_channel_kind_and_every_reason_is_explained() {
    let docs = read("docs/channels.md");
    for kind in bugle::channel::Kind::ALL {
        assert!(docs.contains(&format!("`{kind}`")), "docs/channels.md does not name {kind}");
    }
    for reason in bugle::outcome::Reason::ALL {
        assert!(docs.contains(&format!("`{reason}`")), "docs/channels.md does not name {reason}");
    }
    let letters = read("docs/dead-letters.md");
    for (reason, fault) in
        bugle::outcome::Reason::ALL.iter().filter_map(|reason| Some((reason, reason.fault()?)))
    {
        let row =
            letters.lines().find(|line| line.starts_with(&format!("| `{fault}` |"))).unwrap_or_default();
        assert!(
            row.contains(&format!("`{reason}`")),
            "docs/dead-letters.md does not name {reason} as {fault}"
        );
    }
}

#[test]
fn every_setting_of_a_kind_is_on_its_page() {
    for kind in bugle::channel::Kind::ALL {
        let page = format!("docs/channels/{kind}.md");
        let (text, schema) = (read(&page), kind.config_schema());
        for name in schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys()) {
            assert!(text.contains(&format!("`{name}`")), "{page} does not name {name}");
        }
    }
}

#[test]
fn every_adapter_says_where_its_wire_format_is_written() {
    // Those whose provider is Bugle itself have none.
    let own = ["console", "in_app"];
    for kind in bugle::channel::Kind::ALL.iter().filter(|kind| !own.contains(&kind.as_str())) {
        let file = format!("src/channel/{kind}.rs");
        let head: String = read(&file).lines().take_while(|line| line.starts_with("//!")).collect();
        assert!(head.contains("https://"), "{file} does not name the provider's page in its header");
    }
}

#[test]
fn every_filter_is_explained() {
    let docs = read("docs/templates.md");
    let source = read("src/route/template/filters.rs");
    let names =
        source.split("FILTERS: [").nth(1).and_then(|rest| rest.split("];").next()).unwrap_or_default();
    // Each of these is another's second name.
    let twice = ["count", "d", "e", "tojson"];
    for name in names.split('"').skip(1).step_by(2).filter(|name| !twice.contains(name)) {
        let named = [format!("`{name}`"), format!("`{name}(")].iter().any(|name| docs.contains(name));
        assert!(named, "docs/templates.md does not name {name}");
    }
}

#[test]
fn every_path_of_the_api_is_explained() {
    let docs = read("docs/api.md");
    for (name, text) in sources("src/api") {
        for path in text.split("path = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(
                docs.contains(&format!("`{path}`")) || docs.contains(path),
                "docs/api.md does not name {path} of {name}"
            );
        }
    }
}
