//! Long streams without the weight of a request: once a response is a stream of events, its socket is taken from the HTTP
//! server and written to by a small task of its own.
//!
//! The server keeps buffers of 16 KiB for a connection as long as its response lasts, and ten thousand bells are open at once.
//! The response itself is the router's: its head is written here, then its body as it comes, until one side ends it.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio_util::task::TaskTracker;

use super::wire::{Patient, Wire};

/// A client has nothing to say on a stream: what it says all the same is dropped, so much at a time.
const DROPPED_BYTES: usize = 64;

/// Accepts connections whose sockets can be taken.
pub struct Connections(pub Wire);

/// A connection as the server sees it.
pub struct Connection(Arc<Mutex<Option<Patient>>>);

/// What takes the socket of a connection.
#[derive(Clone)]
pub struct Handle(Arc<Mutex<Option<Patient>>>);

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (socket, address) = self.0.accept().await;
        (Connection(Arc::new(Mutex::new(Some(socket)))), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Connections>> for Handle {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self(Arc::clone(&stream.io().0))
    }
}

impl Connection {
    /// None: the socket was taken, and for the server it is closed.
    fn with<T>(&self, act: impl FnOnce(Pin<&mut Patient>) -> T) -> Option<T> {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        socket.as_mut().map(|socket| act(Pin::new(socket)))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|socket| socket.poll_read(cx, buf)).unwrap_or(Poll::Ready(Ok(())))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|socket| socket.poll_write(cx, buf)).unwrap_or_else(taken)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|socket| socket.poll_write_vectored(cx, bufs)).unwrap_or_else(taken)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|socket| socket.poll_flush(cx)).unwrap_or(Poll::Ready(Ok(())))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|socket| socket.poll_shutdown(cx)).unwrap_or(Poll::Ready(Ok(())))
    }
}

fn taken() -> Poll<io::Result<usize>> {
    Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
}

/// Around all routes: takes the socket when the response is a stream of events.
pub async fn detach(
    State(streams): State<TaskTracker>,
    ConnectInfo(handle): ConnectInfo<Handle>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let is_stream =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    if response.status() != StatusCode::OK || !is_stream {
        return response;
    }
    let socket = handle.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(socket) = socket else { return response };
    streams.spawn(follow(socket, response));
    // It goes nowhere: the server finds the connection closed, and lets go of all that belongs to it.
    StatusCode::NO_CONTENT.into_response()
}

async fn follow(mut socket: Patient, response: Response) {
    let (parts, body) = response.into_parts();
    let mut head = String::from("HTTP/1.1 200 OK\r\nconnection: close\r\n");
    for (name, value) in &parts.headers {
        if let Ok(value) = value.to_str() {
            // Writing to a String cannot fail.
            write!(head, "{name}: {value}\r\n").ok();
        }
    }
    head.push_str("\r\n");
    drop(parts);
    if socket.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    drop(head);
    let (reader, mut writer) = tokio::io::split(socket);
    pump(reader, &mut writer, body).await;
    // The client reads what is on its way, and then that it was the end.
    if let Err(error) = writer.shutdown().await {
        tracing::debug!(%error, "a stream's client was gone already");
    }
}

/// Until the body or the client ends.
async fn pump(mut reader: ReadHalf<Patient>, writer: &mut WriteHalf<Patient>, body: Body) {
    let mut body = body.into_data_stream();
    let gone = async {
        let mut dropped = [0; DROPPED_BYTES];
        while matches!(reader.read(&mut dropped).await, Ok(1..)) {}
    };
    let told = async {
        while let Some(Ok(bytes)) = body.next().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = gone => {}
        () = told => {}
    }
}
