//! What may be subscribed, and what is shown of it.

use serde_json::json;

use super::*;

/// The user agent's key of RFC 8291, Appendix A.
const P256DH: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
const NOW: &str = "2026-11-20T10:00:00Z";

fn subscribe(body: &Value) -> Result<Device, Fault> {
    read(body.clone(), &HttpPolicy::default(), NOW.parse().unwrap())
}

fn browser(endpoint: &str, p256dh: &str, auth: &str) -> Value {
    json!({"subscription": {"endpoint": endpoint, "expirationTime": null, "keys": {"p256dh": p256dh, "auth": auth}}})
}

#[test]
fn both_ways_are_read_and_do_not_print() {
    let expo = json!({"expoPushToken": "ExponentPushToken[abc-123-def_XYZ]", "platform": "ios", "deviceName": " Ann's ", "user": "ann"});
    let expo = subscribe(&expo).unwrap();
    assert_eq!((expo.way.kind(), expo.device_name.as_deref()), (Kind::Expo, Some("Ann's")));
    assert_eq!(expo.way.masked(), "ExponentPushToken[…_XYZ]");
    let short = subscribe(&json!({"expoPushToken": "ExponentPushToken[hunter2]"})).unwrap();
    assert_eq!(short.way.masked(), "ExponentPushToken[…]");
    let web = subscribe(&browser("https://push.example/send/hunter2hunter2", P256DH, AUTH)).unwrap();
    assert_eq!((web.way.kind(), web.platform), (Kind::WebPush, Some(Platform::Web)));
    assert_eq!(web.way.masked(), "https://push.example/…ter2");
    for (device, secret) in [(&expo, "abc-123"), (&web, "hunter2"), (&web, P256DH), (&web, AUTH)] {
        assert!(!format!("{device:?}").contains(secret));
        let stored = serde_json::to_value(device).unwrap();
        assert!(stored.to_string().contains(secret), "{stored}");
        let read: Device = serde_json::from_value(stored).unwrap();
        assert_eq!(&read, device);
    }
}

#[test]
fn what_is_no_subscription_is_refused_with_its_place_and_without_its_address() {
    let padded = format!("{AUTH}==");
    assert!(subscribe(&browser("https://push.example/x", P256DH, &padded)).is_ok());
    let mut off_curve = decoded(P256DH).unwrap();
    off_curve[64] ^= 1;
    let off_curve = BASE64URL_NOPAD.encode(&off_curve);
    let mut over = browser("https://push.example/hunter2", P256DH, AUTH);
    over["subscription"]["expirationTime"] = json!(1_000_000_000_000_i64);
    for (body, pointer) in [
        (json!({}), ""),
        (json!({"expoPushToken": "hunter2"}), "/expoPushToken"),
        (json!({"expoPushToken": "ExponentPushToken[]"}), "/expoPushToken"),
        (json!({"expoPushToken": "ExponentPushToken[hunter2]x"}), "/expoPushToken"),
        (json!({"expoPushToken": "ExponentPushToken[hunter2\"]"}), "/expoPushToken"),
        (json!({"expoPushToken": "ExponentPushToken[a]", "platform": "fax"}), "/platform"),
        (json!({"expoPushToken": "ExponentPushToken[a]", "deviceName": "\u{7}"}), "/deviceName"),
        (json!({"expoPushToken": "ExponentPushToken[a]", "tokn": 1}), "/tokn"),
        (browser("http://push.example/hunter2", P256DH, AUTH), "/subscription/endpoint"),
        (browser("https://10.0.0.1/hunter2", P256DH, AUTH), "/subscription/endpoint"),
        (browser("https://[::1]/hunter2", P256DH, AUTH), "/subscription/endpoint"),
        (browser("https://localhost/hunter2", P256DH, AUTH), "/subscription/endpoint"),
        (browser("https://u:hunter2@push.example/", P256DH, AUTH), "/subscription/endpoint"),
        (browser("https://push.example/hunter2", "hunter2", AUTH), "/subscription/keys/p256dh"),
        (browser("https://push.example/hunter2", &off_curve, AUTH), "/subscription/keys/p256dh"),
        (browser("https://push.example/hunter2", P256DH, "aHVudGVyMg"), "/subscription/keys/auth"),
        (over, "/subscription/expirationTime"),
    ] {
        let fault = subscribe(&body).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{fault}");
        assert!(!fault.message.contains("hunter2") && !fault.message.contains("aHVudGVyMg"), "{fault}");
    }
}

#[test]
fn a_key_is_one_text_also_for_a_device_of_nobody() {
    let id = DeviceId::of("x");
    for user in [None, Some(Recipient::parse("ann@example.com, 2nd").unwrap())] {
        let key = DeviceKey { user, id: id.clone() };
        assert_eq!(DeviceKey::parse(&key.to_string()), Some(key.clone()));
        assert_eq!(serde_json::from_value::<DeviceKey>(json!(key)).unwrap(), key);
    }
    assert_eq!(DeviceKey::parse("_.nonsense"), None);
}
