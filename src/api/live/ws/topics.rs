//! What a WebSocket tells beside its inbox when it is asked: events and deliveries, as their streams of server-sent events do.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use serde_json::{Value, json};

use super::client::Topic;
use crate::api::Shared;
use crate::api::auth::Principal;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::stream::deliveries::{self, Outcomes};
use crate::api::stream::events::{self, Events};
use crate::api::stream::feed::{self, CONNECTED};
use crate::api::stream::frames::{Frame, Frames};
use crate::live::frame::Answer;
use crate::metrics::{StreamEnd, Transport};

/// Of one topic, told at once: one that says much keeps no other waiting.
const BATCH_MAX: usize = 32;

/// The topics that one client has subscribed to. Each is one at most: another subscription takes its place.
pub struct Topics {
    api: Shared,
    principal: Arc<Principal>,
    open: Vec<(Topic, Frames)>,
}

/// What there is of a topic.
pub enum Said {
    /// A JSON object, whose end the caller writes behind an id.
    Frame(String),
    Ended(StreamEnd),
}

impl Topics {
    pub const fn new(api: Shared, principal: Arc<Principal>) -> Self {
        Self { api, principal, open: Vec::new() }
    }

    /// Follows a topic behind `after`, or from now on. The answer comes as its first frame; None for what is told from the start.
    ///
    /// # Errors
    /// For a filter that is none, for what the token may not see, and when the broker does not answer.
    pub async fn subscribe(
        &mut self,
        topic: Topic,
        query: Query,
        after: Option<u64>,
    ) -> Result<Option<Value>, Problem> {
        let (api, principal) = (self.api.clone(), &self.principal);
        let frames = match topic {
            Topic::Notifications => {
                query.only(&[]).map_err(|_| {
                    Problem::invalid(
                        "the topic notifications takes no filters: it is this connection's inbox",
                    )
                })?;
                return Ok(Some(json!({ "type": Answer::Subscribed, "topic": topic })));
            }
            Topic::Events => {
                let view = Events::wanted(principal, &query.only(&with_workspace(&events::FILTERS))?)?;
                feed::open(api, principal, view, after, Transport::Ws).await?
            }
            Topic::Deliveries => {
                let view = Outcomes::wanted(principal, &query.only(&with_workspace(&deliveries::FILTERS))?)?;
                feed::open(api, principal, view, after, Transport::Ws).await?
            }
        };
        self.unsubscribe(topic);
        self.open.push((topic, frames));
        Ok(None)
    }

    /// False when it was not subscribed to.
    pub fn unsubscribe(&mut self, topic: Topic) -> bool {
        let before = self.open.len();
        self.open.retain(|(open, _)| *open != topic);
        self.open.len() < before
    }

    /// What comes of any of them; it does not end while there is none.
    pub fn next(&mut self) -> impl Future<Output = Vec<Said>> + Send {
        poll_fn(|context| self.poll_said(context))
    }

    fn poll_said(&mut self, context: &mut Context<'_>) -> Poll<Vec<Said>> {
        let mut said = Vec::new();
        self.open.retain_mut(|(topic, frames)| {
            let full = said.len() + BATCH_MAX;
            while said.len() < full
                && let Poll::Ready(frame) = Pin::new(&mut *frames).poll_next(context)
            {
                if let Some(end) = frames.ended() {
                    said.push(Said::Ended(end));
                    return false;
                }
                let Some(frame) = frame else { return false };
                said.push(Said::Frame(begun(*topic, &frame)));
            }
            true
        });
        if said.is_empty() { Poll::Pending } else { Poll::Ready(said) }
    }
}

fn with_workspace<'a>(filters: &[&'a str]) -> Vec<&'a str> {
    [&["workspace"], filters].concat()
}

/// A frame as a JSON object without its end.
fn begun(topic: Topic, frame: &Frame) -> String {
    let seq = frame.id.map(|seq| format!(",\"seq\":{seq}")).unwrap_or_default();
    if frame.name == CONNECTED {
        return format!("{{\"type\":\"{}\",\"topic\":\"{topic}\"{seq}", Answer::Subscribed);
    }
    match frame.name {
        // Each has its content in a field of its name.
        name @ (feed::EVENT | feed::OUTCOME) => {
            format!("{{\"type\":\"{name}\"{seq},\"{name}\":{}", frame.data)
        }
        other => format!("{{\"type\":\"{other}\",\"topic\":\"{topic}\""),
    }
}
