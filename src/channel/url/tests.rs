//! What URLs mean, what services are asked, and how much they take.

use super::*;
use crate::attachment::Attachment;
use crate::channel::conformance::{sample, workshop};
use crate::delivery::Action;
use crate::event::Severity;

const DISCORD: &str = "discord://123456789012345678/hunter2";
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn service(url: &str) -> Box<dyn Service> {
    open(url, workshop().http.policy()).unwrap_or_else(|fault| panic!("{url}: {fault}"))
}

fn asked(url: &str, delivery: &Delivery) -> Request {
    service(url).request(&Message::of(delivery), None)
}

/// One of each, at a server of one's own where there is a choice.
const URLS: [&str; 10] = [
    DISCORD,
    "workflows://host.example/w/s",
    "ntfys://host.example/topic",
    "gotifys://host.example/t",
    "mmosts://host.example/t",
    "pagerduty://0123456789abcdef0123456789abcdef",
    "gchat://s/k/t",
    "rockets://a/b@host.example",
    "pover://uuuuuuuuuuuuuuuuuuuuuuuuuuuuuu@tttttttttttttttttttttttttttttt",
    "opsgenie://k",
];

#[test]
fn a_url_leads_to_the_services_own_address() {
    for (url, expected) in [
        (DISCORD, "https://discord.com/api/v10/webhooks/123456789012345678/hunter2?wait=true"),
        ("discord://1/t?thread=7", "https://discord.com/api/v10/webhooks/1/t?wait=true&thread_id=7"),
        ("https://discord.com/api/webhooks/1/t-_Z?thread_id=7", "https://discord.com/api/v10/webhooks/1/t-_Z?wait=true&thread_id=7"),
        ("https://canary.discord.com/api/v9/webhooks/1/t", "https://discord.com/api/v10/webhooks/1/t?wait=true"),
        (
            "workflows://prod-1.westeurope.logic.azure.com:443/WF/sig-_",
            "https://prod-1.westeurope.logic.azure.com/workflows/WF/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=sig-_",
        ),
        (
            "https://x.d0.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/w/triggers/manual/paths/invoke?api-version=1&sig=s",
            "https://x.d0.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/w/triggers/manual/paths/invoke?api-version=1&sig=s",
        ),
        ("ntfy://topic", "https://ntfy.sh/"),
        ("ntfys://ntfy.sh/topic", "https://ntfy.sh/"),
        ("ntfys://u:p@ntfy.example:8443/topic", "https://ntfy.example:8443/"),
        ("ntfy://127.0.0.1:80/a/topic", "http://127.0.0.1/a"),
        ("gotifys://g.example/sub/Token.1", "https://g.example/sub/message"),
        ("gotify://127.0.0.1:81/T", "http://127.0.0.1:81/message"),
        ("mmosts://m.example/chat/abc", "https://m.example/chat/hooks/abc"),
        (&format!("pagerduty://{KEY}"), "https://events.pagerduty.com/v2/enqueue"),
        (&format!("pagerduty://{KEY}?region=eu"), "https://events.eu.pagerduty.com/v2/enqueue"),
        ("gchat://AbC/key/to%2Fken", "https://chat.googleapis.com/v1/spaces/AbC/messages?key=key&token=to%2Fken"),
        ("https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=t%3D", "https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=t%3D"),
        ("rockets://a/b@r.example:444/?to=%23general", "https://r.example:444/hooks/a/b"),
        ("rockets://r.example/a/b", "https://r.example/hooks/a/b"),
        ("pover://uuuuuuuuuuuuuuuuuuuuuuuuuuuuuU@tttttttttttttttttttttttttttttT", "https://api.pushover.net/1/messages.json"),
        ("opsgenie://k-1?region=eu", "https://api.eu.opsgenie.com/v2/alerts"),
    ] {
        assert_eq!(asked(url, &sample()).url.as_str(), expected, "{url}");
    }
}

#[test]
fn keys_keep_their_case_and_go_where_the_service_wants_them() {
    let pushover = asked("pover://uuuuuuuuuuuuuuuuuuuuuuuuuuuuuU@tttttttttttttttttttttttttttttT/My%20phone", &sample());
    assert_eq!(pushover.body["user"], "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuU");
    assert_eq!(pushover.body["token"], "tttttttttttttttttttttttttttttT");
    assert_eq!(pushover.body["device"], "My phone");
    for (url, name, expected) in [
        ("ntfys://u:p%40@n.example/t", "authorization", "Basic dTpwQA=="),
        ("ntfys://n.example/t?token=tk_1", "authorization", "Bearer tk_1"),
        ("ntfys://tk_1@n.example/t", "authorization", "Bearer tk_1"),
        ("ntfys://:tk_1@n.example/t", "authorization", "Bearer tk_1"),
        ("gotifys://g.example/To.K", "x-gotify-key", "To.K"),
        ("opsgenie://Ab-1", "authorization", "GenieKey Ab-1"),
    ] {
        let headers = asked(url, &sample()).headers;
        let found = headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.expose().as_str());
        assert_eq!(found, Some(expected), "{url}");
    }
    assert!(asked("ntfy://t", &sample()).headers.is_empty());
}

#[test]
fn faults_say_what_is_known_and_no_part_of_the_url() {
    for (url, message) in [
        ("", "is empty"),
        ("hunter2", "is no URL of a service"),
        ("hunter2:x", "is no URL of a service"),
        ("discrod://1/hunter2", "did you mean `discord`?"),
        ("hunter://x/hunter2", "allowed are discord, gchat, gotify"),
        ("https://hooks.example/hunter2", "kind webhook"),
        ("https://discord.com/hunter2", "no webhook of Discord"),
        ("https://x.webhook.office.com/hunter2", "switched off"),
        ("https://prod.logic.azure.com/hunter2", "has a `sig`"),
        ("discord://hunter2/t", "the id is a number"),
        ("discord://1/t/hunter2", "is not discord://ID/TOKEN"),
        ("discord://1/t?thread=hunter2", "not a number"),
        ("discord://1/t?threads=1", "did you mean `thread`?"),
        ("discord://hunter2@1/t", "before an @"),
        ("ntfys://hunter2.example", "names no topic"),
        ("ntfys://n.example/hunter2!", "a topic that is none"),
        ("ntfys://hunter2@n.example/t", "without a password"),
        ("ntfys://u:hunter2@n.example/t?token=x", "one of them"),
        ("gotifys://hunter2.example", "is not gotifys://HOST/TOKEN"),
        ("gotifys://g.example/hunter2?priority=1", "has an option"),
        ("mmosts://u:hunter2@m.example/t", "has a password"),
        ("pagerduty://hunter2", "no integration key"),
        (&format!("pagerduty://{KEY}@hunter2"), "takes the integration key alone"),
        (&format!("pagerduty://{KEY}?region=hunter2"), "neither us nor eu"),
        ("gchat://hunter2/k", "is not gchat://SPACE/KEY/TOKEN"),
        ("rockets://hunter2@r.example", "is not rockets://"),
        ("pover://hunter2@x", "30 letters"),
        ("opsgenie://k/hunter2", "has a path"),
    ] {
        let Err(fault) = UrlChannel::new(&json!({ "url": url }), &workshop()) else { panic!("{url} was built") };
        assert_eq!(fault.pointer, "/url", "{url} {fault}");
        assert!(fault.message.contains(message), "{url} {fault}");
        assert!(!fault.message.contains("hunter2"), "{fault}");
    }
    let Err(fault) = UrlChannel::new(&json!({ "url": DISCORD, "apiBase": "x" }), &workshop()) else { panic!() };
    assert_eq!(fault.pointer, "/apiBase");
}

#[test]
fn plain_http_is_refused_where_it_is_not_allowed() {
    for url in ["ntfy://n.example/t", "gotify://g.example/t", "mmost://m.example/t", "rocket://a/b@r.example"] {
        let Err(fault) = open(url, &HttpPolicy::default()) else { panic!("{url} was built") };
        assert!(fault.message.contains("plain http"), "{url} {fault}");
    }
}

/// More than anybody takes, and hostile.
fn huge() -> Delivery {
    let mut delivery = sample();
    delivery.title = "\"\\<&>*_[@everyone]\n".repeat(400);
    delivery.body = "é\"\\<b>&*_`[x](https://evil.example)\n\n".repeat(20_000);
    delivery.link = Some(format!("https://app.example/{}", "x".repeat(1900)));
    delivery.collapse_id = Some("c".repeat(5_000));
    delivery.event.source = "s".repeat(1_000);
    for index in 0..5 {
        delivery.actions.push(Action { label: format!("{index}{}", "l".repeat(74)), url: format!("https://a.example/{}", "y".repeat(1900)) });
    }
    delivery
}

#[test]
fn each_service_gets_no_more_than_it_takes() {
    let delivery = huge();
    let body = |url: &str| asked(url, &delivery).body;
    let units = |value: &Value| crate::channel::text::units(value.as_str().unwrap());
    let bytes = |value: &Value| value.as_str().unwrap().len();
    let discord = &body(URLS[0])["embeds"][0];
    assert!(units(&discord["title"]) <= 256 && units(&discord["description"]) <= 4096);
    assert!(units(&discord["title"]) + units(&discord["description"]) + units(&discord["footer"]["text"]) <= 6000);
    assert!(body(URLS[1]).to_string().len() <= 28 * 1024, "{}", body(URLS[1]).to_string().len());
    let ntfy = body(URLS[2]);
    assert!(bytes(&ntfy["message"]) <= 4096 && ntfy["actions"].as_array().unwrap().len() == 3);
    assert!(units(&body(URLS[3])["message"]) <= 16_000);
    assert!(units(&body(URLS[4])["attachments"][0]["text"]) <= 16_383);
    let pagerduty = body(URLS[5]);
    assert!(units(&pagerduty["payload"]["summary"]) <= 1024 && bytes(&pagerduty["dedup_key"]) <= 255);
    assert!(pagerduty.to_string().len() <= 512 * 1000);
    assert!(body(URLS[6]).to_string().len() <= 32_000, "{}", body(URLS[6]).to_string().len());
    assert!(bytes(&body(URLS[7])["attachments"][0]["text"]) <= 5_000);
    let pushover = body(URLS[8]);
    assert!(units(&pushover["message"]) <= 1024 && units(&pushover["title"]) <= 250);
    assert_eq!(pushover.get("url"), None, "a link that is too long is left out");
    let chinese = Delivery { body: "構建失敗".repeat(250), ..sample() };
    let whole = asked(URLS[8], &chinese).body["message"].as_str().unwrap().to_owned();
    assert_eq!(whole, chinese.body, "Pushover counts characters");
    let opsgenie = body(URLS[9]);
    assert!(units(&opsgenie["message"]) <= 130 && bytes(&opsgenie["description"]) <= 15_000);
    assert!(bytes(&opsgenie["alias"]) <= 512);
}

#[test]
fn nobody_is_called_and_no_mark_is_forged() {
    let mut delivery = sample();
    delivery.title = "@everyone [x](https://evil.example)".to_owned();
    delivery.body = r"@everyone \[x\](https://evil.example)".to_owned();
    for url in [URLS[0], URLS[4], URLS[7]] {
        let body = asked(url, &delivery).body.to_string();
        let title = ["\\\\[x\\\\](", "]\u{200b}("].iter().any(|part| body.contains(part));
        assert!(title, "{url} {body}");
        let silent = body.contains("allowed_mentions") || !body.replace("\"fallback\":\"@everyone", "").contains("@everyone");
        assert!(silent, "{url} {body}");
    }
    delivery.body = "<b onclick=x>&".to_owned();
    assert!(asked(URLS[6], &delivery).body.to_string().contains("&lt;b onclick=x&gt;&amp;"));
    let teams = asked(URLS[1], &sample()).body.to_string();
    assert!(!teams.contains(r#""TextBlock""#) && teams.contains(r#""text":"bold snake_case_name""#), "{teams}");
}

#[test]
fn links_are_buttons_or_stand_below_and_files_are_noted() {
    let mut delivery = sample();
    delivery.link = Some("https://app.example/t/1".to_owned());
    delivery.actions = vec![
        Action { label: "Log".to_owned(), url: "https://ci.example/7".to_owned() },
        Action { label: "Here".to_owned(), url: "/tasks/1".to_owned() },
    ];
    for file in [json!({ "name": "a.txt", "text": "x" }), json!({ "name": "plot", "url": "https://p.example/p" })] {
        delivery.attachments.push(serde_json::from_value::<Attachment>(file).unwrap());
    }
    for url in URLS {
        let body = asked(url, &delivery).body.to_string();
        for link in ["https://app.example/t/1", "https://ci.example/7", "https://p.example/p"] {
            assert!(body.contains(link), "{url} {link} {body}");
        }
        assert!(body.contains("Here: /tasks/1"), "{url} {body}");
    }
    assert_eq!(
        Message::of(&delivery).note(0).as_deref(),
        Some("1 of 2 attachments did not go out: the service takes no such files")
    );
    assert_eq!(Message::of(&sample()).note(0), None);
}

#[test]
fn files_go_along_where_the_service_takes_them() {
    let mut delivery = sample();
    let big = "x".repeat(6 * 1024 * 1024);
    for file in [
        json!({ "name": "a.csv", "contentType": "text/csv", "text": "1,2" }),
        json!({ "name": "p.png", "contentType": "image/png", "base64": "AAE=" }),
        json!({ "name": "big", "text": big }),
        json!({ "name": "bigger", "text": big }),
    ] {
        delivery.attachments.push(serde_json::from_value::<Attachment>(file).unwrap());
    }
    let discord = asked(URLS[0], &delivery);
    let seen: Vec<_> = discord.files.iter().map(|part| (part.name.as_str(), part.file.as_deref(), part.content_type.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("files[0]", Some("a.csv"), "text/csv"),
            ("files[1]", Some("p.png"), "image/png"),
            ("files[2]", Some("big"), "text/plain; charset=utf-8"),
        ]
    );
    assert_eq!(discord.body["attachments"][2], json!({ "id": 2, "filename": "big" }));
    let pushover = asked(URLS[8], &delivery).body;
    assert_eq!((&pushover["attachment_base64"], &pushover["attachment_type"]), (&json!("AAE="), &json!("image/png")));
    let message = Message::of(&delivery);
    let noted = |url: &str| message.note(service(url).files(&message));
    for (url, left) in [(URLS[0], "1 of 4"), (URLS[8], "3 of 4"), (URLS[2], "4 of 4")] {
        assert!(noted(url).unwrap().starts_with(left), "{url} {:?}", noted(url));
    }
}

#[test]
fn severity_is_what_the_service_calls_so() {
    let mut delivery = sample();
    for (severity, ntfy, gotify, pagerduty, pushover, opsgenie) in [
        (Severity::Info, 3, 4, "info", -1, "P5"),
        (Severity::Warning, 4, 6, "warning", 0, "P3"),
        (Severity::Critical, 5, 9, "critical", 1, "P1"),
    ] {
        delivery.severity = severity;
        assert_eq!(asked(URLS[2], &delivery).body["priority"], ntfy);
        assert_eq!(asked(URLS[3], &delivery).body["priority"], gotify);
        assert_eq!(asked(URLS[5], &delivery).body["payload"]["severity"], pagerduty);
        assert_eq!(asked(URLS[8], &delivery).body["priority"], pushover);
        assert_eq!(asked(URLS[9], &delivery).body["priority"], opsgenie);
    }
}

#[test]
fn what_has_one_collapse_id_is_one_incident() {
    let mut delivery = sample();
    assert_eq!(asked(URLS[5], &delivery).body["dedup_key"], delivery.id.as_str());
    assert_eq!(asked(URLS[9], &delivery).body["alias"], delivery.id.as_str());
    assert_eq!(asked(URLS[6], &delivery).body.get("thread"), None);
    delivery.collapse_id = Some("c-1".to_owned());
    assert_eq!(asked(URLS[5], &delivery).body["dedup_key"], "c-1");
    assert_eq!(asked(URLS[9], &delivery).body["alias"], "c-1");
    let chat = asked(URLS[6], &delivery);
    assert_eq!(chat.body["thread"]["threadKey"], "c-1");
    assert!(chat.url.query().unwrap().contains("REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"));
    let discord = service("discord://1/t?thread=7").request(&Message::of(&delivery), Some("99"));
    assert_eq!(discord.method, Method::PATCH);
    assert_eq!(discord.url.as_str(), "https://discord.com/api/v10/webhooks/1/t/messages/99?thread_id=7");
}

#[test]
fn an_empty_body_leaves_nothing_empty() {
    let mut delivery = sample();
    (delivery.title, delivery.body) = (String::new(), String::new());
    for url in URLS {
        let body = asked(url, &delivery).body.to_string();
        assert!(body.contains("task:created"), "{url} {body}");
    }
}

#[test]
fn limits_are_the_services_and_shared_by_who_shares_them() {
    let of = |url: &str| {
        let channel = UrlChannel::new(&json!({ "url": url }), &workshop()).unwrap();
        channel.limits(&Try::of(&sample(), jiff::Timestamp::UNIX_EPOCH))
    };
    let discord = of(DISCORD);
    assert_eq!((discord[0].most, discord[0].per, discord[0].burst), (5, Duration::from_secs(2), 5));
    assert_eq!(discord, of("https://discord.com/api/webhooks/123456789012345678/hunter2"));
    assert_ne!(discord[0].of, of("discord://7/hunter2")[0].of);
    let rocket = of("rockets://a/b@r.example");
    assert_eq!((rocket[0].most, rocket[0].per), (10, Duration::from_secs(60)));
    assert_eq!(rocket, of("rockets://r.example/a/b"));
    assert_ne!(rocket[0].of, of("rockets://r.example/a/c")[0].of, "each webhook has a count of its own");
    for url in URLS {
        for limit in of(url) {
            assert!(!limit.of.contains("hunter2") && limit.of.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{url} {}", limit.of);
        }
    }
}
