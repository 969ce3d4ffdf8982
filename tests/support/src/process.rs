//! A child process that cannot outlive the test: a shell holds the other end of its pipe and takes signals through it.
//!
//! The exit code seen here is the child's own, or 128 and the signal that ended it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::eventually;

/// Each line on its input is a signal for the child; the input's end is SIGKILL.
const SUPERVISOR: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
echo "$child" >"$PID_FILE"
(
    while read -r signal <&3; do kill -"$signal" "$child"; done
    kill -CONT "$child"
    kill -KILL "$child"
) 2>/dev/null &
watcher=$!
exec 3<&-
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
rm -f "$PID_FILE"
exit "$status"
"#;

/// A signal arrives when the supervisor has read its line.
const SIGNAL_WAIT: Duration = Duration::from_secs(2);

pub struct Process {
    pub name: String,
    supervisor: Child,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Process {
    /// Starts a program; both its outputs go to `log`, behind what is there already.
    pub fn start(
        name: &str,
        program: &Path,
        arguments: &[&str],
        variables: &[(String, String)],
        log: &Path,
    ) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SUPERVISOR, "testbed"]).arg(program).args(arguments);
        for (inherited, _) in std::env::vars_os() {
            if inherited.to_string_lossy().starts_with("BUGLE") {
                command.env_remove(inherited);
            }
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let pid_file = log.with_file_name(crate::unique("pid-"));
        command.env("PID_FILE", &pid_file);
        command.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let supervisor = command.spawn().unwrap();
        Self { name: name.to_owned(), supervisor, log: log.to_owned(), pid_file }
    }

    /// What it uses; None once it ended, or where there is no `/proc`.
    pub fn usage(&self) -> Option<Usage> {
        let pid = std::fs::read_to_string(&self.pid_file).ok()?;
        Usage::of(pid.trim())
    }

    /// Sends a signal by its name. One that is dead already does not mind.
    pub fn signal(&mut self, signal: &str) {
        if let Some(input) = self.supervisor.stdin.as_mut() {
            drop(writeln!(input, "{signal}").and_then(|()| input.flush()));
        }
    }

    /// SIGSTOP, and waits until it stands still, where that can be seen.
    pub fn freeze(&mut self) {
        self.signal("STOP");
        let since = Instant::now();
        while since.elapsed() < SIGNAL_WAIT && self.state().is_some_and(|state| state != 'T') {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What it does, as Linux has it: R, S, D, T and others.
    fn state(&self) -> Option<char> {
        let pid = std::fs::read_to_string(&self.pid_file).ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).ok()?;
        stat.rsplit(')').next()?.trim().chars().next()
    }

    /// kill -9, and waits until it is gone.
    pub fn kill_9(&mut self) {
        self.signal("KILL");
        let _ended = self.supervisor.wait().unwrap();
    }

    /// The exit code, once it ended.
    pub fn ended(&mut self) -> Option<i32> {
        self.supervisor.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for the end and returns the exit code.
    pub async fn exit_code(&mut self, patience: Duration) -> i32 {
        let what = format!("{} ends", self.name);
        eventually(&what, patience, async || self.ended().ok_or_else(|| "it still runs".to_owned())).await
    }

    /// Asks for an orderly end and returns the exit code and how long it took.
    pub async fn sigterm(&mut self, patience: Duration) -> (i32, Duration) {
        let since = Instant::now();
        self.signal("TERM");
        (self.exit_code(patience).await, since.elapsed())
    }

    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// What a process uses, as Linux counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Seconds of all its threads, in user space and in the kernel.
    pub cpu_seconds: f64,
    pub resident_mib: f64,
    /// The most it ever had resident.
    pub peak_mib: f64,
}

impl Usage {
    /// Of the process that asks.
    pub fn own() -> Option<Self> {
        Self::of("self")
    }

    fn of(pid: &str) -> Option<Self> {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold blanks; user and system time are the 12th and 13th fields behind it.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let mib = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field))?;
            Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1_024.0)
        };
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            resident_mib: mib("VmRSS:")?,
            peak_mib: mib("VmHWM:")?,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill_9();
        }
    }
}
