//! A letter as the bytes that a mail server takes: text and HTML as alternatives, files beside them. ASCII throughout.

use std::time::SystemTime;

use jiff::Timestamp;
use lettre::Message;
use lettre::message::header::{ContentDisposition, ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, MultiPart, SinglePart};

use super::Envelope;
use super::letter::{File, Letter};
use crate::channel::{Failure, SendError};
use crate::outcome::Reason;

/// # Errors
/// When the library refuses what it was given, which is a fault of ours.
pub(super) fn message(letter: &Letter, envelope: &Envelope<'_>, at: Timestamp) -> Result<Vec<u8>, SendError> {
    let mut builder = Message::builder()
        .from(envelope.from.clone())
        .date(SystemTime::from(at))
        .message_id(Some(letter.id.clone()))
        .subject(letter.subject.clone());
    for to in envelope.to {
        builder = builder.to(to.clone());
    }
    if let Some(reply_to) = envelope.reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    for (name, value) in &letter.headers {
        builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value.clone()));
    }
    let said = MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone());
    let whole = if letter.files.is_empty() {
        said
    } else {
        letter.files.iter().fold(MultiPart::mixed().multipart(said), |whole, file| whole.singlepart(part(file)))
    };
    let built = builder.multipart(whole).map_err(|_| {
        SendError::Ours(Failure::new(Reason::Internal, "the message could not be written"))
    })?;
    Ok(built.formatted())
}

/// In base 64 always: a text file's line ends stay as they are.
fn part(file: &File) -> SinglePart {
    let binary = ContentType::parse("application/octet-stream").ok();
    let media_type = ContentType::parse(&file.media_type).ok().or(binary).unwrap_or(ContentType::TEXT_PLAIN);
    let builder = SinglePart::builder()
        .header(media_type)
        .header(ContentDisposition::attachment(&file.name));
    match Body::new_with_encoding(file.bytes.clone(), ContentTransferEncoding::Base64) {
        Ok(body) => builder.body(body),
        Err(bytes) => builder.body(bytes),
    }
}
