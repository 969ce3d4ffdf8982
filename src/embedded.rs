//! The embedded default's own nats-server: a child on loopback that ends with its parent, whatever ends the parent.
//!
//! A supervising shell holds the other end of a pipe: when the parent is gone, even by kill -9, the pipe closes and the
//! server is told to stop. Should the supervisor be killed too, the next start finds the orphan by its pid file.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, ChildStdin, Command};

use crate::clock;
use crate::config::{Embedded, environment};

/// Schedules and message TTLs, with the fixes to both.
const VERSION_MIN: (u32, u32, u32) = (2, 14, 3);
/// An orphan gets this long to write out its store.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(20);

/// Waits for the end of the pipe or of the server, whichever comes first, and answers with the server's status.
const SUPERVISOR: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
( cat <&3 >/dev/null; kill -TERM "$server" 2>/dev/null ) &
watcher=$!
exec 3<&-
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// The data directory, held by one process at a time.
pub struct DataDir {
    pub path: PathBuf,
    _lock: File,
}

/// Makes a folder that nobody else may look into: what people are told lies there. One that is there already stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_private(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl DataDir {
    /// # Errors
    /// One sentence: it cannot be made, or another process has it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        make_private(path).map_err(|error| format!("the data directory {shown} cannot be made: {error}"))?;
        let path = path.canonicalize().map_err(|error| format!("{shown}: {error}"))?;
        let lock = File::create(path.join("lock")).map_err(|error| format!("{shown}/lock: {error}"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "another bugle runs on the data directory {shown}: stop it, or choose another one with BUGLE__DATA_DIR"
            )),
            Err(TryLockError::Error(error)) => Err(format!("{shown}/lock: {error}")),
        }
    }

    /// The administrator's token, made at the first start. True when it is new.
    ///
    /// # Errors
    /// One sentence when the file cannot be read or written.
    pub fn admin_token(&self) -> Result<(String, bool), String> {
        let path = self.path.join("admin-token");
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        match std::fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => return Ok((token.trim().to_owned(), false)),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let token = crate::api::auth::new_secret();
        let fresh = path.with_extension("new");
        std::fs::remove_file(&fresh).or_else(absent).map_err(failed)?;
        let mut options = File::options();
        options.write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&fresh).map_err(failed)?;
        writeln!(file, "{token}").and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&fresh, &path).map_err(failed)?;
        Ok((token, true))
    }
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// The running child.
pub struct NatsServer {
    supervisor: Child,
    /// Our end of the pipe. Waiting for a child closes its standard input, so it is held apart.
    lifeline: Option<ChildStdin>,
}

impl NatsServer {
    /// Ends an orphan of an earlier start, then starts the server and waits until it listens.
    ///
    /// # Errors
    /// One sentence that says what to do.
    pub async fn start(settings: &Embedded, data_dir: &DataDir) -> Result<Self, String> {
        let binary = find(settings.binary.as_deref())?;
        check_version(&binary).await?;
        let folder = data_dir.path.join("nats");
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        end_orphan(&folder).await?;
        check_port(settings.port)?;
        let config = folder.join("nats-server.conf");
        std::fs::write(&config, configuration(settings, &folder)?)
            .map_err(|error| format!("{}: {error}", config.display()))?;
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "bugle-nats"])
            .arg(&binary)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("sh, which supervises nats-server, cannot be started: {error}"))?;
        let lifeline = supervisor.stdin.take();
        let mut server = Self { supervisor, lifeline };
        server.wait_until_ready(settings.port, &folder).await?;
        Ok(server)
    }

    async fn wait_until_ready(&mut self, port: u16, folder: &Path) -> Result<(), String> {
        let started = Instant::now();
        loop {
            if let Ok(Some(status)) = self.supervisor.try_wait() {
                let log = folder.join("nats-server.log");
                return Err(format!("nats-server did not start ({status}): see {}", log.display()));
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(());
            }
            if started.elapsed() > Duration::from_secs(60) {
                return Err(format!(
                    "nats-server does not listen on port {port} after a minute: see {}",
                    folder.join("nats-server.log").display()
                ));
            }
            clock::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns when the server ended by itself, which nobody asked for.
    pub async fn ended(&mut self) -> String {
        match self.supervisor.wait().await {
            Ok(status) => format!("the embedded nats-server ended ({status})"),
            Err(error) => format!("the embedded nats-server is lost: {error}"),
        }
    }

    /// Tells the server to stop and waits for it.
    pub async fn stop(mut self) {
        drop(self.lifeline.take());
        if tokio::time::timeout(ORPHAN_PATIENCE, self.supervisor.wait()).await.is_err() {
            tracing::warn!("the embedded nats-server takes long to stop; the next start will find it");
        }
    }
}

fn find(configured: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = configured {
        let missing = || format!("nats.embedded.binary: there is no {}", path.display());
        return path.is_file().then(|| path.to_path_buf()).ok_or_else(missing);
    }
    let path = environment("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    found.find(|candidate| candidate.is_file()).ok_or_else(|| {
        "there is no nats-server on PATH: `make run` obtains one, or set nats.url to a server that runs"
            .to_owned()
    })
}

async fn check_version(binary: &Path) -> Result<(), String> {
    let shown = binary.display();
    let output = Command::new(binary).arg("--version").output().await;
    let output = output.map_err(|error| format!("{shown} cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.trim().rsplit(['v', ' ']).next().unwrap_or_default();
    let mut numbers = found.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < VERSION_MIN {
        return Err(format!(
            "{shown} is {}: Bugle needs nats-server 2.14.3 or newer, which `make run` obtains",
            text.trim()
        ));
    }
    Ok(())
}

fn check_port(port: u16) -> Result<(), String> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(format!(
            "port {port}, which the embedded NATS server wants, is taken: choose another one with BUGLE__NATS__EMBEDDED__PORT, or use the server there with BUGLE__NATS__URL"
        )),
        Err(error) => Err(format!("port {port} for the embedded NATS server: {error}")),
    }
}

fn configuration(settings: &Embedded, folder: &Path) -> Result<String, String> {
    let quoted =
        |path: PathBuf| serde_json::to_string(&path.display().to_string()).map_err(|error| error.to_string());
    let (store, pid, log) = (
        quoted(folder.join("store"))?,
        quoted(folder.join("nats.pid"))?,
        quoted(folder.join("nats-server.log"))?,
    );
    let (port, sync) = (settings.port, &settings.sync_interval);
    Ok(format!(
        "listen: \"127.0.0.1:{port}\"\nserver_name: bugle\npid_file: {pid}\nlog_file: {log}\nlog_size_limit: 10MB\nlog_max_num: 3\njetstream {{\n  store_dir: {store}\n  sync_interval: {sync}\n}}\n"
    ))
}

/// Ends the nats-server that an earlier start left on this store.
async fn end_orphan(folder: &Path) -> Result<(), String> {
    let Ok(text) = std::fs::read_to_string(folder.join("nats.pid")) else { return Ok(()) };
    let Ok(pid) = text.trim().parse::<u32>() else { return Ok(()) };
    let config = folder.join("nats-server.conf").display().to_string();
    if !runs(pid, &config).await {
        return Ok(());
    }
    tracing::warn!(pid, "a nats-server of an earlier start still runs on this data directory: ending it");
    for signal in ["-TERM", "-KILL"] {
        let sent = Command::new("kill").arg(signal).arg(pid.to_string()).status().await;
        sent.map_err(|error| format!("kill cannot be run: {error}"))?;
        let since = Instant::now();
        while since.elapsed() < ORPHAN_PATIENCE {
            if !runs(pid, &config).await {
                return Ok(());
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
    }
    Err(format!("the nats-server with pid {pid} on {} cannot be ended: end it by hand", folder.display()))
}

/// True when the process lives and is the server of this very folder, and not another one that got its number.
async fn runs(pid: u32, config: &str) -> bool {
    let arguments = if let Ok(bytes) = std::fs::read(format!("/proc/{pid}/cmdline")) {
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    } else {
        let listed = Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).output().await;
        listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    arguments.contains(config)
}
