//! The Cloud API's error codes: what each means to us, in our words.
//!
//! Meta's messages are not quoted: they name numbers. What only we can mend (a token, an account, a template) costs no
//! attempt and waits until it is mended. Source:
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes>.

use std::time::Duration;

use crate::channel::http::Answer;
use crate::channel::{Failure, SendError};
use crate::outcome::Reason;

/// One message from number to number in so long.
const PAIR_WAIT: Duration = Duration::from_secs(6);

enum Class {
    Transient,
    RateLimited,
    /// For one recipient, not for the channel.
    PairLimited,
    Permanent,
    Ours,
}

/// None for a code that is not known.
pub(super) fn classify(code: u32, answer: &Answer, is_alone: bool) -> Option<SendError> {
    let (class, reason, words) = known(code)?;
    let failure = Failure::new(reason, format!("WhatsApp answered {code}: {words}")).code(answer.status);
    let retry_after = answer.retry_after;
    Some(match class {
        Class::Transient => SendError::Transient { failure, retry_after },
        Class::RateLimited => SendError::RateLimited { failure, retry_after },
        Class::PairLimited => {
            let retry_after = retry_after.or(Some(PAIR_WAIT));
            if is_alone {
                SendError::RateLimited { failure, retry_after }
            } else {
                SendError::Transient { failure, retry_after }
            }
        }
        Class::Permanent => SendError::Permanent(failure),
        Class::Ours => SendError::Ours(failure),
    })
}

fn known(code: u32) -> Option<(Class, Reason, &'static str)> {
    use Class::{Ours, PairLimited, Permanent, RateLimited, Transient};
    use Reason as R;
    Some(match code {
        0 | 190 => (Ours, R::Unauthorized, "the access token is not valid or has expired"),
        3 | 10 | 200..=299 | 131_005 => {
            (Ours, R::Unauthorized, "the access token lacks a permission for this number")
        }
        33 | 100 | 131_009 => {
            (Ours, R::Misconfigured, "a parameter is not valid; the phone number id or the template may be wrong")
        }
        368 | 131_031 => (Ours, R::Unauthorized, "the account is locked or restricted by Meta"),
        130_497 => (Permanent, R::Rejected, "the account may not send to that country"),
        131_037 | 131_045 | 133_006 | 133_010 | 133_015 => {
            (Ours, R::Misconfigured, "the sender's number is not registered, verified or approved")
        }
        131_042 => (Ours, R::Misconfigured, "the account's payment method does not work"),
        4 | 80_007 | 130_429 => (RateLimited, R::RateLimited, "too many messages"),
        131_048 => (RateLimited, R::RateLimited, "limited by Meta: too many recipients reported or blocked the number"),
        131_056 => (PairLimited, R::RateLimited, "too many messages to this recipient"),
        1 | 2 | 131_000 | 131_016 | 131_057 | 133_004 | 2_494_100 => {
            (Transient, R::ProviderError, "it is broken or under maintenance")
        }
        131_026 => (
            Permanent,
            R::Gone,
            "it cannot be delivered: not a WhatsApp number, terms not accepted, or too old a version",
        ),
        131_021 => (Permanent, R::Rejected, "sender and recipient are the same number"),
        131_030 => (Permanent, R::Rejected, "a test number sends only to numbers of its list"),
        131_047 => (
            Permanent,
            R::Rejected,
            "more than 24 hours since the recipient's last message: only a template may be sent",
        ),
        131_049 => (
            Permanent,
            R::Rejected,
            "not delivered, by Meta's choice, to spare the recipient; hours later it may be sent again",
        ),
        130_472 => (Permanent, R::Rejected, "not delivered, by Meta's choice: the number is part of an experiment"),
        131_050 => (Permanent, R::Rejected, "the recipient wants no such messages from this number"),
        131_008 | 131_051 | 135_000 => (Permanent, R::Rejected, "it does not take this message"),
        132_000 => (Ours, R::Misconfigured, "the template has another number of parameters"),
        132_001 => (Ours, R::Misconfigured, "there is no such template in that language, or it is not approved"),
        132_005 => (Permanent, R::Rejected, "the template with its parameters is too long"),
        132_007 => (Ours, R::Misconfigured, "the template breaks Meta's policy"),
        132_012 => (Ours, R::Misconfigured, "the template's parameters are of another kind"),
        132_015 => (Ours, R::Misconfigured, "the template is paused by Meta for its quality"),
        132_016 => (Ours, R::Misconfigured, "the template is disabled by Meta for its quality"),
        132_068 | 132_069 => (Ours, R::Misconfigured, "the template's flow is blocked or throttled"),
        _ => return None,
    })
}
