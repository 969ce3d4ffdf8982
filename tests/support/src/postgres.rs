//! A private Postgres for tests: one cluster a process, a fresh database a test, or a cluster of a test's own that it may
//! stop. It ends with the process, however that ends: a shell holds the other end of a pipe and stops the server when it
//! closes.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Each line on its input is an order; the input's end ends it all.
const SUPERVISOR: &str = r#"
exec 3<&0
start() { "$@" </dev/null 3<&- & server=$!; }
stop() { kill -"$signal" "$server"; wait "$server"; }
start "$@"
while read -r order <&3; do
    case "$order" in
        crash) signal=QUIT; stop ;;
        start) start "$@" ;;
    esac
done 2>/dev/null
signal=INT; stop 2>/dev/null
rm -rf "$FOLDER"
"#;

/// How a cluster is to be.
pub struct Wanted<'a> {
    pub host: &'a str,
    pub port: u16,
    pub superuser: &'a str,
    /// None: whoever comes is believed.
    pub password: Option<&'a str>,
    /// What is set besides (`-c`).
    pub settings: &'a [(&'a str, &'a str)],
    /// Files of its data directory, which it alone may read; `pg_hba.conf` is one.
    pub files: &'a [(&'a str, &'a str)],
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            host: "127.0.0.1",
            port: free_port(),
            superuser: "postgres",
            password: None,
            settings: &[],
            files: &[],
        }
    }
}

pub struct Cluster {
    pub port: u16,
    host: String,
    superuser: String,
    password: Option<String>,
    databases: AtomicU32,
    /// Holds our end of the pipe.
    supervisor: Mutex<Child>,
}

/// The URL of a fresh database; None where Postgres cannot be had and is not required.
pub fn fresh_database() -> Option<String> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(private).as_ref().map(Cluster::fresh_database)
}

/// A cluster of the caller's own; None where Postgres cannot be had and is not required.
pub fn private() -> Option<Cluster> {
    as_wanted(&Wanted::default())
}

/// The same, as the caller wants it.
pub fn as_wanted(wanted: &Wanted) -> Option<Cluster> {
    let cluster = programs().map(|programs| Cluster::start(&programs, wanted));
    if cluster.is_none() {
        assert!(
            !required(),
            "BUGLE_TEST_POSTGRES=required, but there are no server programs: see scripts/postgres.sh"
        );
        eprintln!("no PostgreSQL: skipped");
    }
    cluster
}

#[expect(clippy::disallowed_methods, reason = "tests have no settings but the environment")]
fn required() -> bool {
    std::env::var("BUGLE_TEST_POSTGRES").is_ok_and(|value| value == "required")
}

fn programs() -> Option<PathBuf> {
    let complete =
        |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file());
    if let Some(folder) = std::env::var_os("BUGLE_TEST_POSTGRES_BIN") {
        return Some(PathBuf::from(folder));
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<PathBuf> =
        versions.flatten().map(|entry| entry.path().join("bin")).filter(complete).collect();
    folders.sort();
    folders.pop()
}

impl Cluster {
    pub fn start(programs: &Path, wanted: &Wanted) -> Self {
        let Wanted { host, port, superuser, password, .. } = *wanted;
        let folder =
            std::env::temp_dir().join(format!("bugle-postgres-{}-{host}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let user = unprivileged();
        let own = |path: &Path| {
            if let Some((uid, gid)) = user {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
        };
        own(&folder);
        let data = folder.join("data");
        let mut initdb = Command::new(programs.join("initdb"));
        initdb.args(["-U", superuser, "-E", "UTF8", "--no-sync", "--locale=C"]).arg("-D").arg(&data);
        match password {
            None => initdb.args(["-A", "trust"]),
            Some(password) => {
                let file = folder.join("password");
                std::fs::write(&file, password).unwrap();
                own(&file);
                initdb.args(["-A", "scram-sha-256", "--pwfile"]).arg(file)
            }
        };
        let made = as_user(&mut initdb, user).current_dir(&folder).output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        for (name, text) in wanted.files {
            let path = data.join(name);
            std::fs::write(&path, text).unwrap();
            own(&path);
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, private).unwrap();
        }
        let mut server = Command::new("sh");
        server.args(["-c", SUPERVISOR, "postgres"]).arg(programs.join("postgres")).arg("-D").arg(&data);
        server.args(["-p", &port.to_string(), "-h", host, "-k"]).arg(&folder);
        server.args(["-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=64MB"]);
        for (name, value) in wanted.settings {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        server.env("FOLDER", &folder).current_dir(&folder).process_group(0);
        server.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let supervisor = as_user(&mut server, user).spawn().expect("postgres starts");
        let cluster = Self {
            port,
            host: host.to_owned(),
            superuser: superuser.to_owned(),
            password: password.map(str::to_owned),
            databases: AtomicU32::new(0),
            supervisor: Mutex::new(supervisor),
        };
        cluster.until_ready();
        cluster
    }

    /// Blocks until it answers.
    #[expect(clippy::disallowed_methods, reason = "waiting for a child, outside any runtime")]
    pub fn until_ready(&self) {
        let started = Instant::now();
        while self.execute("select 1").is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "postgres does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server at once, as a crash would: it recovers at its next start.
    pub fn crash(&self) {
        self.order("crash");
    }

    /// Starts it again on the same data.
    pub fn start_again(&self) {
        self.order("start");
    }

    fn order(&self, order: &str) {
        let mut supervisor = self.supervisor.lock().unwrap();
        let input = supervisor.stdin.as_mut().unwrap();
        writeln!(input, "{order}").and_then(|()| input.flush()).unwrap();
    }

    pub fn fresh_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("create database {name}")).expect("a database can be made");
        self.url(&name)
    }

    /// Of one of its databases, as the superuser.
    fn url(&self, database: &str) -> String {
        let Self { host, port, superuser, password, .. } = self;
        let password = password.as_ref().map(|password| format!(":{password}")).unwrap_or_default();
        format!("postgres://{superuser}{password}@{host}:{port}/{database}")
    }

    /// Runs a statement as the superuser, outside any pool.
    pub fn execute(&self, statement: &str) -> Result<(), String> {
        self.query(&self.url("postgres"), statement).map(drop)
    }

    /// What a statement selects, a line a row, read by a client that is not ours.
    pub fn query(&self, url: &str, statement: &str) -> Result<String, String> {
        let run = Command::new("psql")
            .args([url, "-qAtc", statement])
            .output()
            .map_err(|error| error.to_string())?;
        if run.status.success() {
            Ok(String::from_utf8_lossy(&run.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&run.stderr).into_owned())
        }
    }
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    match user {
        Some((uid, gid)) => command.uid(uid).gid(gid),
        None => command,
    }
}

/// Postgres refuses to run as root: then it runs as postgres, or as nobody.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if id(&["-u"])? != 0 {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|name| Some((id(&["-u", name])?, id(&["-g", name])?)))
}

impl Drop for Cluster {
    /// Waits for its end: what it has in shared memory goes with it.
    fn drop(&mut self) {
        let mut supervisor = self.supervisor.lock().unwrap();
        drop(supervisor.stdin.take());
        let _ended = supervisor.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
