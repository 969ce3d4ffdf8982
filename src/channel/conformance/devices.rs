//! Kinds that address devices: one at a server of ours for the whole suite, and what is theirs alone.

use super::server::{Behaviour, Server};
use super::{AT, PATH_SECRET, impatient, sample};
use crate::channel::webpush::tests::{browser, config};
use crate::channel::{Kind, SendError, Try};
use crate::delivery::Delivery;
use crate::device::{Device, Way};
use crate::outcome::Reason;

/// Status, body, class and reason.
type Documented = (u16, &'static str, &'static str, Reason);

/// A try, to one device where the kind addresses devices.
pub(super) fn try_at<'a>(delivery: &'a Delivery, kind: Kind, base: &str) -> Try<'a> {
    Try { devices: devices(kind, base), ..Try::of(delivery, AT.parse().unwrap()) }
}

/// A test's few bytes stay until it ends.
fn devices(kind: Kind, base: &str) -> &'static [Device] {
    let mut device = browser(&format!("{base}/{PATH_SECRET}"));
    if kind == Kind::Expo {
        device.way = Way::Expo { expo_push_token: format!("ExponentPushToken[{PATH_SECRET}]") };
    }
    if matches!(kind, Kind::Expo | Kind::WebPush) { vec![device].leak() } else { &[] }
}

/// The errors that providers of devices document.
pub(super) fn documented_for_devices(kind: Kind) -> Vec<Documented> {
    if kind == Kind::Expo { documented_by_expo() } else { documented_by_push_services() }
}

fn documented_by_expo() -> Vec<Documented> {
    vec![
        (
            200,
            r#"{"data":[{"status":"error","message":"\"ExponentPushToken[XXXXsecretpathXXXX]\" is not a registered push notification recipient","details":{"error":"DeviceNotRegistered"}}]}"#,
            "permanent",
            Reason::Gone,
        ),
        (
            200,
            r#"{"data":[{"status":"error","message":"m","details":{"error":"MessageTooBig"}}]}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            200,
            r#"{"data":[{"status":"error","message":"m","details":{"error":"MessageRateExceeded"}}]}"#,
            "transient",
            Reason::RateLimited,
        ),
        (
            200,
            r#"{"data":[{"status":"error","message":"m","details":{"error":"MismatchSenderId"}}]}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (
            200,
            r#"{"data":[{"status":"error","message":"m","details":{"error":"InvalidCredentials"}}]}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (
            200,
            r#"{"errors":[{"code":"API_ERROR","message":"ExponentPushToken[XXXXsecretpathXXXX]"}]}"#,
            "transient",
            Reason::ProviderError,
        ),
        (
            400,
            r#"{"errors":[{"code":"VALIDATION_ERROR","message":"\"ExponentPushToken[XXXXsecretpathXXXX]\" is not valid"}]}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            400,
            r#"{"errors":[{"code":"PUSH_TOO_MANY_EXPERIENCE_IDS","message":"m","details":{"@a/one":["x"]}}]}"#,
            "ours",
            Reason::Misconfigured,
        ),
        (
            400,
            r#"{"errors":[{"code":"PUSH_TOO_MANY_NOTIFICATIONS","message":"m"}]}"#,
            "permanent",
            Reason::Rejected,
        ),
        (
            401,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"The bearer token is invalid"}]}"#,
            "ours",
            Reason::Unauthorized,
        ),
        (429, r#"{"errors":[{"code":"TOO_MANY_REQUESTS","message":"m"}]}"#, "limited", Reason::RateLimited),
        (
            500,
            r#"{"errors":[{"code":"INTERNAL_SERVER_ERROR","message":"m"}]}"#,
            "transient",
            Reason::ProviderError,
        ),
    ]
}

fn documented_by_push_services() -> Vec<Documented> {
    vec![
        (400, "", "permanent", Reason::Rejected),
        (401, "", "ours", Reason::Unauthorized),
        (
            403,
            "the key in the authorization header does not correspond to the sender ID",
            "ours",
            Reason::Unauthorized,
        ),
        (404, "", "permanent", Reason::Gone),
        (410, r#"{"code":410,"errno":106,"error":"Gone"}"#, "permanent", Reason::Gone),
        (413, "", "permanent", Reason::Rejected),
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
