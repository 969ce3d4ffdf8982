//! The requests for a message, as Telegram reads them. Sources: <https://core.telegram.org/bots/api#sendmessage>,
//! <https://core.telegram.org/bots/api#editmessagetext>.

use serde::Serialize;

use super::message::{Button, Message};
use crate::channel::id::Id;

pub(super) fn content(message: &Message) -> Content<'_> {
    let keyboard = Keyboard { inline_keyboard: message.buttons.iter().map(std::slice::from_ref).collect() };
    Content {
        text: &message.text,
        parse_mode: "HTML",
        link_preview_options: LinkPreviewOptions { is_disabled: true },
        reply_markup: (!message.buttons.is_empty()).then_some(keyboard),
    }
}

#[derive(Serialize)]
pub(super) struct SendMessage<'a> {
    pub chat_id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_thread_id: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disable_notification: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_parameters: Option<Reply>,
    #[serde(flatten)]
    pub content: Content<'a>,
}

/// To a message that may be gone.
#[derive(Serialize)]
pub(super) struct Reply {
    message_id: i64,
    allow_sending_without_reply: bool,
}

impl Reply {
    pub fn to(message_id: i64) -> Self {
        Self { message_id, allow_sending_without_reply: true }
    }
}

#[derive(Serialize)]
pub(super) struct EditMessage<'a> {
    pub chat_id: &'a Id,
    pub message_id: i64,
    /// An edit without a keyboard takes the old one away.
    #[serde(flatten)]
    pub content: Content<'a>,
}

#[derive(Serialize)]
pub(super) struct Content<'a> {
    text: &'a str,
    parse_mode: &'static str,
    link_preview_options: LinkPreviewOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_markup: Option<Keyboard<'a>>,
}

#[derive(Serialize)]
struct LinkPreviewOptions {
    is_disabled: bool,
}

/// One button a row: labels are whole sentences.
#[derive(Serialize)]
struct Keyboard<'a> {
    inline_keyboard: Vec<&'a [Button]>,
}
