//! A real Prometheus on a free port and a folder of its own.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::api::http;
use super::process::Process;
use super::{Folder, LATER, ensure, eventually, free_port};

/// The folder of its programs. Without them the test is left out, but never in CI.
pub fn programs() -> Option<PathBuf> {
    let folder = std::env::var_os("BUGLE_TEST_PROMETHEUS").map_or("/usr/bin".into(), PathBuf::from);
    if ["prometheus", "promtool"].iter().all(|program| folder.join(program).is_file()) {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no Prometheus in {}: `make test` obtains it",
        folder.display()
    );
    eprintln!("left out, there is no Prometheus in {}: `make test` obtains it", folder.display());
    None
}

pub struct Prometheus {
    // Before its folder: it ends first.
    _process: Process,
    url: String,
    _folder: Folder,
}

impl Prometheus {
    /// Scrapes these addresses every second as the job `bugle`, and evaluates these rules as often.
    pub async fn start(programs: &Path, targets: &[String], rules: &Path) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        // JSON is YAML.
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [{ "job_name": "bugle", "static_configs": [{ "targets": targets }] }],
        });
        let file = folder.write("prometheus.yml", &config.to_string());
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--log.level=warn".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let log = folder.join("prometheus.log");
        let program = programs.join("prometheus");
        let process = Process::start("prometheus", &program, &arguments, &[], &log);
        let this = Self { _process: process, url: format!("http://127.0.0.1:{port}"), _folder: folder };
        let query = format!("count(count_over_time(up{{job=\"bugle\"}}[1m]) > 2) == {}", targets.len());
        eventually("every target was scraped a few times", LATER, async || {
            let found = this.query(&query).await?;
            ensure(!found.is_empty(), "not yet")
        })
        .await;
        this
    }

    /// The series that a query finds now.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let answer = self.get(&format!("query?query={}", encoded(query))).await?;
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// What the API answers to a path.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let asked = http().get(format!("{}/api/v1/{path}", self.url)).send().await;
        let text =
            asked.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if answer["status"] == "success" { Ok(answer) } else { Err(answer.to_string()) }
    }
}

fn encoded(query: &str) -> String {
    url::form_urlencoded::byte_serialize(query.as_bytes()).collect()
}
