//! Text made to break a message, and more of everything than any provider takes.

use serde_json::{Value, json};

use super::devices::try_at;
use super::server::Server;
use super::subjects::subjects;
use super::{build, sample};
use crate::attachment;
use crate::delivery::{Action, Delivery};

/// No provider of these takes a larger request.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

fn hostile() -> Delivery {
    let nasty = "<!channel> @everyone <script>x</script> ]]> %s ${HOME} {{7*7}} \u{202e}\u{0}\x1b[31m\r\nBcc: a@b.example\r\n\r\n\"}],\"a\":\"";
    let mut delivery = sample();
    delivery.title = nasty.repeat(50);
    delivery.body = format!("{}\n{}", nasty.repeat(400), "[a](javascript:x) **_`".repeat(1_000));
    delivery.link = Some(format!("https://app.example/{}", "x".repeat(1_900)));
    let action = |index: usize| Action {
        label: "<b>&\"'".repeat(10),
        url: format!("https://app.example/?a=\"><b>&{index}"),
    };
    delivery.actions = (0..5).map(action).collect();
    let files: Vec<Value> = (0..10)
        .map(|index| match index % 3 {
            0 => json!({ "name": format!("{index} <&'\u{e4}.txt"), "text": nasty.repeat(20) }),
            1 => json!({ "name": format!("{index}.bin"), "base64": "AAECAw==" }),
            _ => json!({ "name": format!("{index}.log"), "url": "https://ci.example/log?a=\"><b>" }),
        })
        .collect();
    let (files, bad) = attachment::read(&files.into());
    assert!(bad.is_empty(), "{bad:?}");
    delivery.attachments = files;
    delivery
}

#[tokio::test]
async fn hostile_text_and_too_much_of_it_make_a_request_that_providers_can_read() {
    let delivery = hostile();
    for subject in subjects() {
        let server = Server::answering(200, &[], subject.success).await;
        let sent = build(&subject, &server.base).send(try_at(&delivery, subject.kind, &server.base)).await;
        let receipt = sent.unwrap_or_else(|error| panic!("{}: {error:?}", subject.name()));
        assert_eq!(receipt.code, Some(200), "{}", subject.name());
        for request in server.requests() {
            assert!(request.body.len() < REQUEST_BYTES_MAX, "{}", subject.name());
            let is_json = request.headers["content-type"].to_str().is_ok_and(|kind| kind.contains("json"));
            let read = serde_json::from_slice::<Value>(&request.body);
            assert!(!is_json || read.is_ok(), "{} sent what is no JSON", subject.name());
            for value in request.headers.values() {
                assert!(!value.as_bytes().windows(4).any(|part| part == b"Bcc:"), "{}", subject.name());
            }
        }
    }
}
