//! What it takes to replace or to answer a message: where it is, and which delivery spoke last.

use std::fmt;

use crate::ids::DeliveryId;

/// `C123:1712345.000100`, and behind a space the last answer in its thread: `d_…:1712346.000200`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle {
    /// As Slack answered it: for a user's id it is that of the direct message.
    pub(super) channel: String,
    pub(super) ts: String,
    /// A repeat of this delivery replaces what it said instead of saying it twice.
    pub(super) last: Option<(String, String)>,
}

impl Handle {
    pub(super) fn new(channel: &str, ts: &str) -> Self {
        Self { channel: channel.to_owned(), ts: ts.to_owned(), last: None }
    }

    pub(super) fn said_last(self, delivery: &DeliveryId, ts: &str) -> Self {
        Self { last: Some((delivery.to_string(), ts.to_owned())), ..self }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once(' ').map_or((text, None), |(first, last)| (first, Some(last)));
        let (channel, ts) = first.split_once(':')?;
        let last = last.and_then(|last| last.split_once(':'));
        let last = last.map(|(delivery, ts)| (delivery.to_owned(), ts.to_owned()));
        Some(Self { last, ..Self::new(channel, ts) })
    }

    /// The message that this delivery posted last, if it did.
    pub(super) fn said_by(&self, delivery: &DeliveryId) -> Option<&str> {
        let (by, ts) = self.last.as_ref()?;
        (by == delivery.as_str()).then_some(ts.as_str())
    }

    /// False when the channel's document names another place by now: what is there stays as it is.
    pub(super) fn is_in(&self, configured: &str) -> bool {
        self.channel == configured
            || (configured.starts_with(['U', 'W']) && self.channel.starts_with('D'))
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.channel, self.ts)?;
        self.last.as_ref().map_or(Ok(()), |(delivery, ts)| write!(f, " {delivery}:{ts}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_read_as_it_was_written() {
        let id = DeliveryId::parse("d_bivfuvuqt5zrxmfsw4jhrdbp").unwrap();
        let first = Handle::new("C1", "171.1");
        let second = first.clone().said_last(&id, "171.2");
        for (handle, text) in [(&first, "C1:171.1"), (&second, "C1:171.1 d_bivfuvuqt5zrxmfsw4jhrdbp:171.2")] {
            assert_eq!(handle.to_string(), text);
            assert_eq!(Handle::parse(text).as_ref(), Some(handle));
        }
        assert_eq!(second.said_by(&id), Some("171.2"));
        assert_eq!(first.said_by(&id), None);
        assert_eq!(Handle::parse("no handle"), None);
    }

    #[test]
    fn a_message_in_another_channel_is_left_alone() {
        assert!(Handle::new("C1", "1").is_in("C1"));
        assert!(!Handle::new("C1", "1").is_in("C2"));
        assert!(Handle::new("D9", "1").is_in("U1"), "a user's id is answered with that of the direct message");
    }
}
