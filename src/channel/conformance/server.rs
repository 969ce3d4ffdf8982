//! A provider for tests: answers as told, or misbehaves as told, and remembers what it was asked.
#![expect(clippy::disallowed_methods, reason = "the server ends with its test")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub enum Behaviour {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// Its own request, path and headers, in the body of an error.
    Echo(u16),
    Endless(u16),
    Hang,
    /// Closed as soon as the request came.
    Reset,
    HalfHead,
    /// 200, and less than the length that it announced.
    HalfBody,
    /// 200, and then nothing more.
    StalledBody,
    NotHttp,
}

pub struct Seen {
    pub method: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub struct Server {
    /// Without a slash at its end.
    pub base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn answering(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self::start(Behaviour::Answer { status, headers, body: body.to_owned() }).await
    }

    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = match raw_bytes(&behaviour) {
            Some(bytes) => {
                tokio::spawn(serve_raw(listener, bytes, matches!(behaviour, Behaviour::StalledBody)))
            }
            None => tokio::spawn(serve(listener, behaviour, Arc::clone(&seen))),
        };
        Self { base, seen, task }
    }

    /// The address of nobody.
    pub async fn refused() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    pub fn requests(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn serve(listener: TcpListener, behaviour: Behaviour, seen: Arc<Mutex<Vec<Seen>>>) {
    let app = Router::new().fallback(move |request: Request| {
        let (behaviour, seen) = (behaviour.clone(), Arc::clone(&seen));
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let echo = format!("error at {} with {:?}", parts.uri, parts.headers.get("authorization"));
            let method = parts.method.to_string();
            seen.lock().unwrap().push(Seen { method, headers: parts.headers, body });
            respond(&behaviour, &echo).await
        }
    });
    axum::serve(listener, app).await.unwrap();
}

async fn respond(behaviour: &Behaviour, echo: &str) -> Response<Body> {
    match behaviour {
        Behaviour::Answer { status, headers, body } => {
            let mut response = Response::builder().status(*status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body.clone())).unwrap()
        }
        Behaviour::Echo(status) => {
            let body =
                serde_json::json!({ "ok": false, "error_code": status, "error": echo, "description": echo });
            Response::builder().status(*status).body(Body::from(body.to_string())).unwrap()
        }
        Behaviour::Endless(status) => {
            let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024])));
            Response::builder().status(*status).body(Body::from_stream(chunks)).unwrap()
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Reset
        | Behaviour::HalfHead
        | Behaviour::HalfBody
        | Behaviour::StalledBody
        | Behaviour::NotHttp => unreachable!("served raw"),
    }
}

/// What a misbehaving server writes before it closes; None for the others.
fn raw_bytes(behaviour: &Behaviour) -> Option<&'static [u8]> {
    match behaviour {
        Behaviour::Reset => Some(b""),
        Behaviour::HalfHead => Some(b"HTTP/1.1 200 OK\r\ncontent-le"),
        Behaviour::HalfBody | Behaviour::StalledBody => {
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"ok\":true,")
        }
        Behaviour::NotHttp => Some(b"SSH-2.0-x\r\n\r\n"),
        Behaviour::Answer { .. } | Behaviour::Echo(_) | Behaviour::Endless(_) | Behaviour::Hang => None,
    }
}

async fn serve_raw(listener: TcpListener, bytes: &'static [u8], stays: bool) {
    while let Ok((mut stream, _)) = listener.accept().await {
        read_request(&mut stream).await;
        stream.write_all(bytes).await.ok();
        if stays {
            std::future::pending::<()>().await;
        }
    }
}

/// Until the body begins: what is still unread makes the close a reset.
async fn read_request(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
        head.push(byte[0]);
    }
}
