//! `bugle run` with nothing configured: its own nats-server, its own database, a first event in a minute.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::api::Api;
use crate::support::process::Process;
use crate::support::{Folder, LATER, SOON, broker, ensure, eventually, free_port};

const DOCUMENTS: &str = "channels:\n  - { id: screen, kind: console }\nrules:\n  - { id: all, events: ['*'], channels: [screen] }\n";

/// A machine on which Bugle was just built.
struct Home {
    folder: Folder,
    api_port: u16,
    nats_port: u16,
    admin_port: u16,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            folder: Folder::new(),
            api_port: free_port(),
            nats_port: free_port(),
            admin_port: free_port(),
        };
        home.folder.write("documents.yaml", DOCUMENTS);
        home.folder.write("bugle.toml", &home.settings(home.nats_port, home.admin_port));
        home
    }

    fn settings(&self, nats_port: u16, admin_port: u16) -> String {
        format!(
            "data_dir = {:?}\ndocuments = [\"documents.yaml\"]\n[nats.embedded]\nport = {nats_port}\n\
             [api]\nlisten = \"127.0.0.1:{}\"\n[admin]\nlisten = \"127.0.0.1:{admin_port}\"\n",
            self.data_dir().display().to_string(),
            self.api_port,
        )
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn config(&self) -> String {
        self.folder.join("bugle.toml").display().to_string()
    }

    fn run(&self, log: &str) -> Process {
        self.run_with(log, &self.config(), path_with_server())
    }

    fn run_with(&self, log: &str, config: &str, path: String) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_bugle"));
        let variables = [("PATH".to_owned(), path)];
        Process::start("bugle", program, &["--config", config, "run"], &variables, &self.folder.join(log))
    }

    /// Runs until it says how to publish a first event.
    async fn run_until_greeted(&self, log: &str) -> Process {
        let mut process = self.run(log);
        eventually("bugle run greets", LATER, async || {
            assert_eq!(process.ended(), None, "{}", process.output());
            ensure(process.output().contains(" publish "), process.output())
        })
        .await;
        process
    }

    fn api(&self) -> Api {
        let token = std::fs::read_to_string(self.data_dir().join("admin-token")).unwrap();
        Api::new(self.api_port, token.trim())
    }

    /// Every process whose command line names the embedded server's configuration, and what it is.
    fn servers(&self) -> Vec<(u32, String)> {
        let needle = self.data_dir().join("nats/nats-server.conf").display().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let named = pids.filter_map(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&needle).then_some((pid, line))
        });
        named.collect()
    }

    async fn until_no_server_runs(&self) {
        eventually("no nats-server is left", SOON, async || {
            let servers = self.servers();
            ensure(servers.is_empty(), format!("{servers:?}"))
        })
        .await;
    }

    /// Waits for its end and checks that it failed and said one sentence.
    async fn refused(&self, mut process: Process, words: &[&str]) {
        let code = process.exit_code(LATER).await;
        assert_ne!(code, 0);
        let output = process.output();
        let said: Vec<&str> = output.lines().filter(|line| line.starts_with("bugle: ")).collect();
        assert_eq!(said.len(), 1, "one sentence: {output}");
        for word in words {
            assert!(said[0].contains(word), "{word:?} is not in {:?}", said[0]);
        }
        assert!(!output.contains("panicked"), "{output}");
    }
}

impl Drop for Home {
    /// A test that fails half-way may leave the orphan that it made.
    fn drop(&mut self) {
        for (pid, _) in self.servers() {
            drop(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status());
        }
    }
}

fn path_with_server() -> String {
    let folder = broker::binary().parent().unwrap().display().to_string();
    format!("{folder}:{}", std::env::var("PATH").unwrap())
}

/// What a user pastes: the line that publishes a first event.
fn pasted(output: &str) -> String {
    output.lines().find(|line| line.contains(" publish ")).unwrap().trim().to_owned()
}

async fn shell(line: &str) -> std::process::Output {
    tokio::process::Command::new("sh").args(["-c", line]).output().await.unwrap()
}

async fn kill_9(pid: u32) {
    assert!(shell(&format!("kill -9 {pid}")).await.status.success());
}

#[tokio::test]
async fn a_first_start_prints_the_address_the_token_and_a_command_that_works() {
    let home = Home::new();
    let mut process = home.run_until_greeted("first.log").await;
    let output = process.output();
    assert!(output.contains(&format!("http://127.0.0.1:{}", home.api_port)), "{output}");
    let token = std::fs::read_to_string(home.data_dir().join("admin-token")).unwrap().trim().to_owned();
    assert!(output.contains(&token), "{output}");
    let mode = std::fs::metadata(home.data_dir().join("admin-token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::fs::metadata(home.data_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "others may not look into the history");

    let published = shell(&pasted(&output)).await;
    assert!(published.status.success(), "{published:?}");
    let sent = home.api().shows(1, "status=sent").await;
    assert_eq!(sent[0]["channel"], "screen");
    eventually("the console shows the event", SOON, async || {
        ensure(process.output().contains("t-42"), process.output())
    })
    .await;

    let (code, _) = process.sigterm(LATER).await;
    assert_eq!(code, 0, "{}", process.output());
    home.until_no_server_runs().await;

    let mut again = home.run_until_greeted("second.log").await;
    assert!(!again.output().contains(&token), "the token is printed once: {}", again.output());
    assert_eq!(home.api().shows(1, "status=sent").await.len(), 1, "the history is still there");
    assert_eq!(again.sigterm(LATER).await.0, 0);
}

#[tokio::test]
async fn a_second_run_on_the_same_data_directory_says_so() {
    let home = Home::new();
    let _first = home.run_until_greeted("first.log").await;
    let config = home.settings(free_port(), free_port());
    let config = home.folder.write("other.toml", &config).display().to_string();
    let second = home.run_with("second.log", &config, path_with_server());
    home.refused(second, &["another bugle runs", &home.data_dir().display().to_string()]).await;
}

#[tokio::test]
async fn no_server_outlives_a_killed_run_and_what_was_pending_is_delivered_by_the_next() {
    let home = Home::new();
    let mut process = home.run_until_greeted("first.log").await;
    let later = serde_json::json!({ "channel": "screen", "title": "pending", "body": "still here", "delayMs": 4_000 });
    let accepted = home.api().post("/v1/notifications/send", &later).await.expect(202);
    assert!(!home.servers().is_empty());
    process.kill_9();
    home.until_no_server_runs().await;
    let _again = home.run_until_greeted("second.log").await;
    home.api().becomes(accepted["id"].as_str().unwrap(), "sent").await;
}

#[tokio::test]
async fn an_orphan_of_a_killed_supervisor_is_found_and_ended_by_the_next_start() {
    let home = Home::new();
    let mut process = home.run_until_greeted("first.log").await;
    let servers = home.servers();
    let (shells, servers): (Vec<_>, Vec<_>) =
        servers.into_iter().partition(|(_, line)| line.starts_with("sh "));
    assert_eq!(servers.len(), 1, "{servers:?} {shells:?}");
    // Every shell that could still pass on the news first, or the orphan is none.
    for (pid, _) in &shells {
        kill_9(*pid).await;
    }
    process.kill_9();
    let orphan = servers[0].0;
    assert!(home.servers().iter().any(|(pid, _)| *pid == orphan), "it is an orphan now");
    let mut again = home.run_until_greeted("second.log").await;
    assert!(!home.servers().iter().any(|(pid, _)| *pid == orphan), "the orphan still runs");
    assert!(shell(&pasted(&again.output())).await.status.success());
    home.api().shows(1, "status=sent").await;
    assert_eq!(again.sigterm(LATER).await.0, 0);
}

#[tokio::test]
async fn a_taken_port_is_one_sentence_that_says_what_to_do() {
    for taken in ["NATS__EMBEDDED__PORT", "API__LISTEN", "ADMIN__LISTEN"] {
        let home = Home::new();
        let port = match taken {
            "NATS__EMBEDDED__PORT" => home.nats_port,
            "API__LISTEN" => home.api_port,
            _ => home.admin_port,
        };
        let _holder = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let process = home.run("run.log");
        home.refused(process, &[&port.to_string(), "taken", &format!("BUGLE__{taken}")]).await;
        home.until_no_server_runs().await;
    }
}

#[tokio::test]
async fn a_missing_or_too_old_nats_server_is_one_sentence_that_says_what_to_do() {
    let home = Home::new();
    let empty = home.folder.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let process = home.run_with("missing.log", &home.config(), empty.display().to_string());
    home.refused(process, &["nats-server", "make run"]).await;

    let old = home.folder.write("empty/nats-server", "#!/bin/sh\necho 'nats-server: v2.10.4'\n");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
    let process = home.run_with("old.log", &home.config(), empty.display().to_string());
    home.refused(process, &["2.10.4", "2.14.3"]).await;
}

#[tokio::test]
async fn a_run_that_is_stopped_while_it_starts_leaves_nothing_behind() {
    for moment in [20, 100, 300, 700] {
        let home = Home::new();
        let mut process = home.run("run.log");
        let began = std::time::Instant::now();
        let moment = Duration::from_millis(moment);
        eventually("the moment to stop", LATER, async || ensure(began.elapsed() >= moment, "not yet")).await;
        process.kill_9();
        home.until_no_server_runs().await;
        let mut again = home.run_until_greeted("again.log").await;
        assert_eq!(again.sigterm(LATER).await.0, 0, "{}", again.output());
    }
}

#[tokio::test]
async fn what_init_writes_runs_as_it_is() {
    let home = Home::new();
    let program = Path::new(env!("CARGO_BIN_EXE_bugle"));
    let folder = home.folder.join("new");
    let folder = folder.display().to_string();
    let written =
        tokio::process::Command::new(program).args(["init", "--dir", &folder]).output().await.unwrap();
    assert!(written.status.success(), "{written:?}");
    let listen = |port: u16| format!("127.0.0.1:{port}");
    let variables = [
        ("PATH".to_owned(), path_with_server()),
        ("BUGLE__DATA_DIR".to_owned(), home.data_dir().display().to_string()),
        ("BUGLE__NATS__EMBEDDED__PORT".to_owned(), home.nats_port.to_string()),
        ("BUGLE__API__LISTEN".to_owned(), listen(home.api_port)),
        ("BUGLE__ADMIN__LISTEN".to_owned(), listen(home.admin_port)),
        // Whoever runs this may have them.
        ("SLACK_WEBHOOK_URL".to_owned(), String::new()),
        ("WEBHOOK_URL".to_owned(), String::new()),
    ];
    let config = format!("{folder}/bugle.toml");
    let log = home.folder.join("log");
    let mut process = Process::start("bugle", program, &["run", "--config", &config], &variables, &log);
    eventually("bugle run greets", LATER, async || {
        assert_eq!(process.ended(), None, "{}", process.output());
        ensure(process.output().contains(" publish "), process.output())
    })
    .await;
    let event = serde_json::json!({ "type": "task:transition", "data": { "taskId": "t-1", "to": "failed" } });
    home.api().post("/v1/events", &event).await.expect(202);
    home.api().shows(1, "rule=everything&status=sent").await;
    home.api().shows(1, "rule=failed-tasks&channel=slack&status=suppressed").await;
}
