//! What journeys through live inboxes are made of: a fleet whose events go into inboxes, marks, and readers of both wires.

use std::time::Duration;

use bugle::ids::{NotificationId, Recipient, WorkspaceId};
use bugle::store::Store;
use bugle::store::inbox::Owner;
use bugle::store::inbox::list::InboxFilter;
use bugle::store::inbox::mark::{Mark, Marked};
use data_encoding::BASE64URL_NOPAD;
use futures_util::{SinkExt, StreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::api::Api;
use crate::support::bugle::{Bugle, Role};
use crate::support::database::Database;
use crate::support::stream::{LiveStream, Sent};
use crate::support::wire::Wire;
use crate::support::{LATER, SOON};

pub const STREAM: &str = "/v1/notifications/stream";

/// A fleet in which `in:*` goes into the inboxes that the event names in `to`.
pub async fn fleet(database: Database) -> (Bugle, Wire) {
    let bugle = Bugle::on(crate::support::broker::NatsServer::shared().await, database);
    // More than one inbox usually keeps: clients that take nothing need much to be told of.
    bugle.set("INBOX__KEEP_PER_RECIPIENT", "5000");
    bugle.start_with(&documents()).await;
    let wire = bugle.wire().await;
    (bugle, wire)
}

pub fn documents() -> Value {
    let rule = json!({ "events": ["in:*"], "channels": ["in_app"], "recipients": ["{{to}}"] });
    let kept = crate::support::bugle::with(json!({ "id": "into-inboxes" }), &rule);
    let same = json!({ "id": "progress", "events": ["progress:*"], "channels": ["in_app"], "recipients": ["{{to}}"],
        "collapse": { "key": "{{task}}" } });
    let channel = json!({ "id": "in_app", "kind": "in_app", "config": {} });
    json!({ "channels": [channel], "rules": [kept, same] })
}

/// Puts a notification into an inbox; `number` tells it apart.
pub async fn put(wire: &Wire, to: &str, number: usize) {
    wire.event("in:box", &format!("{to}-{number}"), &json!({ "to": to, "number": number })).await;
}

/// Waits until an inbox has so many.
pub async fn holds(bugle: &Bugle, whose: &str, count: u64) {
    let store = Store::open(&bugle.database.url(), 1).unwrap();
    crate::support::eventually("the inbox has it", LATER, async || {
        let page = store
            .inbox(&owner(whose), &InboxFilter::default(), None, 1)
            .await
            .map_err(|error| error.to_string())?;
        crate::support::ensure(page.total >= count, format!("{} of {count}", page.total))
    })
    .await;
}

pub fn owner(recipient: &str) -> Owner {
    Owner { workspace: WorkspaceId::default(), recipient: Recipient::parse(recipient).unwrap() }
}

/// Marks a notification as an API process does: in the database, and then told.
pub async fn mark(bugle: &Bugle, wire: &Wire, whose: &str, id: &str, mark: Mark) -> Marked {
    let store = Store::open(&bugle.database.url(), 1).unwrap();
    let id = NotificationId::parse(id).unwrap();
    let marked = store.mark(&owner(whose), &[id], mark, Timestamp::now()).await.unwrap();
    if let Some(announcement) = &marked.announcement {
        let subject = wire.subject(&format!("live.default.{}", BASE64URL_NOPAD.encode(whose.as_bytes())));
        let client = wire.js.client();
        client.publish(subject, serde_json::to_vec(announcement).unwrap().into()).await.unwrap();
        client.flush().await.unwrap();
    }
    marked
}

/// A stream of somebody's inbox, behind its first frames.
pub async fn follow(api: &Api, whose: &str, after: Option<&str>) -> LiveStream {
    let mut stream = api.stream(&format!("{STREAM}?recipient={whose}"), after).await;
    let connected = next(&mut stream).await;
    assert_eq!(connected.event, "connected");
    assert_eq!(connected.json()["recipient"], whose);
    stream
}

pub async fn next(stream: &mut LiveStream) -> Sent {
    let sent = stream.next(SOON).await.expect("the stream goes on");
    assert!(!sent.id.is_empty(), "{sent:?}");
    sent
}

/// The next frame of this name; those of the count of unread ones are passed over.
pub async fn told(stream: &mut LiveStream, name: &str) -> Sent {
    loop {
        let sent = next(stream).await;
        if sent.event != "unread_count" || name == "unread_count" {
            assert_eq!(sent.event, name, "{sent:?}");
            return sent;
        }
    }
}

/// The next count of unread ones, when it says `count`.
pub async fn counts(stream: &mut LiveStream, count: u64) {
    loop {
        let sent = next(stream).await;
        if sent.event == "unread_count" {
            assert_eq!(sent.json()["count"], count, "{sent:?}");
            return;
        }
    }
}

/// The number that [`put`] gave it.
pub fn number(notification: &Value) -> usize {
    usize::try_from(notification["metadata"]["number"].as_u64().unwrap()).unwrap()
}

/// The two numbers of an id.
pub fn place(id: &str) -> (u64, u64) {
    let (own, everybody) = id.split_once('.').unwrap();
    (own.parse().unwrap(), everybody.parse().unwrap())
}

/// Another process of a role.
pub async fn another(bugle: &Bugle, role: Role) -> crate::support::bugle::Member {
    let mut member = bugle.spawn(role);
    member.until_ready(crate::support::LATER).await;
    member
}

pub struct WebSocket {
    pub socket: WebSocketStream<TcpStream>,
}

impl WebSocket {
    pub async fn open(api: &Api, query: &str) -> Self {
        let address = api.base.trim_start_matches("http://").to_owned();
        let mut request =
            format!("ws://{address}/v1/notifications/ws?{query}").into_client_request().unwrap();
        if !api.token.is_empty() {
            let value = format!("Bearer {}", api.token).parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        Self { socket }
    }

    pub async fn say(&mut self, message: &Value) {
        self.say_text(message.to_string()).await;
    }

    pub async fn say_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next text; None at the end. Pings are answered by the client.
    pub async fn next(&mut self, patience: Duration) -> Result<Value, Option<CloseFrame>> {
        loop {
            let message = tokio::time::timeout(patience, self.socket.next());
            match message.await.expect("the WebSocket says something in time") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                None | Some(Err(Error::ConnectionClosed)) => return Err(None),
                // The server let go before all was read.
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_))) => {
                    return Err(None);
                }
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    /// The next frame of this type; counts of unread ones are passed over.
    pub async fn told(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next(SOON).await.expect("the WebSocket goes on");
            if frame["type"] != "unread_count" || kind == "unread_count" {
                assert_eq!(frame["type"], kind, "{frame}");
                assert!(frame["id"].is_string(), "{frame}");
                return frame;
            }
        }
    }

    /// The code with which the server closes; frames before it are passed over.
    pub async fn closes(&mut self) -> u16 {
        loop {
            match self.next(SOON).await {
                Ok(_) => {}
                Err(frame) => return frame.map_or(1006, |frame| frame.code.into()),
            }
        }
    }
}
