//! What notifications say: the default texts, a file that changes them, and a rule's own, by kind of channel.

use serde_json::{Value, json};

use crate::support::SOON;
use crate::support::bugle::{Bugle, Role, everything_to, rule, webhook, with};
use crate::support::sink::Sink;

#[tokio::test]
async fn a_file_of_texts_adds_to_the_default_ones_and_rules_still_win() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let texts = "[\"shop:order\"]\ntitle = \"Order {{id}}\"\nbody = \"**{{by}}** paid\"\n\n[error]\ntitle = \"Oh no\"\n";
    let file = bugle.folder.write("texts.toml", texts);
    bugle.set("ROUTER__TEXTS", &file.display().to_string());
    let own = json!({ "template": { "title": "Mine" } });
    bugle
        .start_with(&json!({
            "channels": [webhook("hook", &sink.url("/hook")), webhook("own", &sink.url("/own"))],
            "rules": [rule("all", "*", "hook"), with(rule("own", "shop:*", "own"), &own)],
        }))
        .await;
    let wire = bugle.wire().await;
    wire.event("shop:order", "1", &json!({ "id": 7, "by": "a_*b*" })).await;
    let said = sink.receives(1, "/hook").await[0].json();
    assert_eq!(
        (&said["title"], &said["body"]),
        (&json!("ℹ️ Order 7"), &json!("**a\\_\\*b\\*\u{200b}** paid"))
    );
    let said = sink.receives(1, "/own").await[0].json();
    assert_eq!((&said["title"], &said["body"]), (&json!("Mine"), &json!("**a\\_\\*b\\*\u{200b}** paid")));
    wire.event("error", "2", &json!({ "message": "disk full" })).await;
    let said = sink.receives(2, "/hook").await[1].json();
    assert_eq!((&said["title"], &said["body"]), (&json!("ℹ️ Oh no"), &json!("disk full")));
    wire.event("agent:stale", "3", &json!({ "agentName": "coder-1" })).await;
    let said = sink.receives(3, "/hook").await[2].json();
    assert_eq!(said["title"], "ℹ️ coder-1 shows no sign of life");
}

#[tokio::test]
async fn texts_that_cannot_be_used_are_refused_at_the_start_and_by_check_config() {
    for (name, text, words) in [
        ("texts.toml", "[\"a:b\"]\ntitel = 1\n", ["/a:b/titel", "did you mean `title`"]),
        ("texts.yaml", "a:b: { title: \"{{ x|uper }}\" }\n", ["/a:b/title", "did you mean `upper`"]),
        ("texts.json", "[]", ["texts.json", "object"]),
        ("texts.txt", "", ["texts.txt", ".toml"]),
    ] {
        let (bugle, sink) = (Bugle::new().await, Sink::start().await);
        bugle.cli(&["setup"]).await.ok();
        bugle.apply(&everything_to(&sink.url("/hook"))).await;
        let file = bugle.folder.write(name, text);
        bugle.set("ROUTER__TEXTS", &file.display().to_string());
        let said = bugle.cli(&["check-config"]).await;
        assert_eq!((said.code, said.stderr.trim().lines().count()), (78, 1), "{said:?}");
        assert!(words.iter().all(|word| said.stderr.contains(word)), "{said:?}");
        let mut router = bugle.spawn(Role::Router);
        assert_eq!(router.process.exit_code(SOON).await, 78);
        assert!(router.process.output().contains(words[0]), "{}", router.process.output());
    }
    let bugle = Bugle::new().await;
    bugle.set("ROUTER__TEXTS", "/no/such/texts.toml");
    let said = bugle.cli(&["check-config"]).await;
    assert!(said.code == 78 && said.stderr.contains("/no/such/texts.toml"), "{said:?}");
}

#[tokio::test]
async fn texts_are_found_beside_the_configuration_that_names_them() {
    let bugle = Bugle::new().await;
    bugle.folder.write("texts.yaml", "a:b: { title: hello }\n");
    let file = bugle.folder.write("bugle.toml", "[router]\ntexts = \"texts.yaml\"\n").display().to_string();
    bugle.cli(&["--config", &file, "check-config"]).await.ok();
}

#[tokio::test]
async fn a_kind_of_channel_can_have_texts_of_its_own() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    let slack = json!({ "id": "slack", "kind": "slack", "config": { "webhookUrl": sink.url("/slack") } });
    let template = json!({ "title": "General {{n}}", "body": "one **{{n}}**", "slack": "two *{{n}}*" });
    let documents = |template: &Value| {
        json!({
            "channels": [webhook("hook", &sink.url("/hook")), slack],
            "rules": [with(rule("r", "*", "hook"), &json!({ "channels": ["hook", "slack"], "template": template }))],
        })
    };
    bugle.start_with(&documents(&template)).await;
    bugle.wire().await.event("a:b", "1", &json!({ "n": "<!here>" })).await;
    let to_hook = sink.receives(1, "/hook").await[0].json();
    let marked = json!("one **\u{200b}\\<!here>\u{200b}**");
    assert_eq!((&to_hook["title"], &to_hook["body"]), (&json!("General <!here>"), &marked));
    let to_slack = sink.receives(1, "/slack").await[0].json().to_string();
    assert!(to_slack.contains("two _&lt;!here&gt;_") && !to_slack.contains("<!here>"), "{to_slack}");

    for (template, place) in [
        (
            json!({ "titel": "x" }),
            "/rules/0/template/titel: `titel` is not a known field; did you mean `title`?",
        ),
        (json!({ "slack": { "boddy": "x" } }), "/rules/0/template/slack/boddy"),
        (json!({ "webhook": "{{ x" }), "/rules/0/template/webhook: line 1"),
    ] {
        let refused = bugle.apply_as("documents", &documents(&template)).await;
        assert!(refused.code == 78 && refused.stderr.contains(place), "{refused:?}");
    }
}
