//! An installation of Bugle: its settings, its documents, its processes, its command line.
//!
//! Every installation has a prefix of its own, so that many share one broker. A test that fails prints what its
//! processes logged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::api::Api;
use super::broker::NatsServer;
use super::database::Database;
pub use super::documents::{everything_to, rule, webhook, with};
use super::process::Process;
use super::wire::Wire;
use super::{Folder, LATER, SOON, ensure, eventually, free_port, unique};

pub const ADMIN_TOKEN: &str = "the-administrator-of-the-tests";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Router,
    Worker,
    Recorder,
    Api,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Router, Self::Worker, Self::Recorder, Self::Api];

    fn program(self) -> &'static str {
        match self {
            Self::Router => env!("CARGO_BIN_EXE_bugle-router"),
            Self::Worker => env!("CARGO_BIN_EXE_bugle-worker"),
            Self::Recorder => env!("CARGO_BIN_EXE_bugle-recorder"),
            Self::Api => env!("CARGO_BIN_EXE_bugle-api"),
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Worker => "worker",
            Self::Recorder => "recorder",
            Self::Api => "api",
        }
    }
}

/// A running role.
pub struct Member {
    pub process: Process,
    pub admin_port: u16,
    pub api_port: Option<u16>,
}

impl Member {
    /// 0 when nobody answers.
    pub async fn readyz(&self) -> (u16, String) {
        self.admin("/readyz").await
    }

    pub async fn admin(&self, path: &str) -> (u16, String) {
        super::api::get_text(&format!("http://127.0.0.1:{}{path}", self.admin_port)).await
    }

    /// Waits until it says that it is ready. One that ended by itself is a failure at once.
    pub async fn until_ready(&mut self, patience: Duration) {
        let what = format!("{} is ready", self.process.name);
        eventually(&what, patience, async || {
            if let Some(code) = self.process.ended() {
                panic!("{what}: it ended with {code}:\n{}", self.process.output());
            }
            let (status, text) = self.readyz().await;
            ensure(status == 200, format!("{status} {text}"))
        })
        .await;
    }
}

/// What a command of `bugle` said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Standard output; anything but success is a failure.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// One JSON value a line.
    #[track_caller]
    pub fn json_lines(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub struct Bugle {
    pub prefix: String,
    pub folder: Folder,
    pub database: Database,
    pub nats_url: String,
    settings: Mutex<BTreeMap<String, String>>,
    members: Mutex<Vec<Member>>,
}

impl Bugle {
    /// On the shared broker and SQLite.
    pub async fn new() -> Self {
        Self::on(NatsServer::shared().await, Database::sqlite())
    }

    pub fn on(server: &NatsServer, database: Database) -> Self {
        Self::at(server.url(), database)
    }

    /// On servers whose addresses are told apart by commas.
    pub fn at(nats_url: String, database: Database) -> Self {
        let bugle = Self {
            prefix: unique("t"),
            folder: Folder::new(),
            nats_url,
            settings: Mutex::default(),
            members: Mutex::default(),
            database,
        };
        bugle.set("NATS__URL", &bugle.nats_url);
        bugle.set("NATS__PREFIX", &bugle.prefix);
        bugle.set("DATABASE__URL", &bugle.database.url());
        bugle.set("DATABASE__CONNECTIONS", "4");
        bugle.set("DATA_DIR", &bugle.folder.join("data").display().to_string());
        bugle.set("API__ADMIN_TOKEN", ADMIN_TOKEN);
        bugle.set("SECRETS__KEY", &bugle::secrets::load::new_key());
        bugle.set("WORKER__ALLOW_PLAIN_HTTP", "true");
        bugle.set("WORKER__ALLOW_ADDRESSES", "127.0.0.0/8");
        bugle
    }

    /// Sets `BUGLE__<key>` for everything that is started from now on.
    pub fn set(&self, key: &str, value: &str) {
        lock(&self.settings).insert(format!("BUGLE__{key}"), value.to_owned());
    }

    /// Sets a variable that documents may name.
    pub fn set_variable(&self, name: &str, value: &str) {
        lock(&self.settings).insert(name.to_owned(), value.to_owned());
    }

    pub fn variables(&self) -> Vec<(String, String)> {
        lock(&self.settings).iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    // === the command line ===

    pub async fn cli(&self, arguments: &[&str]) -> Said {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bugle"));
        command.args(arguments).envs(self.variables()).kill_on_drop(true).current_dir(self.folder.path());
        let output = tokio::time::timeout(LATER, command.output()).await.expect("a command ends").unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Applies documents from a file of that name and returns what was said.
    pub async fn apply_as(&self, name: &str, documents: &Value) -> Said {
        let file = self.folder.write(&format!("{name}.json"), &documents.to_string());
        self.cli(&["apply", "-f", &file.display().to_string()]).await
    }

    pub async fn apply(&self, documents: &Value) {
        self.apply_as("documents", documents).await.ok();
    }

    /// Puts documents in force whose rules name channels that do not exist (any more): they were removed by force.
    pub async fn apply_without(&self, channels: &[&str], documents: &Value) {
        let made: Vec<Value> = channels.iter().map(|id| webhook(id, "https://gone.example/")).collect();
        self.apply_as("gone", &json!({ "channels": made })).await.ok();
        self.apply(documents).await;
        let file = self.folder.write("gone.json", "{}").display().to_string();
        self.cli(&["apply", "--force", "-f", &file]).await.ok();
    }

    // === processes ===

    /// `bugle setup`, then the four roles, ready.
    pub async fn start(&self) {
        self.cli(&["setup"]).await.ok();
        self.start_roles(&Role::ALL).await;
    }

    /// The same, with these documents in force from the start.
    pub async fn start_with(&self, documents: &Value) {
        let file = self.folder.write("documents.json", &documents.to_string());
        self.set("DOCUMENTS", &file.display().to_string());
        self.start().await;
    }

    /// The same, with documents whose rules name channels that do not exist.
    pub async fn start_without(&self, channels: &[&str], documents: &Value) {
        self.cli(&["setup"]).await.ok();
        self.apply_without(channels, documents).await;
        self.start_roles(&Role::ALL).await;
    }

    /// Starts roles side by side and waits until they are ready.
    pub async fn start_roles(&self, roles: &[Role]) {
        let mut started: Vec<Member> = roles.iter().map(|role| self.spawn(*role)).collect();
        for member in &mut started {
            member.until_ready(LATER).await;
        }
        lock(&self.members).append(&mut started);
    }

    /// A role that nobody waits for; it is the caller's.
    pub fn spawn(&self, role: Role) -> Member {
        self.run(role.word(), Path::new(role.program()), &[], role == Role::Api)
    }

    /// The same role as one that is dead, where its clients look for it.
    pub fn spawn_again(&self, role: Role, dead: &Member) -> Member {
        self.run_at(role.word(), Path::new(role.program()), &[], free_port(), dead.api_port)
    }

    /// `bugle run` on these settings.
    pub fn spawn_all_in_one(&self) -> Member {
        self.run("bugle", Path::new(env!("CARGO_BIN_EXE_bugle")), &["run"], true)
    }

    /// `bugle setup`, to be killed.
    pub fn spawn_setup(&self) -> Process {
        self.run("setup", Path::new(env!("CARGO_BIN_EXE_bugle")), &["setup"], false).process
    }

    /// Adds a member whose end this installation sees to.
    pub fn adopt(&self, member: Member) {
        lock(&self.members).push(member);
    }

    pub(super) fn run(&self, name: &str, program: &Path, arguments: &[&str], serves: bool) -> Member {
        self.run_at(name, program, arguments, free_port(), serves.then(free_port))
    }

    fn run_at(
        &self,
        name: &str,
        program: &Path,
        arguments: &[&str],
        admin_port: u16,
        api_port: Option<u16>,
    ) -> Member {
        let mut variables = self.variables();
        variables.push(("BUGLE__ADMIN__LISTEN".to_owned(), format!("127.0.0.1:{admin_port}")));
        if let Some(port) = api_port {
            variables.push(("BUGLE__API__LISTEN".to_owned(), format!("127.0.0.1:{port}")));
        }
        let log = self.folder.join(&format!("{name}.log"));
        let process = Process::start(name, program, arguments, &variables, &log);
        Member { process, admin_port, api_port }
    }

    /// Takes the members of a role out of the installation's hands.
    pub fn take(&self, role: Role) -> Vec<Member> {
        let mut members = lock(&self.members);
        let (taken, kept) = members.drain(..).partition(|member| member.process.name == role.word());
        *members = kept;
        taken
    }

    /// kill -9 for all of a role.
    pub fn kill_9(&self, role: Role) {
        for mut member in self.take(role) {
            member.process.kill_9();
        }
    }

    pub fn kill_9_everything(&self) {
        for role in Role::ALL {
            self.kill_9(role);
        }
    }

    /// SIGSTOP for every member: when it returns they stand still.
    pub fn freeze_all(&self) {
        for member in lock(&self.members).iter_mut() {
            member.process.freeze();
        }
    }

    pub fn thaw_all(&self) {
        for member in lock(&self.members).iter_mut() {
            member.process.signal("CONT");
        }
    }

    /// Readiness of every member: its name, the status, the complaints.
    pub async fn readiness(&self) -> Vec<(String, u16, String)> {
        self.ask_all("/readyz").await
    }

    /// What every member answers on its admin port: its name, the status, the text.
    pub async fn ask_all(&self, path: &str) -> Vec<(String, u16, String)> {
        let ports: Vec<(String, u16)> = lock(&self.members)
            .iter()
            .map(|member| (member.process.name.clone(), member.admin_port))
            .collect();
        let mut found = Vec::new();
        for (name, port) in ports {
            let (status, text) = super::api::get_text(&format!("http://127.0.0.1:{port}{path}")).await;
            found.push((name, status, text));
        }
        found
    }

    /// Waits until every member is ready again.
    pub async fn until_ready(&self, patience: Duration) {
        eventually("every role is ready", patience, async || {
            let unready: Vec<_> =
                self.readiness().await.into_iter().filter(|(_, status, _)| *status != 200).collect();
            ensure(unready.is_empty(), format!("{unready:?}"))
        })
        .await;
    }

    /// Every member that ended by itself, with its exit code.
    pub fn ended(&self) -> Vec<(String, i32)> {
        let mut members = lock(&self.members);
        members
            .iter_mut()
            .filter_map(|member| Some((member.process.name.clone(), member.process.ended()?)))
            .collect()
    }

    // === its surroundings ===

    pub fn api(&self) -> Api {
        self.api_as(ADMIN_TOKEN)
    }

    pub fn api_as(&self, token: &str) -> Api {
        let port = lock(&self.members).iter().find_map(|member| member.api_port).expect("an API runs");
        Api::new(port, token)
    }

    /// A producer's connection to the broker.
    pub async fn wire(&self) -> Wire {
        Wire::connect(&self.nats_url, &self.prefix).await
    }

    pub async fn dead_letters(&self) -> Vec<Value> {
        self.cli(&["dead", "list", "--json"]).await.json_lines()
    }

    /// Waits for so many dead letters.
    pub async fn buries(&self, count: usize) -> Vec<Value> {
        eventually("dead letters", SOON, async || {
            let found = self.dead_letters().await;
            if found.len() >= count { Ok(found) } else { Err(format!("{found:?}")) }
        })
        .await
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_file(name)).unwrap_or_default()
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder.join(&format!("{name}.log"))
    }
}

impl Drop for Bugle {
    fn drop(&mut self) {
        lock(&self.members).clear();
        if std::thread::panicking() {
            for name in ["router", "worker", "recorder", "api", "bugle"] {
                let log = self.log(name);
                if !log.is_empty() {
                    let lines: Vec<&str> = log.lines().collect();
                    let last = &lines[lines.len().saturating_sub(40)..];
                    eprintln!("--- {name} said at the end ---\n{}", last.join("\n"));
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
