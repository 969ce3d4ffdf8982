//! What every kind that calls a provider must pass: each answer and each way to get none leads to its class, and no
//! secret and no address is in what is said about it.
//!
//! Each kind has a file with its [`subjects`]. The providers here are hostile where they can be: they echo the request's
//! path and headers in their errors.

mod devices;
mod email;
mod expo;
mod hostile;
pub(super) mod server;
mod shown;
mod slack;
mod subjects;
mod telegram;
mod urls;
mod webhook;
mod webhooks;
mod webpush;
mod whatsapp;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use self::devices::try_at;
use self::server::{Behaviour, Server};
use self::subjects::{Subject, subjects};
use super::http::{HttpClient, HttpPolicy};
use super::{Channel, Kind, SendError, Try, Workshop};
use crate::delivery::Delivery;
use crate::event::{EventRef, EventType, Severity};
use crate::ids::{ChannelId, DeliveryId, RuleId, WorkspaceId};
use crate::outcome::Reason;

/// What `webhook`'s secret decodes to must not show, nor must its text.
const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PRIVATE_KEY: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=";
const PATH_SECRET: &str = "XXXXsecretpathXXXX";
const HEADER_SECRET: &str = "Bearer-hunter2";
const BOT_TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

/// Whom mail goes to.
const MAILBOX: &str = "ann.example.hunter3";

const AT: &str = "2026-11-20T10:00:05Z";

/// A delivery with something of everything that a channel must escape.
pub(crate) fn sample() -> Delivery {
    let data = RawValue::from_string(r#"{"b":1, "a":1.0}"#.to_owned()).unwrap();
    Delivery {
        rule: Some(RuleId::parse("everything").unwrap()),
        kind: Some(Kind::Console),
        severity: Severity::Warning,
        title: "Task <created> & more".to_owned(),
        body: "**bold** snake_case_name\n\n<!channel>".to_owned(),
        data: Arc::from(data),
        expires_at: "2026-11-21T10:00:00Z".parse().unwrap(),
        ..Delivery::begin(
            DeliveryId::parse("d_bivfuvuqt5zrxmfsw4jhrdbp").unwrap(),
            WorkspaceId::default(),
            EventRef {
                id: "e-1".to_owned(),
                source: "tests".to_owned(),
                event_type: EventType::parse("task:created").unwrap(),
                time: "2026-11-20T10:00:00Z".parse().unwrap(),
                traceparent: None,
                tracestate: None,
                hops: 0,
            },
            ChannelId::parse("c").unwrap(),
        )
    }
}

/// Allows plain http to this machine.
pub(super) fn workshop() -> Workshop {
    let policy = HttpPolicy {
        allow_plain_http: true,
        allow_addresses: vec![IpAddr::from([127, 0, 0, 1]).into()],
        ..HttpPolicy::default()
    };
    Workshop { http: HttpClient::new(policy).unwrap(), bus: None }
}

fn class(error: &SendError) -> &'static str {
    match error {
        SendError::Transient { .. } => "transient",
        SendError::RateLimited { .. } => "limited",
        SendError::Permanent(_) => "permanent",
        SendError::Ours(_) => "ours",
    }
}

fn retry_after(error: &SendError) -> Option<Duration> {
    match error {
        SendError::Transient { retry_after, .. } | SendError::RateLimited { retry_after, .. } => *retry_after,
        SendError::Permanent(_) | SendError::Ours(_) => None,
    }
}

fn build(subject: &Subject, base: &str) -> Box<dyn Channel> {
    subject.kind.build(&(subject.config)(base), &workshop()).unwrap()
}

async fn failure(subject: &Subject, base: &str) -> SendError {
    let channel = build(subject, base);
    let error = channel.send(try_at(&sample(), subject.kind, base)).await.unwrap_err();
    assert_no_leak(&error, base);
    error
}

fn assert_no_leak(error: &SendError, base: &str) {
    let port = base.rsplit(':').next().unwrap();
    let (bot, token) = BOT_TOKEN.split_once(':').unwrap();
    let detail = &error.failure().detail;
    for secret in [
        SIGNING_SECRET,
        &SIGNING_SECRET[6..],
        &PRIVATE_KEY[5..],
        PATH_SECRET,
        HEADER_SECRET,
        bot,
        token,
        MAILBOX,
        port,
        "127.0.0.1",
        "16505551234",
        "://",
    ] {
        assert!(!detail.contains(secret) && !format!("{error:?}").contains(secret), "{secret} in {error:?}");
    }
    assert!(!detail.is_empty() && detail.len() < 400);
}

#[tokio::test]
async fn a_success_has_a_receipt() {
    for subject in subjects() {
        let server = Server::answering(200, &[], subject.success).await;
        let sent =
            build(&subject, &server.base).send(try_at(&sample(), subject.kind, &server.base)).await.unwrap();
        assert_eq!(
            (sent.provider_id.as_deref(), sent.code),
            (subject.provider_id, Some(200)),
            "{}",
            subject.name()
        );
        let requests = server.requests();
        assert_eq!(requests.len(), 1, "{}", subject.name());
        assert_eq!(requests[0].method, "POST");
        if subject.kind == Kind::WebPush {
            // Encrypted: what is in it is another test's.
            assert_eq!(requests[0].headers["content-encoding"], "aes128gcm");
            continue;
        }
        let content_type = requests[0].headers["content-type"].to_str().unwrap();
        let is_json = ["application/json", "application/cloudevents+json"]
            .iter()
            .any(|json| content_type.starts_with(json));
        assert!(is_json, "{}: {content_type}", subject.name());
        assert!(requests[0].headers["user-agent"].to_str().unwrap().starts_with("Bugle/"));
        assert!(serde_json::from_slice::<Value>(&requests[0].body).is_ok());
    }
}

#[tokio::test]
async fn two_tries_send_the_same_body() {
    for subject in subjects() {
        let server = Server::answering(200, &[], subject.success).await;
        let channel = build(&subject, &server.base);
        for at in ["2026-11-20T10:00:05Z", "2026-11-20T11:00:05Z"] {
            channel
                .send(Try { at: at.parse().unwrap(), ..try_at(&sample(), subject.kind, &server.base) })
                .await
                .unwrap();
        }
        let requests = server.requests();
        // What is encrypted must never look the same.
        let same = requests[0].body == requests[1].body;
        assert_eq!(same, subject.kind != Kind::WebPush, "{}", subject.name());
    }
}

#[tokio::test]
async fn documented_errors_have_their_class_and_reason() {
    for subject in subjects() {
        for &(status, body, expected, reason) in &subject.documented {
            let server = Server::answering(status, &[], body).await;
            let error = failure(&subject, &server.base).await;
            let seen = (class(&error), error.failure().reason);
            assert_eq!(seen, (expected, reason), "{} {status} {body}: {error:?}", subject.name());
            assert!(error.failure().code.is_some(), "{} {status} {body}", subject.name());
            let ends = subject.kind == Kind::Webhook && status == 410 || body.contains("Unknown Webhook");
            assert_eq!(error.wants_no_more(), ends, "{} {status} {body}", subject.name());
        }
    }
}

#[tokio::test]
async fn a_429_asks_for_its_pause_in_seconds_or_as_a_date() {
    for subject in subjects() {
        for value in ["30", "Fri, 20 Nov 2026 10:00:35 GMT"] {
            let server = Server::answering(429, &[("retry-after", value)], "").await;
            let error = failure(&subject, &server.base).await;
            // A push service that a subscriber names pauses nobody else.
            let expected = if subject.kind == Kind::WebPush { "transient" } else { "limited" };
            let seen = (class(&error), error.failure().reason);
            assert_eq!(seen, (expected, Reason::RateLimited), "{}", subject.name());
            assert_eq!(retry_after(&error), Some(Duration::from_secs(30)), "{} {value}", subject.name());
        }
    }
}

#[tokio::test]
async fn a_provider_that_echoes_the_request_leaks_nothing() {
    for subject in subjects() {
        for status in [400, 401, 403, 404, 413, 418, 500, 502, 503] {
            let server = Server::start(Behaviour::Echo(status)).await;
            let error = failure(&subject, &server.base).await;
            assert_eq!(error.failure().code, Some(status), "{} {status}", subject.name());
        }
    }
}

#[tokio::test]
async fn server_errors_are_transient_and_redirects_are_not_followed() {
    for subject in subjects() {
        for status in [500, 501, 503, 507] {
            let server = Server::answering(status, &[("retry-after", "7")], "<html>oops</html>").await;
            let error = failure(&subject, &server.base).await;
            assert_eq!((class(&error), error.failure().reason), ("transient", Reason::ProviderError));
            assert_eq!(retry_after(&error), Some(Duration::from_secs(7)), "{} {status}", subject.name());
        }
        let target = Server::answering(200, &[], subject.success).await;
        for status in [301, 302, 303, 307, 308] {
            let location = format!("{}/{PATH_SECRET}", target.base);
            let server = Server::answering(status, &[("location", &location)], "").await;
            let error = failure(&subject, &server.base).await;
            assert_eq!(
                (class(&error), error.failure().reason),
                ("permanent", Reason::Rejected),
                "{}",
                subject.name()
            );
        }
        assert!(target.requests().is_empty(), "{}", subject.name());
    }
}

#[tokio::test]
async fn a_connection_that_fails_is_unreachable() {
    for subject in subjects() {
        let gone = Server::refused().await;
        let error = failure(&subject, &gone).await;
        assert_eq!(
            (class(&error), error.failure().reason),
            ("transient", Reason::Unreachable),
            "{}",
            subject.name()
        );
        assert_eq!(error.failure().detail, "connection refused");
        for (behaviour, detail) in [
            (Behaviour::Reset, "connection closed before the answer"),
            (Behaviour::HalfHead, "connection closed before the answer"),
            (Behaviour::NotHttp, "connection closed before the answer"),
        ] {
            let server = Server::start(behaviour).await;
            let error = failure(&subject, &server.base).await;
            assert_eq!(
                (class(&error), error.failure().reason),
                ("transient", Reason::Unreachable),
                "{}",
                subject.name()
            );
            assert_eq!(error.failure().detail, detail, "{}", subject.name());
        }
        let tls = gone.replace("http://", "https://");
        assert_eq!(failure(&subject, &tls).await.failure().detail, "connection refused");
        let plain = Server::answering(200, &[], subject.success).await;
        let tls = plain.base.replace("http://", "https://");
        let error = failure(&subject, &tls).await;
        assert_eq!(error.failure().reason, Reason::Unreachable, "{}", subject.name());
        assert_eq!(error.failure().detail, "TLS handshake failed", "{}", subject.name());
        let error = failure(&subject, "http://bugle-test.invalid:1").await;
        assert_eq!((class(&error), error.failure().detail.as_str()), ("transient", "name not resolved"));
    }
}

/// So short a try that a body of two seconds outlasts it.
fn impatient() -> Workshop {
    Workshop { http: workshop().http.with_timeout(Duration::from_millis(300)), bus: None }
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_late_after_the_time_of_a_try() {
    for subject in subjects() {
        let server = Server::start(Behaviour::Hang).await;
        let channel = subject.kind.build(&(subject.config)(&server.base), &impatient()).unwrap();
        let error = channel.send(try_at(&sample(), subject.kind, &server.base)).await.unwrap_err();
        assert_eq!(
            (class(&error), error.failure().reason),
            ("transient", Reason::Timeout),
            "{}",
            subject.name()
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_judged_by_what_came() {
    for subject in subjects() {
        let server = Server::start(Behaviour::HalfBody).await;
        let sent = build(&subject, &server.base).send(try_at(&sample(), subject.kind, &server.base)).await;
        if subject.body_decides {
            assert_eq!(class(&sent.unwrap_err()), "transient", "{}", subject.name());
        } else {
            assert_eq!(sent.unwrap().code, Some(200), "{}", subject.name());
        }
    }
}

#[tokio::test]
async fn a_web_page_under_200_is_nobodys_yes_but_a_receivers_of_somebodys_own() {
    for subject in subjects() {
        let server = Server::answering(200, &[], "\u{feff}\r\n<!doctype html><title>Sign in</title>").await;
        let sent = build(&subject, &server.base).send(try_at(&sample(), subject.kind, &server.base)).await;
        match (subject.kind, sent) {
            (Kind::Webhook | Kind::WebPush, Ok(_)) => {}
            (Kind::Webhook | Kind::WebPush, Err(error)) => panic!("{}: {error:?}", subject.name()),
            (_, sent) => {
                let error = sent.expect_err(&subject.name());
                let seen = (class(&error), error.failure().reason);
                assert_eq!(seen, ("transient", Reason::ProviderError), "{}", subject.name());
            }
        }
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_read_up_to_a_limit() {
    for subject in subjects() {
        for status in [200, 500] {
            let server = Server::start(Behaviour::Endless(status)).await;
            let channel = build(&subject, &server.base);
            let delivery = sample();
            let sent = tokio::time::timeout(
                Duration::from_secs(5),
                channel.send(try_at(&delivery, subject.kind, &server.base)),
            );
            let sent = sent.await.expect("it does not read for ever");
            assert_eq!(sent.is_ok(), status == 200 && !subject.body_decides, "{} {status}", subject.name());
        }
    }
}

#[tokio::test]
async fn a_forbidden_address_is_refused_before_anything_is_sent() {
    let policy = HttpPolicy { allow_plain_http: true, ..HttpPolicy::default() };
    let strict = Workshop { http: HttpClient::new(policy).unwrap(), bus: None };
    for subject in subjects() {
        let server = Server::answering(200, &[], subject.success).await;
        let by_name = server.base.replace("127.0.0.1", "localhost");
        for base in [&server.base, &by_name] {
            let channel = subject.kind.build(&(subject.config)(base), &strict).unwrap();
            let error = channel.send(try_at(&sample(), subject.kind, base)).await.unwrap_err();
            assert_eq!((class(&error), error.failure().reason), ("permanent", Reason::BlockedAddress));
            assert_no_leak(&error, base);
        }
        assert!(server.requests().is_empty(), "{}", subject.name());
    }
}
