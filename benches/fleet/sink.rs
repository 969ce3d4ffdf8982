//! The receiving end, in a process of its own: as little work per request as HTTP/1.1 allows, so that what is measured
//! is the sender. It keeps when each delivery arrived first.
//!
//! `POST /hook` is answered at once, `POST /slow/<ms>` after so long, `POST /hang` never.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Anything, PATIENCE, now_micros};

/// First arrivals by number, in microseconds of the Unix clock; the bytes of the last body.
#[derive(Default)]
struct Seen {
    arrivals: HashMap<u64, u64>,
    body_bytes: usize,
}

type Shared = Arc<Mutex<Seen>>;

/// The process's whole life: says its port, serves until it is killed.
pub fn run() -> Anything<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
        let seen = Shared::default();
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            tokio::spawn(serve(socket, Arc::clone(&seen)));
        }
    })
}

async fn serve(mut socket: TcpStream, seen: Shared) -> std::io::Result<()> {
    let mut input = Vec::with_capacity(16 * 1024);
    loop {
        let Some((head, length)) = head(&input) else {
            if socket.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        };
        while input.len() < head + length {
            if socket.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
        let line = input.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        let path = line.split(' ').nth(1).unwrap_or_default();
        if line.starts_with("POST") {
            note(&input[head..head + length], &seen);
        }
        if path == "/hang" {
            std::future::pending::<()>().await;
        }
        if let Some(wait) = path.strip_prefix("/slow/").and_then(|wait| wait.parse().ok()) {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let body = if line.starts_with("GET") { answer(path, &seen) } else { String::new() };
        socket
            .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
            .await?;
        input.drain(..head + length);
    }
}

/// Where the body begins and how long it is, once the whole head is there.
fn head(input: &[u8]) -> Option<(usize, usize)> {
    let end = input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&input[..end]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((end, length.unwrap_or(0)))
}

/// Every body of the bench holds its number as `"n":123`.
fn note(body: &[u8], seen: &Shared) {
    const MARKER: &[u8] = b"\"n\":";
    let Some(start) = body.windows(MARKER.len()).position(|window| window == MARKER) else { return };
    let digits = body[start + MARKER.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.arrivals.entry(number).or_insert_with(now_micros);
    seen.body_bytes = body.len();
}

fn answer(path: &str, seen: &Shared) -> String {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match path {
        "/count" => seen.arrivals.len().to_string(),
        "/body-bytes" => seen.body_bytes.to_string(),
        "/arrivals" => serde_json::to_string(&seen.arrivals).unwrap_or_default(),
        "/forget" => {
            seen.arrivals.clear();
            String::new()
        }
        _ => String::new(),
    }
}

/// A running sink, seen from the bench.
pub struct Sink {
    child: Child,
    pub port: u16,
}

impl Sink {
    pub fn start() -> Anything<Self> {
        let mut child =
            Command::new(std::env::current_exe()?).arg("--sink").stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("the sink has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self { child, port: line.trim().parse()? })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn get(&self, path: &str) -> Anything<String> {
        Ok(http_get(self.port, path).await?.1)
    }

    /// Waits until so many different deliveries arrived.
    pub async fn wait(&self, wanted: u64) -> Anything<()> {
        let started = Instant::now();
        loop {
            let count: u64 = self.get("/count").await?.parse()?;
            if count >= wanted {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("only {count} of {wanted} arrived").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn forget(&self) -> Anything<()> {
        self.get("/forget").await.map(|_| ())
    }

    pub async fn body_bytes(&self) -> Anything<usize> {
        Ok(self.get("/body-bytes").await?.parse()?)
    }

    pub async fn arrivals(&self) -> Anything<HashMap<u64, u64>> {
        Ok(serde_json::from_str(&self.get("/arrivals").await?)?)
    }

    /// Arrivals a second, without the first tenth: that is the start of those who send.
    pub async fn rate(&self) -> Anything<f64> {
        let mut times: Vec<u64> = self.arrivals().await?.into_values().collect();
        times.sort_unstable();
        crate::steady_rate(&times).ok_or_else(|| "too few arrivals".into())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Status and body of a plain GET; the answer must say how long it is or end.
pub async fn http_get(port: u16, path: &str) -> Anything<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut input = Vec::new();
    loop {
        if let Some((head, length)) = head(&input)
            && input.len() >= head + length
        {
            let status =
                String::from_utf8_lossy(&input).split(' ').nth(1).and_then(|status| status.parse().ok());
            let body = String::from_utf8_lossy(&input[head..head + length]).into_owned();
            return Ok((status.unwrap_or(0), body));
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Err("the answer ended early".into());
        }
    }
}
