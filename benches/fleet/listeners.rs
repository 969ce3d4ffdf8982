//! Thousands of bells in one process: clients that follow an inbox and count what they are told, in as little memory as can be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::{Anything, PATIENCE};

/// Connections that are being made at once: a backlog of the kernel is no benchmark.
const CONNECTING: usize = 256;
const AGAIN: Duration = Duration::from_millis(50);

/// Whom a client follows, and where.
pub struct Listener {
    /// In turns, as a balancer in front of them would.
    pub ports: Vec<u16>,
    pub workspace: String,
    pub recipient: String,
    pub token: String,
}

/// What all clients together saw.
#[derive(Default)]
pub struct Board {
    connected: AtomicUsize,
    told: AtomicU64,
    gaps: AtomicU64,
    repeats: AtomicU64,
    /// For each number of a notification: when each client got it.
    arrivals: Mutex<HashMap<u64, Vec<Instant>>>,
}

pub struct Listeners {
    pub board: Arc<Board>,
    round: watch::Sender<Round>,
    count: usize,
}

/// Clients are connected while it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    On,
    Off,
    Over,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.round.send_replace(Round::Over);
    }
}

impl Listeners {
    pub async fn connect(listeners: Vec<Listener>) -> Anything<Self> {
        let (board, (round, _)) = (Arc::new(Board::default()), watch::channel(Round::On));
        let (count, doors) = (listeners.len(), Arc::new(tokio::sync::Semaphore::new(CONNECTING)));
        for listener in listeners {
            tokio::spawn(listen(listener, Arc::clone(&board), round.subscribe(), Arc::clone(&doors)));
        }
        let all = Self { board, round, count };
        all.until_connected(count).await?;
        Ok(all)
    }

    async fn until_connected(&self, wanted: usize) -> Anything<()> {
        self.until("clients are connected", || self.board.connected.load(Ordering::Relaxed) == wanted).await
    }

    /// Waits until so many notifications were told in all.
    pub async fn until_told(&self, wanted: u64) -> Anything<()> {
        self.until("notifications were told", || self.board.told.load(Ordering::Relaxed) >= wanted).await
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) -> Anything<()> {
        let started = Instant::now();
        while !done() {
            if started.elapsed() > PATIENCE {
                let (connected, told) = (&self.board.connected, &self.board.told);
                return Err(format!("not all {what} in time: {connected:?} connected, {told:?} told").into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// All hang up.
    pub async fn hang_up(&self) -> Anything<()> {
        self.round.send_replace(Round::Off);
        self.until_connected(0).await
    }

    /// All come back at once, each behind what it saw last.
    pub async fn come_back(&self) -> Anything<()> {
        self.round.send_replace(Round::On);
        self.until_connected(self.count).await
    }

    pub fn told(&self) -> u64 {
        self.board.told.load(Ordering::Relaxed)
    }

    /// Numbers that somebody missed, and that somebody got twice.
    pub fn faults(&self) -> (u64, u64) {
        (self.board.gaps.load(Ordering::Relaxed), self.board.repeats.load(Ordering::Relaxed))
    }

    /// When the first and the last client got this number.
    pub fn span(&self, number: u64) -> Option<(Instant, Instant)> {
        let arrivals = self.board.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let all = arrivals.get(&number)?;
        Some((*all.iter().min()?, *all.iter().max()?))
    }
}

/// What a client remembers.
#[derive(Default)]
struct Memory {
    id: String,
    number: u64,
    line: Vec<u8>,
}

async fn listen(
    listener: Listener,
    board: Arc<Board>,
    mut round: watch::Receiver<Round>,
    doors: Arc<tokio::sync::Semaphore>,
) {
    let mut memory = Memory::default();
    for visit in 0.. {
        match round.wait_for(|round| *round != Round::Off).await.map(|round| *round) {
            Ok(Round::On) => {}
            Ok(Round::Off | Round::Over) | Err(_) => return,
        }
        let door = doors.acquire().await;
        let socket = open(&listener, visit, &memory).await;
        let Ok(mut socket) = socket else {
            drop(door);
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let mut is_on = false;
        let mut door = Some(door);
        let mut buffer = [0; 2_048];
        loop {
            tokio::select! {
                read = socket.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(count) => {
                        let now = Instant::now();
                        if hear(&buffer[..count], &mut memory, &board, now) && !is_on {
                            is_on = true;
                            door = None;
                            board.connected.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                },
                _ = round.wait_for(|round| *round != Round::On) => break,
            }
        }
        drop(door);
        memory.line.clear();
        if is_on {
            board.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

async fn open(listener: &Listener, visit: usize, memory: &Memory) -> std::io::Result<TcpStream> {
    let Listener { ports, workspace, recipient, token } = listener;
    let mut socket = TcpStream::connect(("127.0.0.1", ports[visit % ports.len()])).await?;
    let resume =
        if memory.id.is_empty() { String::new() } else { format!("Last-Event-ID: {}\r\n", memory.id) };
    let request = format!(
        "GET /v1/notifications/stream?workspace={workspace}&recipient={recipient} HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {token}\r\n{resume}\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    Ok(socket)
}

/// True once the stream said that it is there.
fn hear(bytes: &[u8], memory: &mut Memory, board: &Board, now: Instant) -> bool {
    let mut is_connected = false;
    for part in bytes.split_inclusive(|byte| *byte == b'\n') {
        memory.line.extend_from_slice(part);
        if memory.line.last() != Some(&b'\n') {
            continue;
        }
        let line = std::mem::take(&mut memory.line);
        let text = String::from_utf8_lossy(&line);
        if let Some(id) = text.strip_prefix("id: ").or_else(|| text.strip_prefix("id:")) {
            id.trim().clone_into(&mut memory.id);
        } else if text.starts_with("event: connected") || text.starts_with("event:connected") {
            is_connected = true;
        } else if let Some(number) = number_of(&text) {
            match number {
                number if number <= memory.number => board.repeats.fetch_add(1, Ordering::Relaxed),
                number if number > memory.number + 1 && memory.number > 0 => {
                    board.gaps.fetch_add(number - memory.number - 1, Ordering::Relaxed)
                }
                _ => 0,
            };
            memory.number = memory.number.max(number);
            board.told.fetch_add(1, Ordering::Relaxed);
            let mut arrivals = board.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.entry(number).or_default().push(now);
        }
    }
    is_connected
}

/// Titles are `n<number>.`
fn number_of(line: &str) -> Option<u64> {
    let rest = line.split_once(r#""title":"n"#)?.1;
    rest.split_once('.')?.0.parse().ok()
}
