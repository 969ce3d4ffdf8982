//! What tests and benches are made of: real servers, real processes, and waiting on conditions.
//!
//! Everything that is started here ends with the process that started it, whatever ends that.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails by panicking, and waits for conditions with a deadline"
)]
#![expect(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    reason = "it is for tests: nearly every function panics when it cannot go on"
)]

pub mod broker;
pub mod postgres;
pub mod process;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What happens at once, on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// What has to wait for reconnects, restarts and ack timers.
pub const LATER: Duration = Duration::from_secs(90);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks until there is something to see, and returns it; after the deadline the test fails with the last reason.
pub async fn eventually<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(why) if started.elapsed() > patience => panic!("{what}: not within {patience:?}: {why}"),
            Err(_) => pause(LOOK_AGAIN).await,
        }
    }
}

/// Looks for a while at what must stay as it is.
pub async fn steadily(what: &str, span: Duration, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let started = Instant::now();
    while started.elapsed() < span {
        if let Err(why) = look().await {
            panic!("{what}: did not last {span:?}: {why}");
        }
        pause(LOOK_AGAIN).await;
    }
}

/// The one sleep of the suite: the pace of a poll or of a producer, never a guess at how long something takes.
pub async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Passes a condition into [`eventually`].
pub fn ensure(holds: bool, why: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.into()) }
}

/// A folder of this test's own, removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        let all = temporary();
        SWEPT.call_once(|| sweep(&all));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = all.join(std::process::id().to_string()).join(number.to_string());
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// `tmp` of the target folder, where the running program lies at `<profile>/deps`.
fn temporary() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().join("tmp/testbed")
}

/// Removes what killed test runs left behind.
fn sweep(all: &Path) {
    let Ok(entries) = std::fs::read_dir(all) else { return };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !Path::new("/proc").join(&pid).exists() {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// A port that nobody has, below those that the system gives to clients, and handed out once.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 18_000;
    const COUNT: u16 = 14_000;
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A short name that nothing else has.
pub fn unique(head: &str) -> String {
    format!("{head}{}", &nuid()[..8])
}

fn nuid() -> String {
    let random = fastrand::u64(..);
    format!("{random:016x}")
}
