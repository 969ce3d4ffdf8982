//! Telegram by the Bot API: one message in HTML with its buttons to one chat, and files as answers to it.
//!
//! `ok: false` counts under every status. Once the message is out nothing that follows it may fail the try: it would be sent
//! again. A group that became a supergroup is followed at once and remembered while this process lives; Telegram answers
//! with the new id for ever. Source: <https://core.telegram.org/bots/api>.

mod api;
mod chats;
mod files;
mod message;
mod wire;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::id::Id;
use super::secret::Redacted;
use super::{Adapter, Channel, Failure, Limit, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::Delivery;
use crate::event::Severity;
use crate::ids::digest;
use crate::outcome::Reason;
use crate::rule::fault::Fault;
use api::{Bot, Verdict};
pub use chats::Chat;
use files::File;
use message::{Button, Message};
use wire::{EditMessage, Reply, SendMessage, content};

/// Files may take so much longer than the time of a try; the worker lets go two seconds after it.
const FILES_GRACE: Duration = Duration::from_secs(1);

/// Groups that moved: a bot is in few of them.
const MOVED_MAX: usize = 1_000;

const MOVED_NOTE: &str =
    "the group has become a supergroup: its new id belongs into chatId (detect-chats shows it)";

/// <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>
const PER_BOT: (u32, Duration) = (30, Duration::from_secs(1));
const PER_CHAT: (u32, Duration) = (1, Duration::from_secs(1));
const PER_GROUP: (u32, Duration) = (20, Duration::from_secs(60));

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TelegramConfig {
    bot_token: Redacted<String>,
    /// A number, the same as text (from a variable), or `@name` of a public channel. None: each recipient's own chat.
    chat_id: Option<Id>,
    /// A topic of a forum.
    thread_id: Option<Id>,
    /// Of these severities messages come without a sound.
    #[serde(default = "quiet")]
    silent: Vec<Severity>,
    /// What becomes of an earlier message about the same thing: it is replaced (`edit`, the default), or answered (`thread`).
    #[serde(default)]
    updates: Updates,
    /// Takes the place of `https://api.telegram.org`.
    #[schemars(extend("x-address" = true))]
    api_base: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Updates {
    #[default]
    Edit,
    Thread,
}

fn quiet() -> Vec<Severity> {
    vec![Severity::Info]
}

#[derive(Debug)]
pub struct Telegram {
    bot: Bot,
    /// None: the recipient's.
    chat_id: Option<Id>,
    thread_id: Option<i64>,
    silent: Vec<Severity>,
    updates: Updates,
    /// Groups that became supergroups, with their new ids.
    moved: Mutex<BTreeMap<i64, i64>>,
}

impl Adapter for Telegram {
    type Config = TelegramConfig;

    fn show(delivery: &Delivery) -> Value {
        let Message { mut text, buttons } = message::message(delivery);
        for Button { text: label, url } in buttons {
            // Writing to a String cannot fail.
            write!(text, "\n[{label}] {url}").ok();
        }
        text.into()
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: TelegramConfig = settings::read(config)?;
        let bot = Bot::new(config.bot_token, config.api_base.as_deref(), workshop)?;
        let named = |name: &str| name.strip_prefix('@').is_some_and(|rest| !rest.is_empty());
        if matches!(&config.chat_id, Some(Id::Name(name)) if !named(name)) {
            return Err(Fault::new("/chatId".to_owned(), "is neither a number nor an @name".to_owned()));
        }
        let thread_id = match config.thread_id {
            Some(Id::Number(id)) => Some(id),
            Some(Id::Name(name)) if name.is_empty() => None,
            Some(Id::Name(_)) => {
                return Err(Fault::new("/threadId".to_owned(), "is not a number".to_owned()));
            }
            None => None,
        };
        let (chat_id, silent, updates) = (config.chat_id, config.silent, config.updates);
        Ok(Self { bot, chat_id, thread_id, silent, updates, moved: Mutex::default() })
    }

    fn probe<'a>(
        config: &'a Value,
        workshop: &'a Workshop,
        at: Timestamp,
    ) -> Option<BoxFuture<'a, Result<(), SendError>>> {
        settings::has(config, "botToken").then(|| Box::pin(Self::probe(config, workshop, at)) as BoxFuture<'_, _>)
    }
}

impl Channel for Telegram {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let call = self.call(attempt)?;
            let files = File::of(attempt.delivery);
            if files.is_empty() {
                return self.say(&call).await.map(|said| said.receipt);
            }
            let heard = OnceLock::new();
            let whole = async {
                let said = self.say(&call).await?;
                let mut receipt = heard.get_or_init(|| said.receipt.clone()).clone();
                receipt.note = joined(receipt.note, self.attach(&call, &said, &files).await);
                Ok(receipt)
            };
            let time = self.bot.http.timeout();
            match tokio::time::timeout(time + FILES_GRACE, whole).await {
                Ok(sent) => sent,
                Err(_) => match heard.into_inner() {
                    Some(receipt) => {
                        let late = "not all attachments could be sent in time".to_owned();
                        Ok(Receipt { note: joined(receipt.note.clone(), Some(late)), ..receipt })
                    }
                    None => Err(SendError::late(time)),
                },
            }
        })
    }

    fn replaces(&self) -> bool {
        self.updates == Updates::Edit
    }

    fn follows(&self) -> bool {
        self.updates == Updates::Thread
    }

    fn limits(&self, attempt: &Try<'_>) -> Vec<Limit> {
        let Ok(chat) = self.chat(attempt) else { return Vec::new() };
        let messages = u32::try_from(1 + File::of(attempt.delivery).len()).unwrap_or(u32::MAX);
        let limit = |what: &str, digest: String, (most, per): (u32, Duration)| Limit {
            of: format!("{what}.{digest}"),
            most,
            per,
            burst: most,
            cost: messages.min(most),
        };
        let token = self.bot.token.expose();
        let of_chat = digest(&[token, &chat.to_string()]);
        let mut limits = vec![
            limit("telegram-bot", digest(&[token]), PER_BOT),
            limit("telegram-chat", of_chat.clone(), PER_CHAT),
        ];
        if matches!(chat, Id::Name(_) | Id::Number(..0)) {
            limits.push(limit("telegram-group", of_chat, PER_GROUP));
        }
        limits
    }
}

/// One try, looked at: to whom, and what.
struct Call<'a> {
    attempt: Try<'a>,
    /// As configured, or the recipient's.
    chat: Id,
    /// The recipient's own chat: its id is nobody's business.
    is_private: bool,
    is_silent: bool,
    message: Message,
}

/// A message that is out.
struct Said {
    receipt: Receipt,
    /// Where it is.
    chat: Id,
    message_id: Option<i64>,
}

impl Telegram {
    fn chat(&self, attempt: &Try<'_>) -> Result<Id, SendError> {
        let recipients = attempt.to.and_then(|to| to.expose().parse().ok()).map(Id::Number);
        self.chat_id.clone().or(recipients).ok_or_else(|| {
            SendError::Ours(Failure::new(Reason::Misconfigured, "there is no chat to send it to"))
        })
    }

    fn call<'a>(&self, attempt: Try<'a>) -> Result<Call<'a>, SendError> {
        Ok(Call {
            chat: self.chat(&attempt)?,
            is_private: self.chat_id.is_none(),
            is_silent: self.silent.contains(&attempt.delivery.severity),
            message: message::message(attempt.delivery),
            attempt,
        })
    }

    /// Replaces what was said before, where it still can be; else says it anew.
    async fn say(&self, call: &Call<'_>) -> Result<Said, SendError> {
        let mut chat = self.where_now(&call.chat);
        let earlier = call.earlier(&chat);
        if let (Some(message_id), Updates::Edit) = (earlier, self.updates) {
            match self.edit(call, &chat, message_id).await? {
                Verdict::Accepted { status, .. } | Verdict::Unchanged { status } => {
                    return Ok(call.said(chat, Some(message_id), status));
                }
                Verdict::Moved(to) => chat = self.remember(&chat, to),
                Verdict::Lost => {}
            }
        }
        let mut answers = earlier.filter(|_| self.updates == Updates::Thread);
        let mut verdict = self.post(call, &chat, answers).await?;
        if let Verdict::Moved(to) = verdict {
            (chat, answers) = (self.remember(&chat, to), None);
            verdict = self.post(call, &chat, None).await?;
        }
        match verdict {
            Verdict::Accepted { message_id, status } => {
                let mut said = call.said(chat, message_id, status);
                // The first message is the one that further ones answer.
                if answers.is_some() {
                    said.receipt.handle = call.attempt.earlier.map(str::to_owned);
                }
                Ok(said)
            }
            Verdict::Moved(_) => Err(SendError::Permanent(
                Failure::new(Reason::Gone, "the group has a new chat id that leads nowhere").code(400),
            )),
            Verdict::Unchanged { .. } | Verdict::Lost => Err(SendError::Permanent(
                Failure::new(Reason::Rejected, "Telegram refused the message").code(400),
            )),
        }
    }

    async fn post(&self, call: &Call<'_>, chat: &Id, answers: Option<i64>) -> Result<Verdict, SendError> {
        let request = SendMessage {
            chat_id: chat,
            message_thread_id: self.thread_id,
            disable_notification: call.is_silent,
            reply_parameters: answers.map(Reply::to),
            content: content(&call.message),
        };
        self.bot.ask("sendMessage", &request, call.attempt.at, &[call.secret()]).await
    }

    async fn edit(&self, call: &Call<'_>, chat: &Id, message_id: i64) -> Result<Verdict, SendError> {
        let request = EditMessage { chat_id: chat, message_id, content: content(&call.message) };
        self.bot.ask("editMessageText", &request, call.attempt.at, &[call.secret()]).await
    }

    fn where_now(&self, chat: &Id) -> Id {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        match chat {
            Id::Number(number) => Id::Number(moved.get(number).copied().unwrap_or(*number)),
            Id::Name(_) => chat.clone(),
        }
    }

    fn remember(&self, chat: &Id, to: i64) -> Id {
        if let Id::Number(from) = chat {
            let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
            if moved.len() >= MOVED_MAX {
                moved.clear();
            }
            moved.insert(*from, to);
        }
        Id::Number(to)
    }

    /// Each file as an answer to the message. What did not go out is a note.
    async fn attach(&self, call: &Call<'_>, said: &Said, files: &[File<'_>]) -> Option<String> {
        let (mut failed, mut why) = (0, None);
        for file in files {
            let fields = files::Fields {
                chat: &said.chat,
                thread_id: self.thread_id,
                reply_to: said.message_id,
                is_silent: call.is_silent,
            };
            if let Err(error) = self.bot.upload(file, &fields, call.attempt.at, &[call.secret()]).await {
                failed += 1;
                why.get_or_insert(error.failure().detail.clone());
            }
        }
        why.map(|why| format!("{failed} of {} attachments did not go out: {why}", files.len()))
    }
}

impl Call<'_> {
    /// Of what is quoted of an answer nothing may hold it.
    fn secret(&self) -> &str {
        self.attempt.to.map_or("", |to| to.expose().as_str())
    }

    /// The earlier message, if it is in this chat.
    fn earlier(&self, chat: &Id) -> Option<i64> {
        let handle = self.attempt.earlier?;
        if self.is_private {
            return handle.parse().ok();
        }
        let (of, message_id) = handle.rsplit_once(':')?;
        (of == chat.to_string()).then(|| message_id.parse().ok())?
    }

    fn said(&self, chat: Id, message_id: Option<i64>, status: u16) -> Said {
        let handle = message_id.map(|id| if self.is_private { id.to_string() } else { format!("{chat}:{id}") });
        let receipt = Receipt {
            provider_id: message_id.map(|id| id.to_string()),
            code: Some(status),
            handle,
            note: (chat != self.chat).then(|| MOVED_NOTE.to_owned()),
            tally: None,
        };
        Said { receipt, chat, message_id }
    }
}

fn joined(one: Option<String>, other: Option<String>) -> Option<String> {
    let notes: Vec<String> = one.into_iter().chain(other).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

impl Telegram {
    /// Whether the bot of a connection or a channel (`botToken`, `apiBase`) can be used.
    ///
    /// # Errors
    /// Why not, without the token.
    pub async fn probe(config: &Value, workshop: &Workshop, at: Timestamp) -> Result<(), SendError> {
        chats::probe(&chats::bot(config, workshop)?, at).await
    }

    /// The chats that the bot has heard of lately, for whoever looks for a chat's id.
    ///
    /// # Errors
    /// Why there is no telling, in words for the one who asked; without the token.
    pub async fn detect_chats(
        config: &Value,
        workshop: &Workshop,
        at: Timestamp,
    ) -> Result<Vec<Chat>, SendError> {
        chats::detect(&chats::bot(config, workshop)?, at).await
    }
}

#[cfg(test)]
mod calls;
#[cfg(test)]
mod tests;
