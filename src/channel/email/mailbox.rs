//! Addresses: read by the mail library, with the domain as the network knows it, and nothing in them that could end a line.

use lettre::Address;
use lettre::message::{Mailbox, Mailboxes};
use url::Host;

use crate::channel::text::one_line;
use crate::rule::fault::Fault;

/// One mailbox, with a name or without.
///
/// # Errors
/// When it is none, or several. The fault does not repeat it.
pub(super) fn mailbox(text: &str, pointer: &str) -> Result<Mailbox, Fault> {
    let mut found = mailboxes(text, pointer)?;
    match (found.pop(), found.is_empty()) {
        (Some(mailbox), true) => Ok(mailbox),
        (Some(_) | None, _) => Err(Fault::new(pointer, "must be one address")),
    }
}

/// Mailboxes with commas between them.
///
/// # Errors
/// When there is one that is none. The fault does not repeat it.
pub(super) fn mailboxes(text: &str, pointer: &str) -> Result<Vec<Mailbox>, Fault> {
    let wrong = || Fault::new(pointer, "is no e-mail address, like ops@example.com or Ops <ops@example.com>");
    let text = text.trim();
    // The parser reads folded lines, comments and the like, which nobody needs here.
    if text != one_line(text) || text.is_empty() {
        return Err(wrong());
    }
    let found: Mailboxes = text.parse().map_err(|_| wrong())?;
    found.into_iter().map(|mailbox| plain(mailbox).ok_or_else(wrong)).collect()
}

/// With an ASCII domain, and a name that is shown.
fn plain(mailbox: Mailbox) -> Option<Mailbox> {
    let (user, domain) = (mailbox.email.user(), mailbox.email.domain());
    if user.chars().any(char::is_control) {
        return None;
    }
    let domain = match (domain.is_ascii(), Host::parse(domain)) {
        (true, _) => domain.to_owned(),
        (false, Ok(Host::Domain(ascii))) => ascii,
        (false, Ok(Host::Ipv4(_) | Host::Ipv6(_)) | Err(_)) => return None,
    };
    let email = Address::new(user, domain).ok()?;
    let name = mailbox.name.map(|name| one_line(&name)).filter(|name| !name.is_empty());
    Some(Mailbox::new(name, email))
}

pub(super) fn domain_of(mailbox: &Mailbox) -> &str {
    mailbox.email.domain()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_read_with_names_and_several_at_once() {
        let seen = |text: &str| {
            let found = mailboxes(text, "/to").unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(seen("ops@example.com"), ["ops@example.com"]);
        assert_eq!(seen(" \"Doe, Ann\" <a@x.example>, b@x.example "), ["\"Doe, Ann\" <a@x.example>", "b@x.example"]);
        assert_eq!(seen("Jörg <j@bücher.example>"), ["Jörg <j@xn--bcher-kva.example>"]);
    }

    #[test]
    fn what_could_end_a_line_or_is_no_address_is_refused_and_not_repeated() {
        for bad in [
            "",
            "hunter2",
            "hunter2@",
            "a@b.example\r\nBcc: hunter2@x.example",
            "a@b.example\nBcc: hunter2@x.example",
            "\"a\r\nBcc: hunter2@x.example\" <a@b.example>",
            "a@b.example, hunter2",
            "hunter2@b.example\0",
            "<hunter2@b.example",
        ] {
            let fault = mailboxes(bad, "/to").unwrap_err();
            assert_eq!(fault.pointer, "/to", "{bad:?}");
            assert!(!fault.message.contains("hunter2"), "{fault}");
        }
        assert!(mailbox("a@x.example, b@x.example", "/from").is_err(), "one only");
    }
}
