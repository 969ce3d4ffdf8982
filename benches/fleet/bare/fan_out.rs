//! The limit of telling many: a loop that holds sockets and writes one frame to each of them.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use crate::Anything;

/// As long as a frame of ours about a notification, with the count behind it.
const FILLER: usize = 620;

/// Serves whoever connects to `port`, and tells all of them when a number comes in on `control`.
pub async fn run(port: u16, control: u16) -> Anything<()> {
    let (told, _) = broadcast::channel::<Arc<[u8]>>(16);
    let (clients, control) =
        (TcpListener::bind(("127.0.0.1", port)).await?, TcpListener::bind(("127.0.0.1", control)).await?);
    let tell = told.clone();
    tokio::spawn(async move {
        let (mut socket, _) = control.accept().await?;
        loop {
            let number = socket.read_u64().await?;
            let filler = "x".repeat(FILLER);
            let frame = format!(
                "event: notification\nid: {number}\ndata: {{\"title\":\"n{number}.\",\"body\":\"{filler}\"}}\n\n"
            );
            if tell.send(frame.into_bytes().into()).is_err() {
                return Ok::<(), std::io::Error>(());
            }
        }
    });
    loop {
        let (mut socket, _) = clients.accept().await?;
        socket.set_nodelay(true)?;
        let mut heard = told.subscribe();
        tokio::spawn(async move {
            let mut request = [0; 512];
            if socket.read(&mut request).await.is_err() {
                return;
            }
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: connected\n\n";
            if socket.write_all(head).await.is_err() {
                return;
            }
            while let Ok(frame) = heard.recv().await {
                if socket.write_all(&frame).await.is_err() {
                    return;
                }
            }
        });
    }
}
