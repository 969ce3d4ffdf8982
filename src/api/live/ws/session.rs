//! One WebSocket from its beginning to its close.

use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error as WsError;

use super::client::{Asked, BYTES_MAX, Manners, Topic, parse};
use super::topics::{Said, Topics};
use crate::api::live::place;
use crate::live::feed::{Feed, Frames};
use crate::live::follower::SLOW_AFTER;
use crate::live::frame::{Answer, CutReason, Frame, FrameName};
use crate::metrics::StreamEnd;
use crate::store::inbox::Owner;

/// RFC 6455, section 11.7: the service restarts.
const RESTART: u16 = 1012;
const REVOKED: u16 = 4401;
const SLOW: u16 = 4408;
const REVOKED_REASON: &str = "the token was revoked, or may no more";
const SLOW_REASON: &str = "slow: take frames, and resume";
/// How long the client may take to answer the close.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// How a session ends.
enum End {
    /// The connection is gone.
    Gone,
    /// The client closes it.
    Closed,
    /// This side closes it.
    Close(u16, &'static str),
    /// And it is the client's fault.
    Fault(u16, &'static str),
    /// Nobody is there to be told.
    Silent,
}

pub async fn run(mut socket: WebSocket, mut feed: Feed, mut topics: Topics) {
    let end = talk(&mut socket, &mut feed, &mut topics).await;
    let (code, reason) = match end {
        End::Gone => return,
        End::Closed => return until_gone(&mut socket).await,
        End::Silent => return feed.blame(StreamEnd::Silent),
        End::Close(code, reason) => {
            match code {
                SLOW => feed.blame(StreamEnd::Slow),
                REVOKED => feed.blame(StreamEnd::Revoked),
                _ => {}
            }
            (code, reason)
        }
        End::Fault(code, reason) => {
            feed.blame(StreamEnd::Abuse);
            (code, reason)
        }
    };
    drop((feed, topics));
    let frame = CloseFrame { code, reason: reason.into() };
    let sent = tokio::time::timeout(CLOSE_MAX, socket.send(Message::Close(Some(frame))));
    if matches!(sent.await, Ok(Ok(()))) {
        until_gone(&mut socket).await;
    }
}

/// The close that either side sent is answered by the library, or by the client.
async fn until_gone(socket: &mut WebSocket) {
    let gone = async { while let Some(Ok(_)) = socket.recv().await {} };
    if tokio::time::timeout(CLOSE_MAX, gone).await.is_err() {
        tracing::debug!("a client did not end its WebSocket");
    }
}

async fn talk(socket: &mut WebSocket, feed: &mut Feed, topics: &mut Topics) -> End {
    let mut manners = Manners::default();
    let mut end = End::Gone;
    loop {
        tokio::select! {
            frames = feed.next() => {
                let Some(frames) = frames else { return end };
                let last = frames.last().map(|sent| sent.frame.clone());
                if let Err(end) = send(socket, feed.owner(), frames, &mut manners).await {
                    if matches!(end, End::Close(SLOW, _)) {
                        feed.cut_slow();
                    }
                    return end;
                }
                match last {
                    Some(Frame::ServerShutdown) => end = End::Close(RESTART, "the server stops: come again"),
                    Some(Frame::Cut(CutReason::Revoked)) => end = End::Close(REVOKED, REVOKED_REASON),
                    Some(Frame::Cut(CutReason::Slow)) => end = End::Close(SLOW, SLOW_REASON),
                    Some(Frame::Connected | Frame::Change(_) | Frame::UnreadCount(_) | Frame::Gap | Frame::Heartbeat)
                    | None => {}
                }
            }
            said = topics.next() => {
                if let Err(end) = Box::pin(tell(socket, said, here(feed))).await {
                    return end;
                }
            }
            message = socket.recv() => {
                let Some(message) = message else { return End::Gone };
                if let Err(end) = Box::pin(hear(socket, feed, topics, message, &mut manners)).await {
                    return end;
                }
            }
        }
    }
}

async fn send(
    socket: &mut WebSocket,
    owner: &Owner,
    frames: Frames,
    manners: &mut Manners,
) -> Result<(), End> {
    for sent in frames {
        let message = match sent.ws(owner) {
            Some(text) => Message::Text(text.into()),
            None if manners.is_asked() => Message::Ping(bytes::Bytes::new()),
            None => return Err(End::Silent),
        };
        taken(socket.feed(message)).await?;
    }
    taken(socket.flush()).await
}

/// What was subscribed to, with the place in the inbox, which every frame has.
async fn tell(socket: &mut WebSocket, said: Vec<Said>, here: String) -> Result<(), End> {
    for said in said {
        let (head, end) = match said {
            Said::Frame(head) => (head, None),
            Said::Ended(StreamEnd::Slow) => (cut(CutReason::Slow), Some(End::Close(SLOW, SLOW_REASON))),
            Said::Ended(StreamEnd::Revoked) => {
                (cut(CutReason::Revoked), Some(End::Close(REVOKED, REVOKED_REASON)))
            }
            // That the process stops is told with the inbox.
            Said::Ended(StreamEnd::Client | StreamEnd::Shutdown | StreamEnd::Silent | StreamEnd::Abuse) => {
                continue;
            }
        };
        let text = format!("{head},\"id\":\"{here}\"}}");
        taken(socket.feed(Message::Text(text.into()))).await?;
        if let Some(end) = end {
            return Err(end);
        }
    }
    taken(socket.flush()).await
}

fn cut(reason: CutReason) -> String {
    format!("{{\"type\":\"{}\",\"reason\":\"{reason}\"", FrameName::Cut)
}

fn here(feed: &Feed) -> String {
    feed.here().text(feed.owner().recipient.is_everybody())
}

/// Each message has its time: a client that takes many slowly is none that takes nothing.
async fn taken(sending: impl Future<Output = Result<(), axum::Error>>) -> Result<(), End> {
    match tokio::time::timeout(SLOW_AFTER, sending).await {
        Ok(sent) => sent.map_err(|_| End::Gone),
        Err(_) => Err(End::Close(SLOW, SLOW_REASON)),
    }
}

async fn hear(
    socket: &mut WebSocket,
    feed: &mut Feed,
    topics: &mut Topics,
    message: Result<Message, axum::Error>,
    manners: &mut Manners,
) -> Result<(), End> {
    let text = match message.map_err(broken)? {
        Message::Close(_) => return Err(End::Closed),
        Message::Pong(_) if manners.answers(Instant::now()) => return Ok(()),
        // It is answered by the library.
        Message::Ping(_) if manners.says(Instant::now()) => return Ok(()),
        Message::Text(text) if text.len() > BYTES_MAX => return Err(too_large()),
        Message::Binary(bytes) if bytes.len() > BYTES_MAX => return Err(too_large()),
        Message::Text(text) if manners.says(Instant::now()) => Some(text),
        Message::Binary(_) if manners.says(Instant::now()) => None,
        Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {
            return Err(End::Fault(close_code::POLICY, "at most 20 messages in 10 seconds"));
        }
    };
    let answer = match text.as_deref().map(parse) {
        Some(Ok(asked)) => act(feed, topics, asked).await?,
        Some(Err(detail)) => Some(error(&detail)),
        None => Some(error("messages are texts, no bytes")),
    };
    let Some(mut answer) = answer else { return Ok(()) };
    answer["id"] = here(feed).into();
    taken(socket.send(Message::Text(answer.to_string().into()))).await
}

fn error(detail: &str) -> Value {
    json!({ "type": Answer::Error, "detail": detail })
}

async fn act(feed: &mut Feed, topics: &mut Topics, asked: Asked) -> Result<Option<Value>, End> {
    match asked {
        Asked::Ping => Ok(Some(json!({ "type": Answer::Pong }))),
        Asked::Subscribe(topic, query, after) => {
            if !feed.may_go_on().await {
                return Err(End::Close(REVOKED, REVOKED_REASON));
            }
            Ok(topics
                .subscribe(topic, query, after)
                .await
                .unwrap_or_else(|problem| Some(error(&problem.detail))))
        }
        Asked::Unsubscribe(Topic::Notifications) => {
            Ok(Some(error("the inbox is what this connection is for: close it")))
        }
        Asked::Unsubscribe(topic) if topics.unsubscribe(topic) => {
            Ok(Some(json!({ "type": Answer::Unsubscribed, "topic": topic })))
        }
        Asked::Unsubscribe(topic) => Ok(Some(error(&format!("{topic} is not subscribed to")))),
        Asked::Resume(after) => {
            let after = match place(&after, feed.owner(), "after") {
                Ok(after) => after,
                Err(problem) => return Ok(Some(error(&problem.detail))),
            };
            if !feed.may_go_on().await {
                return Err(End::Close(REVOKED, REVOKED_REASON));
            }
            match feed.resume(after).await {
                Ok(()) => Ok(None),
                Err(_) => Ok(Some(error("the database does not answer at the moment: resume again later"))),
            }
        }
    }
}

fn too_large() -> End {
    End::Fault(close_code::SIZE, "a message has at most 4 KiB")
}

/// What came is no message.
fn broken(error: axum::Error) -> End {
    let Ok(error) = error.into_inner().downcast::<WsError>() else { return End::Gone };
    if matches!(*error, WsError::Capacity(_)) {
        too_large()
    } else if matches!(*error, WsError::Utf8(_)) {
        End::Fault(close_code::INVALID, "a text is UTF-8")
    } else if matches!(*error, WsError::Protocol(_)) {
        End::Fault(close_code::PROTOCOL, "this is no WebSocket")
    } else {
        End::Gone
    }
}
