//! What browsers get, and what the answers of push services come to for all of them together.

use super::vapid::tests::{PRIVATE, PUBLIC};
use super::*;
use crate::channel::conformance::{sample, workshop};
use crate::device::Keys;
use crate::ids::{DeviceId, Recipient};

pub(in crate::channel) fn config() -> Value {
    serde_json::json!({
        "vapidPrivateKey": PRIVATE, "vapidPublicKey": PUBLIC, "subject": "mailto:ops@example.com",
        "baseUrl": "https://app.example/",
    })
}

/// A browser at a push service.
pub(in crate::channel) fn browser(endpoint: &str) -> Device {
    let keys = Keys {
        p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
            .to_owned(),
        auth: "BTBZMqHH6r4Tts7J_aSIgg".to_owned(),
    };
    Device {
        v: 1,
        id: DeviceId::of(endpoint),
        way: Way::WebPush { endpoint: endpoint.to_owned(), keys },
        platform: None,
        device_name: None,
        user: None,
        created_at: Timestamp::UNIX_EPOCH,
        last_seen_at: Timestamp::UNIX_EPOCH,
        moved_from: None,
        revision: 1,
    }
}

fn adapter() -> WebPush {
    WebPush::new(&config(), &workshop()).unwrap()
}

fn counted(statuses: &[u16]) -> Result<Receipt, SendError> {
    let devices: Vec<Device> = statuses.iter().enumerate().map(|(index, _)| browser(&index.to_string())).collect();
    let answer = |status: &u16| {
        let retry_after = (*status == 429).then_some(Duration::from_secs(7));
        Some(Ok(Answer { status: *status, retry_after, body: Vec::new() }))
    };
    count(&devices, statuses.iter().map(answer).collect(), || SendError::late(Duration::ZERO))
}

#[test]
fn the_payload_is_declarative_and_its_links_are_absolute() {
    let mut delivery = sample();
    delivery.link = Some("/tasks/7?x=1".to_owned());
    let button = |url: &str| Action { label: "Go".to_owned(), url: url.to_owned() };
    delivery.actions = vec![button("https://other.example/a"), button("/b"), button("/c")];
    let json = serde_json::to_value(payload(&delivery, Some(&adapter().base))).unwrap();
    assert_eq!(json["web_push"], 8030);
    let shown = &json["notification"];
    assert_eq!((&shown["title"], &shown["navigate"]), (&"Task <created> & more".into(), &"https://app.example/tasks/7?x=1".into()));
    assert_eq!(shown["body"], "bold snake_case_name\n\n<!channel>");
    assert_eq!(shown["actions"][1]["navigate"], "https://app.example/b");
    assert_eq!(shown["actions"].as_array().unwrap().len(), 2);
    assert_eq!(shown["data"]["type"], "task:created");
    for (link, navigate) in [
        ("//evil.example/x", "https://app.example/"),
        ("javascript:alert(1)", "https://app.example/"),
        ("https://other.example/x", "https://other.example/x"),
    ] {
        delivery.link = Some(link.to_owned());
        assert_eq!(payload(&delivery, Some(&adapter().base)).notification.navigate, navigate);
    }
}

#[test]
fn a_title_that_nobody_sees_is_the_events_type() {
    let delivery = Delivery { title: "\u{200b}\u{202e} ".to_owned(), ..sample() };
    assert_eq!(payload(&delivery, None).notification.title, "task:created");
}

#[test]
fn a_long_body_gives_way_and_a_long_link_too() {
    let mut delivery = sample();
    delivery.body = "\"Grüße\" 🚀 ".repeat(2_000);
    for link in ["/short".to_owned(), format!("/{}", "x".repeat(5_000))] {
        delivery.link = Some(link);
        let json = serde_json::to_vec(&payload(&delivery, Some(&adapter().base))).unwrap();
        assert!((PAYLOAD_BYTES_MAX - 100..=PAYLOAD_BYTES_MAX).contains(&json.len()), "{}", json.len());
        // What Mozilla's service takes for Firefox on Android: 4,096 bytes of base64.
        let Way::WebPush { keys, .. } = browser("").way else { panic!("a browser") };
        let (public_key, auth) = (decoded(&keys.p256dh).unwrap(), decoded(&keys.auth).unwrap());
        let body = encrypt(&Receiver { public_key, auth }, &json).unwrap();
        assert!(body.len() <= 2_744, "{}", body.len());
    }
}

#[test]
fn headers_follow_the_severity_the_collapse_id_and_the_time_that_is_left() {
    let (adapter, mut delivery) = (adapter(), sample());
    let headers = adapter.headers(&delivery, "2026-11-20T10:00:00Z".parse().unwrap());
    assert_eq!((&headers["ttl"], &headers["urgency"]), (&"86400".parse().unwrap(), &"normal".parse().unwrap()));
    assert!(!headers.contains_key("topic"));
    delivery.collapse_id = Some("incident 7, with a name that is much longer than a topic".to_owned());
    delivery.severity = Severity::Critical;
    let headers = adapter.headers(&delivery, "2026-11-21T09:59:00Z".parse().unwrap());
    assert_eq!((&headers["ttl"], &headers["urgency"]), (&"60".parse().unwrap(), &"high".parse().unwrap()));
    let topic = headers["topic"].to_str().unwrap();
    assert!(topic.len() <= 32 && topic.bytes().all(|byte| byte.is_ascii_alphanumeric()));
}

#[test]
fn answers_come_to_one_end_and_a_browser_that_is_gone_is_named() {
    let sent = counted(&[201, 410, 404]).unwrap();
    let tally = sent.tally.unwrap();
    assert_eq!((tally.reached, tally.gone.len(), sent.code), (1, 2, Some(201)));
    assert!(matches!(counted(&[410]), Err(SendError::Permanent(failure)) if failure.reason == Reason::Gone));
    let error = counted(&[201, 500]).unwrap_err();
    assert!(matches!(&error, SendError::Transient { .. }));
    assert_eq!(error.failure().tally.as_ref().unwrap().left, [browser("1").key()]);
}

#[test]
fn a_push_service_speaks_for_its_browser_and_never_for_the_channel() {
    assert_eq!(counted(&[403, 201]).unwrap().tally.unwrap().refused, 1);
    for statuses in [&[429][..], &[429, 201], &[429, 429, 429]] {
        let error = counted(statuses).unwrap_err();
        let wait = Some(Duration::from_secs(7));
        assert!(matches!(&error, SendError::Transient { retry_after, .. } if *retry_after == wait), "{error:?}");
        assert_eq!(error.failure().reason, Reason::RateLimited);
    }
}

#[test]
fn no_push_service_makes_others_wait_for_a_day() {
    for status in [429, 503] {
        let answer = Answer { status, retry_after: Some(Duration::from_secs(86_400)), body: Vec::new() };
        let error = count(&[browser("a")], vec![Some(Ok(answer))], || SendError::late(Duration::ZERO)).unwrap_err();
        assert!(matches!(error, SendError::Transient { retry_after: Some(RETRY_AFTER_MAX), .. }), "{error:?}");
    }
}

#[test]
fn a_key_that_nobody_accepts_is_ours_and_one_that_one_user_refuses_is_theirs() {
    let refused = |users: &[Option<&str>]| {
        let devices: Vec<Device> = users.iter().enumerate().map(|(index, user)| Device {
            user: user.map(|user| Recipient::parse(user).unwrap()),
            ..browser(&index.to_string())
        }).collect();
        let answer = |_| Some(Ok(Answer { status: 403, retry_after: None, body: Vec::new() }));
        count(&devices, users.iter().map(answer).collect(), || SendError::late(Duration::ZERO)).unwrap_err()
    };
    for theirs in [&[Some("ann")][..], &[None], &[Some("ann"), Some("ann"), Some("ann")]] {
        let error = refused(theirs);
        assert!(matches!(&error, SendError::Permanent(failure) if failure.reason == Reason::Unauthorized), "{error:?}");
    }
    for ours in [&[Some("ann"), Some("bob")][..], &[None, None], &[Some("ann"), None]] {
        assert!(matches!(refused(ours), SendError::Ours(_)));
    }
}
