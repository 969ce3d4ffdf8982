//! What phones get, and what Expo's answers mean for each of them.

use super::*;
use crate::channel::conformance::{sample, workshop};
use crate::channel::tally::Ticket;
use crate::device::DeviceKey;
use crate::ids::DeviceId;

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, retry_after: None, body: body.to_string().into_bytes() }
}

fn key(name: &str) -> DeviceKey {
    DeviceKey { user: None, id: DeviceId::of(name) }
}

fn style() -> Style {
    Style { channel_id: CHANNEL.to_owned(), category_id: None, sound: Some(SOUND.to_owned()) }
}

#[test]
fn the_message_is_loud_leads_somewhere_and_is_the_same_on_every_try() {
    let (mut delivery, style) = (sample(), style());
    delivery.link = Some("/tasks/7".to_owned());
    delivery.severity = Severity::Critical;
    delivery.collapse_id = Some("incident".to_owned());
    let json = serde_json::to_value(message(&delivery, &style)).unwrap();
    assert_eq!(
        (&json["sound"], &json["priority"], &json["channelId"], &json["interruptionLevel"]),
        (&json!("default"), &json!("high"), &json!("approvals"), &json!("time-sensitive"))
    );
    assert_eq!(json["expiration"], delivery.expires_at.as_second());
    assert_eq!((&json["data"]["type"], &json["data"]["url"]), (&json!("task:created"), &json!("/tasks/7")));
    assert_eq!(json["body"], "bold snake_case_name\n\n<!channel>");
    assert_eq!((json["collapseId"].as_str().unwrap().len(), &json["collapseId"]), (24, &json["tag"]));
}

#[test]
fn a_long_body_gives_way() {
    let (mut delivery, style) = (sample(), style());
    delivery.body = "\"Grüße\" 🚀 ".repeat(2_000);
    let length = serde_json::to_vec(&message(&delivery, &style)).unwrap().len();
    assert!((3_400..=PAYLOAD_BYTES_MAX).contains(&length), "{length}");
    delivery.link = Some(format!("/{}", "x".repeat(5_000)));
    let length = serde_json::to_vec(&message(&delivery, &style)).unwrap().len();
    assert!(length <= PAYLOAD_BYTES_MAX, "{length}");
}

#[test]
fn each_ticket_is_judged_by_its_own_word() {
    let error = |word: &str| json!({"status": "error", "message": "ExponentPushToken[x]", "details": {"error": word}});
    let words = ["DeviceNotRegistered", "MessageRateExceeded", "InvalidCredentials", "MessageTooBig", "News"];
    let mut data = vec![json!({"status": "ok", "id": "t-1"})];
    data.extend(words.map(error));
    data.push(json!({"status": "error", "message": "no details"}));
    let judged = answer::tickets(&answer(200, &json!({"data": data})), 7).unwrap();
    assert_eq!(judged[0], Answered::Reached(Some("t-1".to_owned())));
    let classes: Vec<&str> = judged[1..]
        .iter()
        .map(|answered| match answered {
            Answered::Reached(_) => "reached",
            Answered::Gone(failure) => {
                assert_eq!(failure.detail, "Expo answered DeviceNotRegistered");
                "gone"
            }
            Answered::Failed(SendError::Transient { .. }) => "transient",
            Answered::Failed(SendError::RateLimited { .. }) => "limited",
            Answered::Failed(SendError::Ours(_)) => "ours",
            Answered::Failed(SendError::Permanent(_)) => "permanent",
        })
        .collect();
    assert_eq!(classes, ["gone", "transient", "ours", "permanent", "transient", "transient"]);
    // Fewer tickets than devices are no answer.
    assert!(answer::tickets(&answer(200, &json!({"data": data})), 8).is_err());
}

#[test]
fn receipts_are_told_apart_and_what_is_not_there_still_waits() {
    let tickets: Vec<Ticket> = ["a", "b", "c", "d", "e"]
        .map(|name| Ticket { id: name.to_owned(), device: key(name) })
        .to_vec();
    let error = |word: &str| json!({"status": "error", "message": "m", "details": {"error": word}});
    let data = json!({"a": {"status": "ok"}, "b": error("DeviceNotRegistered"), "c": error("MessageRateExceeded"),
                      "d": error("MessageTooBig"), "other": {"status": "ok"}});
    let mut told = Told::default();
    answer::receipts(&answer(200, &json!({"data": data})), &tickets, &mut told).unwrap();
    assert_eq!((told.confirmed, told.refused), (1, 1));
    assert_eq!((told.gone, told.again), (vec![key("b")], vec![key("c")]));
    assert_eq!(told.waiting, [tickets[4].clone()]);
    let error = json!({"errors": [{"code": "PUSH_TOO_MANY_RECEIPTS", "message": "m"}]});
    assert!(answer::receipts(&answer(400, &error), &tickets, &mut Told::default()).is_err());
}

#[test]
fn projects_are_read_from_the_error_that_names_them() {
    let error = json!({"errors": [{"code": "PUSH_TOO_MANY_EXPERIENCE_IDS", "message": "m",
                                   "details": {"@a/one": ["x", "y"], "@a/two": ["z"]}}]});
    let mut projects = answer::projects(&answer(400, &error)).unwrap();
    projects.sort();
    assert_eq!(projects, [vec!["x".to_owned(), "y".to_owned()], vec!["z".to_owned()]]);
    assert!(answer::projects(&answer(200, &json!({"data": []}))).is_none());
}

#[test]
fn what_is_limited_is_the_account_and_each_device_counts() {
    let expo = |config: Value| Expo::new(&config, &workshop()).unwrap();
    let delivery = sample();
    let devices = [crate::channel::webpush::tests::browser("a"), crate::channel::webpush::tests::browser("b")];
    let attempt = Try { devices: &devices, ..Try::of(&delivery, Timestamp::UNIX_EPOCH) };
    let limit = expo(json!({"accessToken": "hunter2"})).limits(&attempt).remove(0);
    assert_eq!((limit.most, limit.cost, limit.per), (600, 2, Duration::from_secs(1)));
    assert!(!limit.of.contains("hunter2"));
    let other = expo(json!({"accessToken": ""})).limits(&attempt).remove(0);
    assert_ne!(limit.of, other.of);
}

#[test]
fn settings_are_checked_and_secrets_do_not_print() {
    let of = |config: Value| Expo::new(&config, &workshop());
    assert!(!format!("{:?}", of(json!({"accessToken": "hunter2"})).unwrap()).contains("hunter2"));
    assert_eq!(of(json!({"accessToken": "hunter2\n"})).err().map(|fault| fault.pointer), None);
    for (config, pointer) in [
        (json!({"accessToken": "a\nhunter2"}), "/accessToken"),
        (json!({"receiptsAfterMs": 0}), "/receiptsAfterMs"),
        (json!({"apiBase": "hunter2"}), "/apiBase"),
        (json!({"token": "hunter2"}), "/token"),
    ] {
        let fault = of(config).unwrap_err();
        assert_eq!(fault.pointer, pointer);
        assert!(!fault.message.contains("hunter2"));
    }
    assert!(expo_sound("none").is_none() && expo_sound("").as_deref() == Some("default"));
}

fn expo_sound(sound: &str) -> Option<String> {
    Expo::new(&json!({ "sound": sound }), &workshop()).unwrap().style.sound
}
