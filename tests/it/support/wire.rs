//! A producer on NATS that knows nothing of Bugle's code, and a wire that a test can cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Wire {
    pub js: Context,
    prefix: String,
}

impl Wire {
    /// To one of the servers, which are told apart by commas.
    pub async fn connect(url: &str, prefix: &str) -> Self {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let servers: Vec<&str> = url.split(',').collect();
        let client = options.connect(servers).await.unwrap();
        let mut js = jetstream::new(client);
        js.set_timeout(Duration::from_secs(5));
        Self { js, prefix: prefix.to_owned() }
    }

    pub fn subject(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    pub fn stream_name(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.to_uppercase())
    }

    /// Publishes and waits for the broker's word that it is stored. True when it was a duplicate.
    pub async fn put(&self, subject: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, *value);
        }
        let body: Vec<u8> = body.into();
        let sent = self.js.publish_with_headers(subject.to_owned(), map, body.into()).await.unwrap();
        sent.await.unwrap().duplicate
    }

    /// A bare JSON event of the default workspace, under an id.
    pub async fn event(&self, event_type: &str, id: &str, data: &Value) {
        let subject = self.subject(&format!("events.default.{}", event_type.replace(':', ".")));
        self.put(&subject, &[("Nats-Msg-Id", id)], data.to_string()).await;
    }

    /// Publishes one event however often the broker goes away meanwhile; returns when it is stored.
    pub async fn event_whatever_happens(&self, event_type: &str, id: &str, data: &Value) {
        let subject = self.subject(&format!("events.default.{}", event_type.replace(':', ".")));
        loop {
            let mut headers = HeaderMap::new();
            headers.append("Nats-Msg-Id", id);
            let sent = self.js.publish_with_headers(subject.clone(), headers, data.to_string().into()).await;
            if let Ok(sent) = sent
                && sent.await.is_ok()
            {
                return;
            }
            super::pause(Duration::from_millis(100)).await;
        }
    }

    /// Has the broker refuse whatever is published into a stream, or take it again.
    pub async fn refuses(&self, stream: &str, refuses: bool) {
        let stream = self.js.get_stream(self.stream_name(stream)).await.unwrap();
        let mut config = stream.cached_info().config.clone();
        config.max_message_size = if refuses { 1 } else { -1 };
        self.js.update_stream(config).await.unwrap();
    }

    pub async fn messages(&self, stream: &str) -> u64 {
        let mut stream = self.js.get_stream(self.stream_name(stream)).await.unwrap();
        stream.info().await.unwrap().state.messages
    }
}

/// A relay in front of a server, which a test can cut and mend.
pub struct Cable {
    pub port: u16,
    state: Arc<watch::Sender<Line>>,
    carried: Arc<Carried>,
}

/// What a cable does with what is sent through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Whole,
    /// Connections end, and new ones are refused.
    Cut,
    /// Connections stay and nothing arrives any more, as when a machine is gone without a word.
    Silent,
}

/// How many connections there are, and were at most.
#[derive(Default)]
struct Carried {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Cable {
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, carried) = (Arc::new(watch::Sender::new(Line::Whole)), Arc::<Carried>::default());
        let (line, counted) = (Arc::clone(&state), Arc::clone(&carried));
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                let (target, line, counted) = (target.clone(), line.subscribe(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let now = counted.now.fetch_add(1, Ordering::SeqCst) + 1;
                    counted.most.fetch_max(now, Ordering::SeqCst);
                    relay(socket, target, line).await;
                    counted.now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, state, carried }
    }

    pub fn cut(&self) {
        self.state.send_replace(Line::Cut);
    }

    pub fn silence(&self) {
        self.state.send_replace(Line::Silent);
    }

    pub fn mend(&self) {
        self.state.send_replace(Line::Whole);
    }

    /// The most connections at the same time since [`Cable::forget`].
    pub fn most_at_once(&self) -> usize {
        self.carried.most.load(Ordering::SeqCst)
    }

    pub fn forget(&self) {
        self.carried.most.store(0, Ordering::SeqCst);
    }
}

async fn relay(mut near: TcpStream, target: String, mut line: watch::Receiver<Line>) {
    let now = *line.borrow_and_update();
    let mut far = None;
    if now == Line::Whole {
        let Ok(mut socket) = TcpStream::connect(target).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut socket) => return,
            _ = line.wait_for(|line| *line != Line::Whole) => {}
        }
        far = Some(socket);
    }
    // What a silence swallowed does not come back: its connections end with it.
    let _silence_over = line.wait_for(|line| *line != Line::Silent).await.is_ok();
    drop((near, far));
}
