//! What a mail server's reply means, by the command that it answers.
//!
//! | reply            | greeting, EHLO, STARTTLS | AUTH               | MAIL               | RCPT                   | DATA                |
//! |------------------|--------------------------|--------------------|--------------------|------------------------|---------------------|
//! | 4yz              | transient                | transient          | transient          | transient, `deferred`  | transient           |
//! | 4yz of a rate    | rate limited             | rate limited       | rate limited       | rate limited           | rate limited        |
//! | 530, 534, 535    | ours, `unauthorized`     | ours, `unauthorized` | ours, `unauthorized` | ours, `unauthorized` | ours, `unauthorized` |
//! | 552              | ours, `unauthorized`     | ours, `unauthorized` | permanent, `rejected` | permanent, `rejected` | permanent, `rejected` |
//! | 550, 551, 553    | ours, `unauthorized`     | ours, `unauthorized` | ours, `unauthorized` | permanent, `gone`      | permanent, `rejected` |
//! | 5yz              | ours, `unauthorized`     | ours, `unauthorized` | ours, `unauthorized` | permanent, `rejected`  | permanent, `rejected` |
//!
//! A rate at RCPT with x.2.z is the one mailbox's: transient. 421 and x.3.z at RCPT are the server's own trouble, not one mailbox's. At RCPT an enhanced code (RFC 3463) x.7.z, which is policy, makes it `unauthorized` instead of `gone`; x.1.z after DATA
//! makes it `gone`. Google's 5.4.5 and sending limits under 5yz ask for a pause. Of the text nothing is quoted: it holds addresses.

use std::time::Duration;

use crate::channel::{Failure, SendError};
use crate::outcome::Reason;

/// What the reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The greeting and EHLO.
    Hello,
    Starttls,
    Auth,
    Mail,
    Rcpt,
    /// The command, and the message behind it.
    Data,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "the greeting",
            Self::Starttls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
        }
    }
}

/// A limit of a day is not over in a minute.
const QUOTA_PAUSE: Duration = Duration::from_secs(3_600);

/// Words of providers for a rate, under 421, 450, 451, 452 and 454.
const RATE_WORDS: [&str; 6] =
    ["rate limit", "too many", "throttl", "sending rate", "messages per", "unusual rate"];
/// Under 5yz: used up for today.
const QUOTA_WORDS: [&str; 3] = ["sending limit", "sending quota", "daily quota"];

/// `text`: the reply's, behind the code.
pub(super) fn classify(stage: Stage, code: u16, text: &str) -> SendError {
    let enhanced = enhanced(text);
    let lower = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let shown = enhanced.map(|[class, subject, detail]| format!(" {class}.{subject}.{detail}"));
    let detail =
        format!("the mail server answered {code}{} to {}", shown.unwrap_or_default(), stage.as_str());
    let failure = |reason| Failure::new(reason, detail).code(code);
    let subject = enhanced.map(|[_, subject, _]| subject);
    if code < 500 {
        // One mailbox that gets too much is no reason to pause for all.
        let one = stage == Stage::Rcpt && subject == Some(2);
        return if says(&RATE_WORDS) && !one {
            SendError::RateLimited { failure: failure(Reason::RateLimited), retry_after: None }
        } else {
            // A greylisted mailbox, or a full one: others get theirs.
            let servers = stage != Stage::Rcpt || code == 421 || subject == Some(3);
            let reason = if servers { Reason::ProviderError } else { Reason::Deferred };
            SendError::Transient { failure: failure(reason), retry_after: None }
        };
    }
    if enhanced == Some([5, 4, 5]) || says(&QUOTA_WORDS) {
        let retry_after = Some(QUOTA_PAUSE);
        return SendError::RateLimited { failure: failure(Reason::RateLimited), retry_after };
    }
    match (stage, code) {
        (Stage::Hello | Stage::Starttls | Stage::Auth, _) | (_, 530 | 534 | 535) => {
            SendError::Ours(failure(Reason::Unauthorized))
        }
        (Stage::Mail | Stage::Rcpt | Stage::Data, 552) => SendError::Permanent(failure(Reason::Rejected)),
        (Stage::Mail, _) => SendError::Ours(failure(Reason::Unauthorized)),
        (Stage::Rcpt, _) if subject == Some(7) => SendError::Permanent(failure(Reason::Unauthorized)),
        (Stage::Rcpt, 550 | 551 | 553) => SendError::Permanent(failure(Reason::Gone)),
        (Stage::Rcpt | Stage::Data, _) if subject == Some(1) => SendError::Permanent(failure(Reason::Gone)),
        (Stage::Rcpt | Stage::Data, _) => SendError::Permanent(failure(Reason::Rejected)),
    }
}

/// `5.1.1` at the beginning: class, subject, detail. Numbers only, so that it can be shown.
fn enhanced(text: &str) -> Option<[u16; 3]> {
    let mut parts = text.split_whitespace().next()?.split('.').map(str::parse::<u16>);
    let code = [parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?];
    let [class, subject, detail] = code;
    (parts.next().is_none() && matches!(class, 4 | 5) && subject < 1_000 && detail < 1_000).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(stage: Stage, code: u16, text: &str) -> String {
        let error = classify(stage, code, text);
        assert_eq!(error.failure().code, Some(code));
        let reason = error.failure().reason;
        match error {
            SendError::Transient { .. } => format!("transient {reason}"),
            SendError::RateLimited { retry_after, .. } => format!("limited {retry_after:?}"),
            SendError::Permanent(_) => format!("permanent {reason}"),
            SendError::Ours(_) => format!("ours {reason}"),
        }
    }

    const STAGES: [Stage; 6] =
        [Stage::Hello, Stage::Starttls, Stage::Auth, Stage::Mail, Stage::Rcpt, Stage::Data];

    #[test]
    fn every_reply_has_its_class_at_every_command() {
        for stage in STAGES {
            for code in 400..500 {
                let deferred = stage == Stage::Rcpt && code != 421;
                let expected = if deferred { "transient deferred" } else { "transient provider_error" };
                assert_eq!(seen(stage, code, "no"), expected, "{stage:?} {code}");
            }
            for code in 500..600 {
                let expected = match (stage, code) {
                    (Stage::Rcpt | Stage::Data, 530 | 534 | 535) => "ours unauthorized",
                    (Stage::Rcpt, 550 | 551 | 553) => "permanent gone",
                    (Stage::Mail, 552) | (Stage::Rcpt | Stage::Data, _) => "permanent rejected",
                    (Stage::Hello | Stage::Starttls | Stage::Auth | Stage::Mail, _) => "ours unauthorized",
                };
                assert_eq!(seen(stage, code, "no"), expected, "{stage:?} {code}");
            }
        }
    }

    #[test]
    fn texts_and_enhanced_codes_say_more_than_the_code() {
        for (stage, code, text, expected) in [
            (Stage::Rcpt, 550, "5.1.1 <ann@x.example> unknown", "permanent gone"),
            (Stage::Rcpt, 550, "5.7.1 relaying denied", "permanent unauthorized"),
            (Stage::Rcpt, 554, "5.1.2 no such domain", "permanent gone"),
            (Stage::Rcpt, 552, "5.2.2 mailbox full", "permanent rejected"),
            (Stage::Rcpt, 450, "4.7.1 greylisted, try again in 300 s", "transient deferred"),
            (Stage::Rcpt, 452, "4.3.1 insufficient system storage", "transient provider_error"),
            (Stage::Data, 550, "5.7.1 looks like spam", "permanent rejected"),
            (Stage::Data, 550, "5.1.1 nobody of that name", "permanent gone"),
            (Stage::Rcpt, 450, "4.2.1 this mailbox gets too many messages", "transient deferred"),
            (Stage::Hello, 421, "4.7.0 Too many connections", "limited None"),
            (Stage::Auth, 454, "4.7.0 Too many login attempts", "limited None"),
            (Stage::Data, 454, "Throttling failure: Maximum sending rate exceeded.", "limited None"),
            (Stage::Mail, 550, "5.4.5 Daily user sending limit exceeded", "limited Some(3600s)"),
        ] {
            assert_eq!(seen(stage, code, text), expected, "{code} {text}");
        }
    }

    #[test]
    fn of_a_reply_only_numbers_are_shown() {
        for text in ["5.1.1 <hunter2@x.example>", "hunter2", "5.1.hunter2", "5.1.1.hunter2", "5.1.99999 x", "9.1.1 x"] {
            let error = classify(Stage::Rcpt, 550, text);
            assert!(!error.failure().detail.contains("hunter2"), "{error:?}");
        }
        let detail = &classify(Stage::Rcpt, 550, "5.1.1 <a@b>").failure().detail.clone();
        assert_eq!(detail, "the mail server answered 550 5.1.1 to RCPT");
    }
}
