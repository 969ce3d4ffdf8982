//! A bot's calls of the Web API, and which of them a try is made of.
//!
//! Tokens go into a header and nowhere else. A method's arguments are JSON; `files.getUploadURLExternal` alone takes a form.

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::answer::{self, Posted};
use super::handle::Handle;
use super::{API_BASE, Updates, files, message};
use crate::channel::http::{Answer, HttpClient, rebase};
use crate::channel::{Failure, Receipt, SendError, Try};
use crate::outcome::Reason;
use crate::rule::fault::Fault;

/// Without it Slack warns in every answer.
const JSON_UTF8: &str = "application/json; charset=utf-8";
const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Debug)]
pub(super) struct Bot {
    base: Url,
    /// Marked as sensitive: it does not print.
    authorization: HeaderValue,
    channel: String,
    pub(super) updates: Updates,
    reply_broadcast: bool,
}

/// One call: the method and what it is told.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

impl<'a> Call<'a> {
    pub(super) fn json(method: &'a str, body: &Value) -> Self {
        Self { method, content_type: JSON_UTF8, body: Bytes::from(body.to_string()) }
    }

    pub(super) fn form(method: &'a str, body: String) -> Self {
        Self { method, content_type: FORM, body: Bytes::from(body) }
    }
}

impl Bot {
    /// # Errors
    /// When the token or the base cannot be used.
    pub(super) fn new(token: &str, base: Option<&Url>) -> Result<Self, Fault> {
        let illegal = || Fault::new("/botToken", "is not a token: visible characters without spaces");
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(illegal());
        }
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| illegal())?;
        authorization.set_sensitive(true);
        let slack = || Url::parse(API_BASE).map_err(|_| Fault::new("/apiBase", "is not an absolute URL"));
        let base = base.map_or_else(slack, |base| Ok(base.clone()))?;
        let (updates, reply_broadcast) = (Updates::default(), false);
        Ok(Self { base, authorization, channel: String::new(), updates, reply_broadcast })
    }

    /// # Errors
    /// When it is no id: names change, and what is edited is only found by its id.
    pub(super) fn posting(self, channel: &str, updates: Updates) -> Result<Self, Fault> {
        let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        if !channel.starts_with(['C', 'G', 'D', 'U', 'W']) || !channel.bytes().all(legal) {
            let message = "is not an id like C0123456789: open the channel's details in Slack, it is at their end";
            return Err(Fault::new("/channelId", message));
        }
        Ok(Self { channel: channel.to_owned(), updates, ..self })
    }

    pub(super) fn broadcasting(self, reply_broadcast: bool) -> Self {
        Self { reply_broadcast, ..self }
    }

    pub(super) async fn call(
        &self,
        http: &HttpClient,
        call: Call<'_>,
        at: Timestamp,
    ) -> Result<Answer, SendError> {
        let mut url = self.base.clone();
        url.set_path(&format!("/api/{}", call.method));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(call.content_type));
        headers.insert(AUTHORIZATION, self.authorization.clone());
        http.post(&rebase(&url, &self.base), headers, call.body, at).await
    }

    pub(super) async fn test(&self, http: &HttpClient, at: Timestamp) -> Result<(), SendError> {
        let answer = self.call(http, Call::json("auth.test", &json!({})), at).await?;
        answer::of_api::<Value>(&answer).map(drop)
    }

    pub(super) async fn send(&self, http: &HttpClient, attempt: Try<'_>) -> Result<Receipt, SendError> {
        let deadline = Instant::now() + http.timeout();
        let (delivery, at) = (attempt.delivery, attempt.at);
        let message = message::message(delivery, &files::links(delivery));
        let earlier = attempt.earlier.and_then(Handle::parse).filter(|handle| handle.is_in(&self.channel));
        let said = match &earlier {
            None => None,
            Some(handle) => self.say_more(http, &message, handle, attempt).await?,
        };
        let (posted, handle) = match said {
            Some(said) => said,
            None => self.say_first(http, &message, attempt).await?,
        };
        let note = match &handle {
            Some(handle) => files::upload(self, http, (delivery, handle, at), deadline).await,
            None => None,
        };
        Ok(Receipt {
            provider_id: posted.ts,
            code: Some(posted.status),
            handle: handle.map(|handle| handle.to_string()),
            note,
            tally: None,
        })
    }

    /// As a message of its own.
    async fn say_first(
        &self,
        http: &HttpClient,
        message: &Value,
        attempt: Try<'_>,
    ) -> Result<(Posted, Option<Handle>), SendError> {
        let answer = self.call(http, self.post(message, None), attempt.at).await?;
        let posted = answer::posted(&answer)?;
        let handle = posted.channel.as_deref().zip(posted.ts.as_deref());
        let handle = handle.map(|(channel, ts)| match self.updates {
            Updates::Edit => Handle::new(channel, ts),
            Updates::Thread => Handle::new(channel, ts).said_last(&attempt.delivery.id, ts),
        });
        Ok((posted, handle))
    }

    /// In the place of what was said before, or below it. None: that is gone.
    async fn say_more(
        &self,
        http: &HttpClient,
        message: &Value,
        handle: &Handle,
        attempt: Try<'_>,
    ) -> Result<Option<(Posted, Option<Handle>)>, SendError> {
        let replaced = match self.updates {
            Updates::Edit => Some(handle.ts.as_str()),
            Updates::Thread => handle.said_by(&attempt.delivery.id),
        };
        if let Some(ts) = replaced {
            let mut arguments = message.clone();
            arguments["channel"] = handle.channel.as_str().into();
            arguments["ts"] = ts.into();
            // Another default than in chat.postMessage.
            arguments["parse"] = "none".into();
            let answer = self.call(http, Call::json("chat.update", &arguments), attempt.at).await?;
            if !answer::is_out_of_reach(&answer) {
                return Ok(Some((answer::posted(&answer)?, Some(handle.clone()))));
            }
        }
        if self.updates == Updates::Edit || replaced == Some(handle.ts.as_str()) {
            return Ok(None);
        }
        let answer = self.call(http, self.post(message, Some(&handle.ts)), attempt.at).await?;
        if answer::is_out_of_reach(&answer) {
            return Ok(None);
        }
        let posted = answer::posted(&answer)?;
        let ts = posted.ts.as_deref().unwrap_or_default();
        let handle = handle.clone().said_last(&attempt.delivery.id, ts);
        Ok(Some((posted, Some(handle))))
    }

    fn post(&self, message: &Value, thread: Option<&str>) -> Call<'static> {
        let mut arguments = message.clone();
        arguments["channel"] = self.channel.as_str().into();
        // A page that is linked is not shown as well: it would push away what is said about it.
        arguments["unfurl_links"] = false.into();
        arguments["unfurl_media"] = false.into();
        if let Some(thread) = thread {
            arguments["thread_ts"] = thread.into();
            arguments["reply_broadcast"] = self.reply_broadcast.into();
        }
        Call::json("chat.postMessage", &arguments)
    }
}

/// What no library of ours can fail at, and would be our bug.
pub(super) fn unreadable(status: u16) -> SendError {
    let failure = Failure::new(Reason::ProviderError, "answered what cannot be read").code(status);
    SendError::Transient { failure, retry_after: None }
}
