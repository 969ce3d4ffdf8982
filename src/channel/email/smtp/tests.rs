//! Mail servers that refuse, hang, break off or talk nonsense at each command. Real ones are in `tests/it`.
#![expect(clippy::disallowed_methods, reason = "the server ends with its test")]

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::channel::conformance::{sample, workshop};
use crate::channel::email::Email;
use crate::channel::{Adapter, Channel, Try};

const PASSWORD: &str = "hunter2";
const MAILBOX: &str = "ann.hunter3@example.org";

/// What a server does instead of what it should.
#[derive(Clone, Copy)]
enum Answer {
    Says(&'static str),
    /// That, and this to the next command, and it closes.
    Offers(&'static str, &'static str),
    Hangs,
    Closes,
}

/// At these commands (`""` is the greeting, `.` the end of the message) it does that, the first time or always.
#[derive(Clone, Copy)]
struct Script {
    at: &'static str,
    answer: Answer,
    once: bool,
}

#[derive(Default)]
struct Log {
    connections: usize,
    commands: Vec<String>,
    messages: Vec<String>,
}

struct Server {
    port: u16,
    log: Arc<Mutex<Log>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(script: Option<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Log::default()));
        let (seen, script) = (Arc::clone(&log), Arc::new(Mutex::new(script)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Self { port, log, task }
    }

    fn email(&self, workshop: &Workshop) -> Email {
        let config = json!({
            "host": "127.0.0.1", "port": self.port, "security": "none", "from": "Bugle <bugle@example.com>",
            "username": "bugle", "password": PASSWORD, "to": [MAILBOX, "bob@example.org"],
        });
        Email::new(&config, workshop).unwrap()
    }
}

async fn serve(mut stream: tokio::net::TcpStream, script: Arc<Mutex<Option<Script>>>, log: Arc<Mutex<Log>>) {
    let (input, mut output) = stream.split();
    let mut lines = BufReader::new(input).lines();
    let (mut command, mut message) = (String::new(), None::<String>);
    loop {
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        let scripted = {
            let mut script = script.lock().unwrap();
            let found = script.filter(|script| script.at == verb || command.contains(&format!("<{}", script.at)) && !script.at.is_empty());
            if found.is_some_and(|script| script.once) {
                *script = None;
            }
            found.map(|script| script.answer)
        };
        let usual = match verb.as_str() {
            "" => "220 mail.example ESMTP\r\n",
            "EHLO" => "250-mail.example\r\n250-AUTH PLAIN\r\n250-8BITMIME\r\n250 HELP\r\n",
            "AUTH" => "235 2.7.0 ok\r\n",
            "DATA" => "354 go on\r\n",
            "." => "250 2.0.0 Ok: queued as 4F2C0\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 2.0.0 ok\r\n",
        };
        let said = match scripted {
            None => usual,
            Some(Answer::Says(said)) => said,
            Some(Answer::Offers(said, next)) => {
                let _sent = output.write_all(said.as_bytes()).await.is_ok();
                let _command = lines.next_line().await.is_ok();
                next
            }
            Some(Answer::Hangs) => std::future::pending().await,
            Some(Answer::Closes) => return,
        };
        if output.write_all(said.as_bytes()).await.is_err() || said.starts_with("421") || matches!(scripted, Some(Answer::Offers(..))) {
            return;
        }
        if verb == "DATA" && said.starts_with("354") {
            message = Some(String::new());
        }
        command = loop {
            let Ok(Some(line)) = lines.next_line().await else { return };
            match &mut message {
                None => break line,
                Some(_) if line == "." => break line,
                Some(text) => text.extend([line.as_str(), "\n"]),
            }
        };
        log.lock().unwrap().commands.push(command.split(' ').next().unwrap().to_owned());
        log.lock().unwrap().messages.extend(message.take());
    }
}

fn impatient() -> Workshop {
    Workshop { http: workshop().http.with_timeout(Duration::from_millis(300)), bus: None }
}

fn at() -> Timestamp {
    "2026-11-20T10:00:05Z".parse().unwrap()
}

async fn failure(script: Script, workshop: &Workshop) -> SendError {
    let server = Server::start(Some(script)).await;
    let error = server.email(workshop).send(Try::of(&sample(), at())).await.unwrap_err();
    for secret in [PASSWORD, "aHVudGVyM", "AGJ1Z2xl", "hunter3", "127.0.0.1", "example", &server.port.to_string()] {
        assert!(!format!("{error:?}").contains(secret), "{secret} in {error:?}");
    }
    error
}

fn class(error: &SendError) -> String {
    let word = match error {
        SendError::Transient { .. } => "transient",
        SendError::RateLimited { .. } => "limited",
        SendError::Permanent(_) => "permanent",
        SendError::Ours(_) => "ours",
    };
    format!("{word} {}", error.failure().reason)
}

#[tokio::test]
async fn a_message_is_handed_over_with_everything_and_the_connection_is_kept() {
    let server = Server::start(None).await;
    let email = server.email(&workshop());
    for _ in 0..2 {
        let sent = email.send(Try::of(&sample(), at())).await.unwrap();
        assert_eq!((sent.provider_id.as_deref(), sent.code, sent.note), (Some("4F2C0"), Some(250), None));
    }
    let log = server.log.lock().unwrap();
    assert_eq!(log.connections, 1);
    assert_eq!(
        log.commands,
        ["EHLO", "AUTH", "MAIL", "RCPT", "RCPT", "DATA", ".", "NOOP", "MAIL", "RCPT", "RCPT", "DATA", "."]
    );
    assert!(log.messages[0].contains("Subject: Task <created> & more\n"), "{}", log.messages[0]);
}

#[tokio::test]
async fn a_refusal_is_known_by_the_command_that_it_refuses() {
    for (at, reply, expected) in [
        ("", "421 4.3.2 shutting down hunter3\r\n", "transient provider_error"),
        ("", "421 too many connections from 127.0.0.1\r\n", "limited rate_limited"),
        ("", "554 5.7.1 no service for 127.0.0.1\r\n", "ours unauthorized"),
        ("EHLO", "451 not now\r\n", "transient provider_error"),
        ("EHLO", "550 no\r\n", "ours unauthorized"),
        ("AUTH", "454 4.7.0 not now\r\n", "transient provider_error"),
        ("AUTH", "535 5.7.8 bugle hunter2 is wrong\r\n", "ours unauthorized"),
        ("AUTH", "534 5.7.9 no\r\n", "ours unauthorized"),
        ("MAIL", "451 4.3.0 not now\r\n", "transient provider_error"),
        ("MAIL", "530 5.7.0 authenticate first\r\n", "ours unauthorized"),
        ("MAIL", "553 5.7.1 bugle@example.com is not yours\r\n", "ours unauthorized"),
        ("MAIL", "552 5.3.4 too large\r\n", "permanent rejected"),
        ("RCPT", "450 4.7.28 too many mails for ann.hunter3@example.org\r\n", "limited rate_limited"),
        ("RCPT", "451 4.7.1 greylisted\r\n", "transient deferred"),
        ("RCPT", "550-5.1.1 ann.hunter3@example.org\r\n550 5.1.1 unknown\r\n", "permanent gone"),
        ("RCPT", "550 5.7.1 relaying denied\r\n", "permanent unauthorized"),
        ("RCPT", "552 5.2.2 full\r\n", "permanent rejected"),
        ("DATA", "452 4.3.1 no space\r\n", "transient provider_error"),
        ("DATA", "554 5.5.1 no\r\n", "permanent rejected"),
        (".", "451 4.3.0 not now\r\n", "transient provider_error"),
        (".", "550 5.7.1 spam\r\n", "permanent rejected"),
        (".", "552 5.3.4 too large\r\n", "permanent rejected"),
    ] {
        let error = failure(Script { at, answer: Answer::Says(reply), once: false }, &workshop()).await;
        assert_eq!(class(&error), expected, "{at} {reply}");
        assert_eq!(error.failure().code, reply[..3].parse().ok(), "{at} {reply}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_breaks_off_or_talks_nonsense_is_tried_again() {
    for at in ["", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "."] {
        let script = |answer| Script { at, answer, once: false };
        let error = failure(script(Answer::Hangs), &impatient()).await;
        assert_eq!(class(&error), "transient timeout", "{at} hangs");
        let error = failure(script(Answer::Closes), &workshop()).await;
        assert_eq!(class(&error), "transient unreachable", "{at} closes: {error:?}");
        assert_eq!(error.failure().detail, "connection closed before the answer", "{at}");
        for garbage in ["SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\n\r\n", "\r\n", "250-a\r\n550 b\r\n", "9999 hm\r\n"] {
            let error = failure(script(Answer::Says(garbage)), &workshop()).await;
            assert_eq!(class(&error), "transient provider_error", "{at} {garbage:?}: {error:?}");
        }
        let error = failure(script(Answer::Says("250 \u{fffd}no end")), &impatient()).await;
        assert_eq!(class(&error), "transient timeout", "{at}");
    }
}

#[tokio::test]
async fn one_address_that_is_refused_does_not_keep_the_others_from_theirs() {
    let script = Script { at: "ann.hunter3", answer: Answer::Says("550 5.1.1 unknown\r\n"), once: false };
    let server = Server::start(Some(script)).await;
    let sent = server.email(&workshop()).send(Try::of(&sample(), at())).await.unwrap();
    let note = "1 of 2 addresses got nothing: the mail server answered 550 5.1.1 to RCPT";
    assert_eq!(sent.note.as_deref(), Some(note));
    assert_eq!(server.log.lock().unwrap().messages.len(), 1);
    // One that may be taken later: all of it later, since nothing is sent yet.
    let script = Script { at: "bob@", answer: Answer::Says("451 4.7.1 greylisted\r\n"), once: false };
    let server = Server::start(Some(script)).await;
    let error = server.email(&workshop()).send(Try::of(&sample(), at())).await.unwrap_err();
    assert_eq!(class(&error), "transient deferred");
    assert!(server.log.lock().unwrap().messages.is_empty());
}

#[tokio::test]
async fn a_refusal_is_cleared_and_a_dead_connection_replaced_before_the_next_message() {
    let script = Script { at: ".", answer: Answer::Says("451 4.3.0 not now\r\n"), once: true };
    let server = Server::start(Some(script)).await;
    let email = server.email(&workshop());
    email.send(Try::of(&sample(), at())).await.unwrap_err();
    email.send(Try::of(&sample(), at())).await.unwrap();
    assert_eq!(server.log.lock().unwrap().connections, 1);
    assert!(server.log.lock().unwrap().commands.contains(&"RSET".to_owned()));
    for answer in [Answer::Closes, Answer::Says("421 4.4.2 idle for too long\r\n"), Answer::Hangs] {
        let server = Server::start(Some(Script { at: "NOOP", answer, once: false })).await;
        let email = server.email(&workshop());
        for _ in 0..2 {
            email.send(Try::of(&sample(), at())).await.unwrap();
        }
        assert_eq!(server.log.lock().unwrap().connections, 2);
    }
    // Kept for so long that the server will have closed it.
    let server = Server::start(None).await;
    let email = server.email(&workshop());
    for at in ["2026-11-20T10:00:05Z", "2026-11-20T10:02:05Z"] {
        email.send(Try::of(&sample(), at.parse().unwrap())).await.unwrap();
    }
    assert_eq!(server.log.lock().unwrap().connections, 2);
}

#[tokio::test]
async fn nothing_is_said_to_a_server_without_tls_or_at_a_forbidden_address() {
    let server = Server::start(None).await;
    let config = |host: &str, security: &str| {
        json!({ "host": host, "port": server.port, "security": security, "from": "bugle@example.com", "to": MAILBOX,
                "username": "bugle", "password": PASSWORD })
    };
    let email = Email::new(&config("127.0.0.1", "starttls"), &workshop()).unwrap();
    let error = email.send(Try::of(&sample(), at())).await.unwrap_err();
    assert_eq!(class(&error), "ours misconfigured");
    assert!(error.failure().detail.contains("STARTTLS"));
    let email = Email::new(&config("127.0.0.1", "tls"), &workshop()).unwrap();
    let error = email.send(Try::of(&sample(), at())).await.unwrap_err();
    assert_eq!((class(&error).as_str(), error.failure().detail.as_str()), ("transient unreachable", "TLS handshake failed"));
    assert!(!server.log.lock().unwrap().commands.iter().any(|command| command == "AUTH"));
    let before = server.log.lock().unwrap().connections;
    let policy = |allowed: &[&str]| HttpPolicy {
        allow_addresses: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        ..HttpPolicy::default()
    };
    for (host, security, policy) in [
        ("127.0.0.1", "starttls", policy(&[])),
        ("localhost", "starttls", policy(&[])),
        ("2130706433", "tls", policy(&[])),
        ("::1", "tls", policy(&[])),
        ("[::ffff:127.0.0.1]", "tls", policy(&[])),
        ("127.0.0.1", "none", policy(&["10.0.0.0/8"])),
        ("127.0.0.1", "none", HttpPolicy { allow_plain_http: true, ..HttpPolicy::default() }),
    ] {
        let workshop = Workshop { http: HttpClient::new(policy).unwrap(), bus: None };
        let error = Email::new(&config(host, security), &workshop).unwrap().send(Try::of(&sample(), at())).await;
        assert_eq!(class(&error.unwrap_err()), "permanent blocked_address", "{host} {security}");
    }
    assert_eq!(server.log.lock().unwrap().connections, before);
}

#[tokio::test]
async fn words_between_starttls_and_tls_end_it() {
    const OFFER: &str = "250-mail.example\r\n250 STARTTLS\r\n";
    let config = |port| json!({ "host": "127.0.0.1", "port": port, "from": "bugle@example.com", "to": MAILBOX });
    for (reply, expected) in [
        ("220 go\r\n250-mail.example\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n", "something was said"),
        // Nothing injected, and no TLS behind it.
        ("220 go\r\n", "connection closed"),
    ] {
        let server = Server::start(Some(Script { at: "EHLO", answer: Answer::Offers(OFFER, reply), once: false })).await;
        let email = Email::new(&config(server.port), &workshop()).unwrap();
        let error = email.send(Try::of(&sample(), at())).await.unwrap_err();
        assert!(error.failure().detail.starts_with(expected), "{error:?}");
        assert!(matches!(error, SendError::Transient { .. }));
    }
}

#[tokio::test]
async fn a_probe_goes_as_far_as_the_password() {
    let server = Server::start(None).await;
    let config = json!({ "host": "127.0.0.1", "port": server.port, "security": "none", "from": "bugle@example.com",
                         "username": "bugle", "password": PASSWORD });
    Email::probe(&config, &workshop(), at()).await.unwrap();
    assert_eq!(server.log.lock().unwrap().commands, ["EHLO", "AUTH", "QUIT"]);
    let script = Script { at: "AUTH", answer: Answer::Says("535 5.7.8 no\r\n"), once: false };
    let server = Server::start(Some(script)).await;
    let config = json!({ "host": "127.0.0.1", "port": server.port, "security": "none", "from": "bugle@example.com",
                         "username": "bugle", "password": PASSWORD });
    assert_eq!(class(&Email::probe(&config, &workshop(), at()).await.unwrap_err()), "ours unauthorized");
    let gone = json!({ "host": "bugle-test.invalid", "from": "bugle@example.com" });
    let error = Email::probe(&gone, &workshop(), at()).await.unwrap_err();
    assert_eq!(error.failure().detail, "name not resolved");
}
