//! The receivers: raw HTTP/1.1, so that they can misbehave in ways that no server library allows. Whatever was read to its
//! end is written down before it is answered.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::load::lock;
use super::log::{Receipt, now_ms};
use super::plan::Mode;
use crate::support::pause;

/// The receivers that faults may strike.
pub const STRUCK: [&str; 3] = ["steady", "other", "flaky"];

#[derive(Default)]
struct Shared {
    receipts: Mutex<Vec<Receipt>>,
    modes: Mutex<HashMap<&'static str, Mode>>,
    /// How often a delivery came to the flaky one.
    seen: Mutex<HashMap<String, u64>>,
}

pub struct Sink {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Sink {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move { drop(serve(socket, &shared).await) });
            }
        });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// False when that one misbehaves already.
    pub fn strike(&self, channel: &'static str, mode: Mode) -> bool {
        let mut modes = lock(&self.shared.modes);
        let free = !modes.contains_key(channel);
        if free {
            modes.insert(channel, mode);
        }
        free
    }

    pub fn calm(&self, channel: &'static str) {
        lock(&self.shared.modes).remove(channel);
    }

    pub fn receipts(&self) -> Vec<Receipt> {
        lock(&self.shared.receipts).clone()
    }
}

/// What a request is answered with.
enum Answer {
    Status(u16, &'static str),
    Misbehave(Mode),
}

impl Shared {
    fn answer(&self, channel: &str, delivery: &str) -> Answer {
        match channel {
            "refusing" => return Answer::Status(302, ""),
            // A 500 would open the circuit, and nobody would see its end before the run is over.
            "broken" => return Answer::Status(400, ""),
            _ => {}
        }
        if let Some(mode) = lock(&self.modes).get(channel) {
            return match mode {
                Mode::Broken => Answer::Status(503, ""),
                Mode::Limiting => Answer::Status(429, "retry-after: 1\r\n"),
                Mode::Hanging | Mode::Resetting | Mode::Slow | Mode::Endless => Answer::Misbehave(*mode),
            };
        }
        if channel == "flaky" {
            let mut seen = lock(&self.seen);
            let count = seen.entry(delivery.to_owned()).or_default();
            *count += 1;
            let mut hash = DefaultHasher::new();
            delivery.hash(&mut hash);
            if *count <= hash.finish() % 3 {
                return Answer::Status(503, "");
            }
        }
        Answer::Status(200, "")
    }
}

async fn serve(mut socket: TcpStream, shared: &Shared) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut input = Vec::with_capacity(4 * 1024);
    loop {
        let Some(request) = Request::read(&input) else {
            if socket.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        };
        input.drain(..request.length);
        let answer = shared.answer(&request.channel, &request.delivery);
        let accepted = match &answer {
            Answer::Status(status, _) => *status < 300,
            Answer::Misbehave(mode) => matches!(mode, Mode::Slow | Mode::Endless),
        };
        let Request { channel, delivery, .. } = request;
        lock(&shared.receipts).push(Receipt { delivery, channel, at: now_ms(), accepted });
        match answer {
            Answer::Status(status, header) => {
                let head = format!("HTTP/1.1 {status} X\r\n{header}content-length: 0\r\n\r\n");
                socket.write_all(head.as_bytes()).await?;
            }
            Answer::Misbehave(Mode::Slow) => {
                pause(Duration::from_millis(1_500)).await;
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
            }
            Answer::Misbehave(Mode::Endless) => {
                socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    socket.write_all(b"400\r\n").await?;
                    socket.write_all(&[b'x'; 0x400]).await?;
                    socket.write_all(b"\r\n").await?;
                    pause(Duration::from_millis(20)).await;
                }
            }
            Answer::Misbehave(Mode::Resetting) => {
                socket.set_zero_linger()?;
                return Ok(());
            }
            Answer::Misbehave(Mode::Hanging | Mode::Broken | Mode::Limiting) => {
                // Until the sender gives up.
                while socket.read_buf(&mut input).await? > 0 {}
                return Ok(());
            }
        }
    }
}

/// A request that is there to its end.
struct Request {
    channel: String,
    delivery: String,
    length: usize,
}

impl Request {
    fn read(input: &[u8]) -> Option<Self> {
        let head = input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(&input[..head]).ok()?;
        let header = |wanted: &str| {
            text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
            })
        };
        let body: usize = header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let channel = text.split(' ').nth(1)?.trim_start_matches('/').to_owned();
        let delivery = header("webhook-id").unwrap_or_default();
        (input.len() >= head + body).then_some(Self { channel, delivery, length: head + body })
    }
}
