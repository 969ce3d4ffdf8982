//! E-mail, received by a real mail server and read by a foreign program.

pub mod server;

use std::net::IpAddr;
use std::sync::Arc;

use bugle::channel::http::{HttpClient, HttpPolicy};
use bugle::channel::{Kind, SendError, Try, Workshop};
use bugle::delivery::Delivery;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::api::{Api, http, json as with_body, reply};
use crate::support::bugle::{Bugle, Role, with};
use crate::support::wire::Wire;
use crate::support::{LATER, ensure, eventually};
use server::{Mail, MailServer, PASSWORD, USER};

const ANN: &str = "ann.hunter3@people.test";
const BOB: &str = "bob.hunter3@people.test";

fn channel(server: &MailServer) -> Value {
    json!({
        "id": "mail", "kind": "email", "retry": { "scheduleMs": [50, 50, 50, 50] },
        "config": { "host": "localhost", "port": server.port, "security": "starttls", "username": USER,
                    "password": "${MAIL_PASSWORD}", "from": "\"Bugle, the horn\" <bugle@sender.test>", "replyTo": "ops@sender.test" },
    })
}

/// A fleet that writes to Ann, Bob and a machine.
async fn fleet(server: &MailServer, rule: &Value) -> (Bugle, Wire, Api) {
    let bugle = Bugle::new().await;
    bugle.set_variable("MAIL_PASSWORD", PASSWORD);
    bugle.set("WORKER__EXTRA_CA_FILE", &server.ca_file());
    bugle.set("API__PUBLIC_URL", "https://bugle.test/notify/");
    let base = json!({ "id": "r", "events": ["a:*"], "channels": ["mail"], "recipients": ["ann", "bob"] });
    bugle.start_with(&json!({ "channels": [channel(server)], "rules": [with(base, rule)] })).await;
    let (wire, api) = (bugle.wire().await, bugle.api());
    put(&api, "ann", &json!({ "contacts": { "email": ANN } })).await;
    put(&api, "bob", &json!({ "contacts": { "email": BOB }, "kind": "agent" })).await;
    (bugle, wire, api)
}

async fn put(api: &Api, id: &str, body: &Value) -> Value {
    let reply = reply(with_body(api.request("PUT", &format!("/v1/recipients/{id}")), body)).await;
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    reply.body
}

fn to<'a>(mails: &'a [Mail], address: &str) -> Vec<&'a Mail> {
    mails.iter().filter(|mail| mail.to() == address).collect()
}

#[tokio::test]
async fn each_recipient_gets_a_mail_of_their_own_and_threads_and_files_are_whole() {
    let Some(server) = MailServer::start("starttls").await else { return };
    let rule = json!({
        "severity": "critical", "attachments": "files", "collapse": { "key": "{{what}}" },
        "template": { "title": "{{what}} für Jörg", "body": "**{{what}}** failed:\n\n- `one`\n- two",
                      "actions": [{ "label": "Rerun", "url": "https://ci.test/rerun?a=1&b=2" }] },
    });
    let (bugle, wire, api) = fleet(&server, &rule).await;
    let hostile = "x\r\nBcc: eve@evil.test\r\n\r\n<script>alert(1)</script>";
    let data = json!({ "what": hostile, "files": [
        { "name": "räport.bin", "contentType": "image/png", "base64": "AAECAw0KDQo=" },
        { "name": "log.txt", "text": "one\ntwo\n" },
        { "name": "page", "url": "https://ci.test/log" },
    ] });
    wire.event("a:b", "e-1", &data).await;
    server.receives(2).await;
    wire.event("a:c", "e-2", &data).await;
    let mails = server.receives(4).await;
    let sent = api.shows(4, "status=sent").await;
    let mut ids: Vec<_> =
        sent.iter().map(|one| format!("<{}@sender.test>", one["id"].as_str().unwrap())).collect();
    let mut seen: Vec<_> = mails.iter().map(|mail| mail.header("Message-ID").unwrap().to_owned()).collect();
    ids.sort();
    seen.sort();
    assert_eq!(ids, seen);
    assert_eq!((to(&mails, ANN).len(), to(&mails, BOB).len()), (2, 2));
    for mail in &mails {
        assert_eq!(mail.0["defects"], json!([]), "{}", mail.raw());
        assert_eq!((&mail.0["encrypted"], &mail.0["user"]), (&json!(true), &json!(USER)));
        assert_eq!((&mail.0["from"], &mail.0["hello"]), (&json!("bugle@sender.test"), &json!("sender.test")));
        assert_eq!(mail.header("From"), Some("\"Bugle, the horn\" <bugle@sender.test>"));
        assert_eq!((mail.header("To"), mail.header("Reply-To")), (Some(mail.to()), Some("ops@sender.test")));
        let subject = "x Bcc: eve@evil.test <script>alert(1)</script> für Jörg";
        assert_eq!(mail.header("Subject"), Some(subject));
        assert!(!mail.names().iter().any(|name| name == "bcc"), "{:?}", mail.names());
        assert_eq!(mail.header("Auto-Submitted"), Some("auto-generated"));
        assert_eq!(mail.header("Importance"), Some("high"));
        assert_eq!(mail.header("References"), mail.header("In-Reply-To"));
        assert_eq!(mail.header("References"), mails[0].header("References"), "one conversation");
        let types = json!([
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "text/html",
            "image/png",
            "text/plain"
        ]);
        assert_eq!(mail.0["types"], types);
        let (text, html) = (mail.0["text"].as_str().unwrap(), mail.0["html"].as_str().unwrap());
        assert!(
            text.contains("failed:\n\n• one\n• two\n") && text.contains("page: https://ci.test/log"),
            "{text}"
        );
        assert!(html.contains("failed:<br>\n<br>\n• <code>one</code><br>\n• two"), "{html}");
        assert!(
            html.contains("<a href=\"https://ci.test/rerun?a=1&amp;b=2\"") && !html.contains("<script"),
            "{html}"
        );
        let files = json!([
            { "name": "räport.bin", "type": "image/png", "content": "AAECAw0KDQo=" },
            { "name": "log.txt", "type": "text/plain", "content": "b25lCnR3bwo=" },
        ]);
        assert_eq!(mail.0["files"], files);
    }
    // People can end it, machines are told to.
    assert!(to(&mails, ANN).iter().all(|mail| mail.link().is_some()));
    assert!(to(&mails, BOB).iter().all(|mail| mail.link().is_none()));
    for role in Role::ALL {
        let log = bugle.log(role.word());
        assert!(!log.contains("hunter3") && !log.contains(PASSWORD), "{role:?}");
    }
    assert!(!api.deliveries("").await.iter().any(|delivery| delivery.to_string().contains("hunter3")));
}

#[tokio::test]
async fn an_unsubscribe_is_a_post_and_ends_what_the_channel_sends() {
    let Some(server) = MailServer::start("starttls").await else { return };
    let (_bugle, wire, api) = fleet(&server, &json!({ "recipients": ["ann"], "severity": "critical" })).await;
    wire.event("a:b", "e-1", &json!({})).await;
    let mail = server.receives(1).await.remove(0);
    assert_eq!(mail.header("List-Unsubscribe-Post"), Some("List-Unsubscribe=One-Click"));
    let link = mail.link().unwrap();
    assert!(link.starts_with("/v1/unsubscribe/") && !link.contains("ann"), "{link}");
    let url = format!("{}{link}", api.base);
    // A scanner that follows links changes nothing, and gets no address to see.
    let page = http().get(&url).send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);
    assert_eq!(page.headers()["cache-control"], "no-store");
    let text = page.text().await.unwrap();
    assert!(
        text.contains("<form method=\"post\">") && !text.contains("ann") && !text.contains("hunter3"),
        "{text}"
    );
    let post = async |url: &str, body: &str| {
        let request = http().post(url).header("Content-Type", "application/x-www-form-urlencoded");
        request.body(body.to_owned()).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(&url, "").await, 400);
    let (head, tail) = url.split_at(url.len() - 10);
    let other = if tail.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{head}{other}{}", &tail[1..]);
    assert_eq!(post(&forged, "List-Unsubscribe=One-Click").await, 404);
    wire.event("a:b", "e-2", &json!({})).await;
    server.receives(2).await;
    for _ in 0..2 {
        assert_eq!(post(&url, "List-Unsubscribe=One-Click").await, 200, "again it changes nothing");
    }
    assert_eq!(api.get("/v1/recipients/ann").await.expect(200)["unsubscribed"], json!(["mail"]));
    let held = eventually("what comes then is held back", LATER, async || {
        let known = api.deliveries("").await.len();
        wire.event("a:b", &format!("later-{known}"), &json!({})).await;
        api.shows(known + 1, "").await;
        let held = api.deliveries("status=suppressed").await;
        if held.is_empty() { Err(format!("{known} so far")) } else { Ok(held) }
    })
    .await;
    assert_eq!(held[0]["reason"], "unsubscribed", "{held:?}");
    // Whoever copies contacts subscribes nobody again; who says so does.
    let kept = put(&api, "ann", &json!({ "contacts": { "email": ANN }, "name": "Ann" })).await;
    assert_eq!(kept["unsubscribed"], json!(["mail"]));
    let bad = json!({ "unsubscribed": ["no such id"] });
    reply(with_body(api.request("PUT", "/v1/recipients/ann"), &bad)).await.expect_problem(400);
    put(&api, "ann", &json!({ "contacts": { "email": ANN }, "unsubscribed": [] })).await;
    let before = server.mails().len();
    eventually("mail comes again", LATER, async || {
        wire.event("a:b", &format!("again-{}", api.deliveries("").await.len()), &json!({})).await;
        ensure(server.mails().len() > before, "none")
    })
    .await;
}

#[tokio::test]
async fn a_server_that_refuses_for_a_while_or_dies_in_the_middle_gets_the_same_mail_again() {
    let Some(mut server) = MailServer::start("starttls").await else { return };
    let (_bugle, wire, api) = fleet(&server, &json!({ "recipients": ["ann"] })).await;
    server.replies(&["451 4.7.1 greylisted", "450 4.2.0 not yet"]);
    wire.event("a:b", "e-1", &json!({})).await;
    let mail = server.receives(1).await.remove(0);
    let sent = api.shows(1, "status=sent").await;
    let whole = api.delivery(sent[0]["id"].as_str().unwrap()).await;
    let codes: Vec<_> =
        whole["timeline"].as_array().unwrap().iter().map(|step| step["code"].clone()).collect();
    assert_eq!(codes, [json!(451), json!(450), json!(250)], "{whole:#}");
    assert_eq!(mail.to(), ANN);
    // It has the whole message, says nothing, and is gone.
    server.hold();
    wire.event("a:b", "e-2", &json!({})).await;
    server.holds().await;
    server.kill_9();
    server.let_go();
    let retrying = api.shows(1, "status=retrying").await;
    assert_eq!(retrying[0]["reason"], "unreachable", "{retrying:?}");
    server.again().await;
    let mails = server.receives(2).await;
    let id = retrying[0]["id"].as_str().unwrap();
    assert_eq!(mails[1].header("Message-ID"), Some(format!("<{id}@sender.test>").as_str()));
    api.becomes(id, "sent").await;
    // One that does not exist is given up at once.
    server.replies(&["550 5.1.1 no such person ann.hunter3@people.test"]);
    wire.event("a:b", "e-3", &json!({})).await;
    let failed = api.shows(1, "status=failed").await;
    assert_eq!((&failed[0]["reason"], &failed[0]["attempts"]), (&json!("gone"), &json!(1)), "{failed:?}");
    assert_eq!(failed[0]["detail"], "the mail server answered 550 5.1.1 to RCPT");
}

fn delivery() -> Delivery {
    serde_json::from_value(json!({
        "v": 1, "id": "d_bivfuvuqt5zrxmfsw4jhrdbp", "workspace": "default", "scope": "global", "channel": "mail",
        "event": { "id": "e", "source": "s", "type": "a:b", "time": "2026-11-20T10:00:00Z" },
        "severity": "info", "title": "t", "body": "b", "data": {}, "attempt": 1, "expiresAt": "2026-11-21T10:00:00Z",
    }))
    .unwrap()
}

/// One try of an adapter that trusts this authority.
async fn try_once(server: &MailServer, ca: Option<&[u8]>, more: &Value) -> Result<Option<String>, String> {
    let policy = HttpPolicy {
        allow_addresses: vec![IpAddr::from([127, 0, 0, 1]).into()],
        extra_ca: ca.map(Arc::from),
        ..HttpPolicy::default()
    };
    let workshop = Workshop { http: HttpClient::new(policy).unwrap(), bus: None };
    let config = json!({ "host": "localhost", "port": server.port, "username": USER, "password": PASSWORD,
                         "from": "bugle@sender.test", "to": ANN });
    let channel = Kind::Email.build(&with(config, more), &workshop).unwrap();
    let delivery = delivery();
    let sent = channel.send(Try::of(&delivery, "2026-11-20T10:00:00Z".parse().unwrap())).await;
    sent.map(|receipt| receipt.provider_id).map_err(|error| {
        assert!(
            !format!("{error:?}").contains(PASSWORD) && !format!("{error:?}").contains("hunter3"),
            "{error:?}"
        );
        let class = match error {
            SendError::Transient { .. } => "transient",
            SendError::RateLimited { .. } => "limited",
            SendError::Permanent(_) => "permanent",
            SendError::Ours(_) => "ours",
        };
        format!("{class}: {}", error.failure().detail)
    })
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_gets_neither_password_nor_mail() {
    const UNPROVED: &str =
        "transient: TLS handshake failed: the certificate is not trusted, or not the host's";
    for security in ["starttls", "tls"] {
        let Some(server) = MailServer::start(security).await else { return };
        let more = json!({ "security": security });
        assert_eq!(try_once(&server, None, &more).await.unwrap_err(), UNPROVED, "{security}: not trusted");
        let Some(other) = MailServer::named("mail.elsewhere.test", security).await else { return };
        let sent = try_once(&other, Some(&other.ca()), &more).await;
        assert_eq!(sent.unwrap_err(), UNPROVED, "{security}: not its name");
        assert_eq!(try_once(&server, Some(&server.ca()), &more).await.unwrap().as_deref(), Some("M0"));
        let wrong = json!({ "security": security, "password": "wrong" });
        let refused = try_once(&server, Some(&server.ca()), &wrong).await.unwrap_err();
        assert_eq!(refused, "ours: the mail server answered 535 5.7.8 to AUTH", "{security}");
        assert!(other.mails().is_empty() && server.mails().len() == 1);
    }
}

/// What is heard of a mail server that is asked as if it were a web server: whether TLS came about.
async fn ask_by_https(server: &MailServer, ca: Option<&[u8]>) -> String {
    let allow_addresses = vec![IpAddr::from([127, 0, 0, 1]).into()];
    let policy = HttpPolicy { allow_addresses, extra_ca: ca.map(Arc::from), ..HttpPolicy::default() };
    let url = format!("https://localhost:{}/", server.port).parse().unwrap();
    let client = HttpClient::new(policy).unwrap();
    let at = "2026-11-20T10:00:00Z".parse().unwrap();
    client.post(&url, HeaderMap::new(), Vec::new().into(), at).await.unwrap_err().failure().detail.clone()
}

#[tokio::test]
async fn certificates_of_the_operators_hold_for_http_too_and_must_be_some() {
    let Some(server) = MailServer::start("tls").await else { return };
    let refused = ask_by_https(&server, None).await;
    assert!(refused.starts_with("TLS handshake failed: the certificate"), "{refused}");
    assert_eq!(ask_by_https(&server, Some(&server.ca())).await, "connection closed before the answer");
    for (name, content) in [("none.pem", None), ("empty.pem", Some("")), ("text.pem", Some("no certificate"))]
    {
        let bugle = Bugle::new().await;
        if let Some(content) = content {
            bugle.folder.write(name, content);
        }
        bugle.set("WORKER__EXTRA_CA_FILE", &bugle.folder.join(name).display().to_string());
        bugle.cli(&["setup"]).await.ok();
        let mut worker = bugle.spawn(Role::Worker);
        assert_eq!(worker.process.exit_code(LATER).await, 78, "{name}");
        assert!(worker.process.output().contains("worker.extra_ca_file"), "{}", worker.process.output());
    }
}

#[tokio::test]
async fn in_the_clear_is_sent_only_where_it_is_asked_for_and_opened() {
    let Some(server) = MailServer::start("none").await else { return };
    let open = json!({ "security": "none", "username": "", "password": "" });
    assert_eq!(try_once(&server, None, &open).await.unwrap().as_deref(), Some("M0"));
    assert_eq!(server.mails()[0].0["encrypted"], false);
    let starttls = try_once(&server, None, &json!({ "security": "starttls" })).await.unwrap_err();
    assert_eq!(starttls, "ours: the mail server offers no STARTTLS: nothing is sent in the clear");
    let password = try_once(&server, None, &json!({ "security": "none" })).await.unwrap_err();
    assert_eq!(
        password,
        "ours: the mail server takes no password here: it offers neither AUTH PLAIN nor LOGIN"
    );
}
