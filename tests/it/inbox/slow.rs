//! Clients that take nothing of what an inbox tells them: they are cut, counted, and lose nothing when they come again.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::live::{STREAM, fleet, follow, holds, place};
use crate::support::api::{Api, get_text};
use crate::support::bugle::{ADMIN_TOKEN, Bugle};
use crate::support::database::Database;
use crate::support::wire::Wire;
use crate::support::{LATER, SOON, ensure, eventually};

/// More than the kernel holds for a connection whose other end has a small buffer.
const MANY: u64 = 1_200;
const LONG: usize = 9_000;
const SMALL: u32 = 4_096;

/// Asks for a stream, hears that it is there, and then nothing more.
async fn deaf(api: &Api, path: &str, more: &str, there: &str) -> (TcpStream, String) {
    let address: std::net::SocketAddr = api.base.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SMALL).unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    let head =
        format!("GET {path}?recipient=ann&token={ADMIN_TOKEN} HTTP/1.1\r\nHost: {address}\r\n{more}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let (mut heard, mut bytes) = (Vec::new(), [0; 512]);
    while !String::from_utf8_lossy(&heard).contains(there) {
        let count = tokio::time::timeout(LATER, socket.read(&mut bytes)).await.unwrap().unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&bytes[..count]);
    }
    (socket, String::from_utf8_lossy(&heard).into_owned())
}

async fn say_much(bugle: &Bugle, wire: &Wire) {
    let long = "x".repeat(LONG);
    for number in 0..MANY {
        let data = json!({ "to": "ann", "metadata": { "number": number, "long": long } });
        wire.event("in:box", &format!("long-{number}"), &data).await;
    }
    holds(bugle, "ann", MANY).await;
}

async fn is_cut_as_slow(bugle: &Bugle) {
    eventually("it is cut", LATER, async || {
        let metrics = get_text(&format!("{}/metrics", bugle.api().base)).await.1;
        ensure(
            metrics.contains("bugle_streams_ended_total{stream=\"inbox\",reason=\"slow\"} 1"),
            "it is not".to_owned(),
        )
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_cut_and_resumes_without_gap_or_repeat() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    let (mut socket, mut told) = deaf(&bugle.api(), STREAM, "", "connected").await;
    say_much(&bugle, &wire).await;
    is_cut_as_slow(&bugle).await;
    // What was on its way still comes, and then the end.
    let mut rest = Vec::new();
    if let Err(error) = tokio::time::timeout(LATER, socket.read_to_end(&mut rest)).await.unwrap() {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    told.push_str(&String::from_utf8_lossy(&rest));
    let whole = told.split("\n\n").filter(|frame| frame.contains("event: notification\n"));
    let ids: Vec<&str> = whole.filter_map(|frame| frame.split_once("id: ")?.1.split('\n').next()).collect();
    // The last one may have been cut in the middle.
    let ids = &ids[..ids.len().saturating_sub(1)];
    let mut seen: Vec<u64> = ids.iter().map(|id| place(id).0).collect();
    assert!((seen.len() as u64) < MANY, "it was cut");
    let mut stream = follow(&bugle.api(), "ann", Some(ids.last().unwrap_or(&"0.0"))).await;
    while (seen.len() as u64) < MANY {
        let sent = stream.next(SOON).await.expect("the stream goes on");
        if sent.event == "notification" {
            seen.push(place(&sent.id).0);
        }
    }
    assert_eq!(seen, (1..=MANY).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_websocket_that_is_not_read_is_closed_as_slow() {
    let (bugle, wire) = fleet(Database::sqlite()).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (socket, _) = deaf(&bugle.api(), "/v1/notifications/ws", upgrade, "connected").await;
    say_much(&bugle, &wire).await;
    is_cut_as_slow(&bugle).await;
    drop(socket);
}
