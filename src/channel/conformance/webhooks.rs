//! What webhooks alone can do.

use jiff::Timestamp;
use serde_json::json;

use super::server::Behaviour;
use super::subjects::subjects;
use super::{AT, Server, impatient, sample, workshop};
use crate::channel::http::{HttpClient, HttpPolicy};
use crate::channel::{Kind, Try, Workshop};

#[tokio::test]
async fn a_webhook_goes_out_by_the_method_that_is_configured() {
    for method in ["POST", "PUT", "PATCH"] {
        let server = Server::answering(200, &[], "").await;
        let config = json!({ "url": server.base, "method": method });
        let channel = Kind::Webhook.build(&config, &workshop()).unwrap();
        channel.send(Try::of(&sample(), Timestamp::UNIX_EPOCH)).await.unwrap();
        assert_eq!(server.requests()[0].method, method);
    }
}

#[tokio::test]
async fn a_receiver_that_accepts_and_then_stalls_is_not_sent_to_again() {
    let subject = subjects().find(|subject| subject.kind == Kind::Webhook).unwrap();
    let server = Server::start(Behaviour::StalledBody).await;
    let channel = subject.kind.build(&(subject.config)(&server.base), &impatient()).unwrap();
    let sent = channel.send(Try::of(&sample(), AT.parse().unwrap())).await;
    assert_eq!(sent.unwrap().code, Some(200));
}

#[tokio::test]
async fn a_configured_proxy_is_used_and_checks_addresses_itself() {
    let proxy = Server::answering(200, &[], "ok").await;
    let policy =
        HttpPolicy { allow_plain_http: true, proxy: Some(proxy.base.clone()), ..HttpPolicy::default() };
    let behind = Workshop { http: HttpClient::new(policy).unwrap(), bus: None };
    let channel = Kind::Webhook.build(&json!({ "url": "http://10.1.2.3/x" }), &behind).unwrap();
    channel.send(Try::of(&sample(), Timestamp::UNIX_EPOCH)).await.unwrap();
    assert_eq!(proxy.requests().len(), 1);
}
