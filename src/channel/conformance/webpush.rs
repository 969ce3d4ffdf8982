//! Push services of browsers: the errors that they document, and several browsers at once.

use super::server::{Behaviour, Server};
use super::subjects::{Documented, Subject};
use super::{AT, impatient, sample};
use crate::channel::webpush::tests::{browser, config};
use crate::channel::{Kind, SendError, Try};
use crate::device::Device;
use crate::outcome::Reason;

pub(super) fn subjects() -> Vec<Subject> {
    vec![Subject {
        kind: Kind::WebPush,
        way: "",
        // Its place is in the subscription.
        config: |_| config(),
        success: "",
        provider_id: None,
        body_decides: false,
        documented: documented(),
    }]
}

fn documented() -> Vec<Documented> {
    vec![
        (400, "", "permanent", Reason::Rejected),
        (401, "", "permanent", Reason::Unauthorized),
        (
            403,
            "the key in the authorization header does not correspond to the sender ID",
            "permanent",
            Reason::Unauthorized,
        ),
        (404, "", "permanent", Reason::Gone),
        (410, r#"{"code":410,"errno":106,"error":"Gone"}"#, "permanent", Reason::Gone),
        (413, "", "permanent", Reason::Rejected),
        // Too large for the telephone behind it.
        (413, r#"{"code":413,"errno":104,"error":"Payload Too Large"}"#, "permanent", Reason::Rejected),
        (500, "", "transient", Reason::ProviderError),
    ]
}

#[tokio::test]
async fn a_push_service_that_hangs_holds_up_no_other_browser() {
    let (well, hangs) = (Server::answering(201, &[], "").await, Server::start(Behaviour::Hang).await);
    let devices = [browser(&format!("{}/a", hangs.base)), browser(&format!("{}/b", well.base))];
    let channel = Kind::WebPush.build(&config(), &impatient()).unwrap();
    let delivery = sample();
    let attempt = Try { devices: &devices, ..Try::of(&delivery, AT.parse().unwrap()) };
    let error = channel.send(attempt).await.unwrap_err();
    assert!(matches!(error, SendError::Transient { .. }), "{error:?}");
    let tally = error.failure().tally.as_ref().unwrap();
    assert_eq!((tally.reached, &tally.left), (1, &vec![devices[0].key()]));
}

#[tokio::test]
async fn more_browsers_than_are_asked_at_once_are_all_asked() {
    let well = Server::answering(201, &[], "").await;
    let devices: Vec<Device> = (0..100).map(|number| browser(&format!("{}/{number}", well.base))).collect();
    let channel = Kind::WebPush.build(&config(), &super::workshop()).unwrap();
    let delivery = sample();
    let attempt = Try { devices: &devices, ..Try::of(&delivery, AT.parse().unwrap()) };
    let tally = channel.send(attempt).await.unwrap().tally.unwrap();
    assert_eq!((tally.reached, well.requests().len()), (100, 100));
}
