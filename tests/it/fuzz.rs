//! What strangers may send, made up by the thousand: nothing panics, and what is read means the same when it is read
//! again. `make fuzz` runs millions.

use std::path::PathBuf;
use std::sync::LazyLock;

use boon::{Compiler, SchemaIndex, Schemas};
use bugle::channel::markdown::Document;
use bugle::config::Settings;
use bugle::delivery::Format;
use bugle::documents::{DocumentFile, TokenSpec, strict};
use bugle::event::decode::{Incoming, decode, percent_decoded};
use bugle::event::{Event, EventType};
use bugle::ids::WorkspaceId;
use bugle::route::template::Template;
use bugle::rule::condition::Condition;
use bugle::rule::pattern::Pattern;
use bugle::rule::{Rule, RuleSpec};
use bugle::send::SendRequest;
use bugle::source::map::{self, Arrival};
use bugle::source::{Source, SourceSpec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::Folder;

/// Texts that look like what is meant, and some that do not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-c*:._ -]{0,24}",
        1 => "\\PC{0,40}",
        1 => proptest::sample::select(vec![
            "", "__proto__", "a.b.0", "_event.type", "\u{202e}", "\u{0}", "9e999", "-0", "null", "true", "${X}", "{{a}}",
        ])
        .prop_map(str::to_owned),
    ]
}

/// Any JSON, a few levels deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((text(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// JSON in the shape of a condition, mostly.
fn condition() -> impl Strategy<Value = Value> {
    const OPERATORS: [&str; 15] = [
        "==",
        "!=",
        ">",
        ">=",
        "<",
        "<=",
        "includes",
        "not_includes",
        "exists",
        "not_exists",
        "in",
        "not_in",
        "starts_with",
        "ends_with",
        "matches",
    ];
    let leaf = (text(), proptest::sample::select(OPERATORS.to_vec()), value())
        .prop_map(|(field, op, value)| json!({"field": field, "op": op, "value": value}));
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|parts| json!({"and": parts})),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|parts| json!({"or": parts})),
            inner.prop_map(|part| json!({"not": part})),
        ]
    })
}

fn template() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        text(),
        proptest::sample::select(vec![
            "{{",
            "}}",
            "{%",
            "%}",
            "{{ a }}",
            "{{a.b.0}}",
            "{% if a %}",
            "{% endif %}",
            "{% for x in a %}",
            "{{ x }}",
            "{% endfor %}",
            "{{ a|default('x')|upper }}",
            "{{ a|truncate(3) }}",
            "{#",
            "#}",
            "{{ a|date }}",
            "{{ 1/0 }}",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// TOML in the shape of the settings, mostly.
fn settings() -> impl Strategy<Value = String> {
    let section = proptest::sample::select(vec![
        "", "[nats]", "[router]", "[worker]", "[api]", "[log]", "[keep]", "[x]",
    ]);
    let key = prop_oneof![
        3 => proptest::sample::select(vec![
            "url", "prefix", "slots", "level", "listen", "admin_token", "documents", "kinds", "channel_share", "drain_ms",
            "allow_addresses", "events_days", "replicas", "data_dir",
        ])
        .prop_map(str::to_owned),
        1 => "[a-z_.\"]{0,8}",
    ];
    let found = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        text().prop_map(|text| format!("{text:?}")),
        proptest::collection::vec(text(), 0..3).prop_map(|texts| format!("{texts:?}")),
        text(),
    ];
    let line = (key, found).prop_map(|(key, found)| format!("{key} = {found}"));
    let part = (section, proptest::collection::vec(line, 0..3));
    let parts = proptest::collection::vec(part, 0..3);
    parts.prop_map(|parts| {
        let lines =
            parts.into_iter().flat_map(|(section, lines)| std::iter::once(section.to_owned()).chain(lines));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// A file of this thread's own.
fn file(name: &str, text: &str) -> PathBuf {
    thread_local! { static FOLDER: Folder = Folder::new(); }
    FOLDER.with(|folder| folder.write(name, text))
}

fn event(data: &Value) -> Option<Event> {
    let body =
        json!({"specversion": "1.0", "id": "1", "source": "s", "type": "a:b", "data": data}).to_string();
    read(&[("content-type", "application/cloudevents+json")], body.as_bytes())
}

fn read(headers: &[(&str, &str)], body: &[u8]) -> Option<Event> {
    decode(&Incoming {
        workspace: WorkspaceId::default(),
        subject_type: Some("a.b"),
        headers,
        body,
        fallback_id: "1",
        fallback_source: "nats",
        received_at: jiff::Timestamp::UNIX_EPOCH,
    })
    .ok()
}

/// As a validator that is not ours judges.
fn schema_of_rules(rule: &Value) -> Result<(), String> {
    const PLACE: &str = "https://example.com/rule.json";
    static JUDGE: LazyLock<(Schemas, SchemaIndex)> = LazyLock::new(|| {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.add_resource(PLACE, bugle::schema::Name::Rule.schema()).unwrap();
        let index = compiler.compile(PLACE, &mut schemas).unwrap();
        (schemas, index)
    });
    JUDGE.0.validate(rule, JUDGE.1).map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn any_message_is_an_event_or_refused(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            value().prop_map(|value| value.to_string().into_bytes()),
        ],
        names in proptest::collection::vec(proptest::sample::select(vec![
            "content-type", "ce-id", "ce-source", "ce-type", "ce-specversion", "ce-time", "ce-severity", "traceparent",
            "ce-datacontenttype",
        ]), 0..8),
        values in proptest::collection::vec(prop_oneof![
            text(),
            proptest::sample::select(vec![
                "1.0", "application/json", "application/cloudevents+json", "text/plain", "2026-01-02T03:04:05Z", "%zz%41",
            ])
            .prop_map(str::to_owned),
        ], 8),
    ) {
        let headers: Vec<(&str, &str)> =
            names.iter().copied().zip(values.iter().map(String::as_str)).collect();
        if let Some(event) = read(&headers, &body) {
            prop_assert!(EventType::parse(event.event_type.as_str()).is_ok());
            let again: Value = serde_json::from_str(event.data_json.get()).unwrap();
            prop_assert_eq!(again, event.data);
        }
    }

    #[test]
    fn percent_decoding_takes_any_text(text in "\\PC{0,60}") {
        let _decoded = percent_decoded(&text);
    }

    #[test]
    fn any_pattern_is_read_or_refused_and_matching_ends(pattern in "[ab*:.]{0,60}", name in "[ab:.]{0,200}") {
        if let Ok(pattern) = Pattern::parse(&pattern) {
            let _matches = pattern.matches(&name);
        }
    }

    #[test]
    fn a_type_matches_itself_read_as_a_pattern(name in "[a-c]{1,3}([:.][a-c]{1,3}){0,5}") {
        let pattern = Pattern::parse(&name).unwrap();
        prop_assert!(pattern.matches(EventType::parse(&name).unwrap().as_str()));
    }

    #[test]
    fn any_condition_is_read_or_refused_and_holds_or_does_not(condition in condition(), data in value()) {
        if let (Ok(condition), Some(event)) = (Condition::parse(&condition), event(&data)) {
            prop_assert_eq!(condition.holds(&event), condition.holds(&event));
        }
    }

    #[test]
    fn what_is_no_condition_is_refused(condition in value()) {
        let _read = Condition::parse(&condition);
    }

    #[test]
    fn any_template_is_compiled_or_refused_and_renders_or_fails(source in template(), data in value()) {
        if let (Ok(template), Some(event)) = (Template::compile(&source), event(&data)) {
            let _rendered = template.render(&event);
            let _body = template.render_markdown(&event);
        }
    }

    #[test]
    fn any_markdown_is_rendered_for_every_provider(source in "[a-z*_`\\[\\]()<>!&#|~\\\\\n -]{0,200}|\\PC{0,200}") {
        let markdown = Document::parse(&source);
        prop_assert!(markdown.to_telegram(100).encode_utf16().count() <= 100 * 6);
        prop_assert!(markdown.to_slack(100, 3).len() <= 3);
        prop_assert!(markdown.to_markdown(100, true).encode_utf16().count() <= 100);
        let again = Document::parse(&markdown.to_markdown(10_000, false));
        prop_assert!(again.to_telegram(10_000).matches("<a ").count() <= markdown.to_telegram(10_000).matches("<a ").count());
        let _plain = markdown.to_plain(100);
    }

    #[test]
    fn any_html_is_rendered_with_tags_that_are_known_and_end(
        source in "(</?(b|i|u|s|a|p|ul|li|pre|code|blockquote|script|br|h1|x)( href=\"https://a.example\")?>|[a-z&;<>\"'=/!* \n-]{0,6}){0,60}"
    ) {
        let html = Document::read(&source, Format::Html);
        let shown = html.to_telegram(200);
        let mut open = Vec::new();
        for part in shown.split('<').skip(1) {
            let tag = part.split('>').next().unwrap_or_default();
            let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
            prop_assert!(["b", "i", "u", "s", "a", "code", "pre", "blockquote"].contains(&name), "{}", shown);
            match tag.strip_prefix('/') {
                Some(_) => prop_assert_eq!(open.pop(), Some(name), "{}", shown),
                None => open.push(name),
            }
        }
        prop_assert!(open.is_empty(), "{}", shown);
        prop_assert!(html.to_whatsapp(100).encode_utf16().count() <= 100);
    }

    #[test]
    fn any_body_of_the_api_is_read_or_refused(body in value(), more in value()) {
        let mut send = json!({"channel": "c", "title": "t", "body": "b"});
        let mut rule = json!({"id": "r", "events": ["*"], "channels": ["c"]});
        if let (Value::Object(fields), Value::Object(more)) = (&body, &more) {
            send.as_object_mut().unwrap().extend(fields.clone());
            rule.as_object_mut().unwrap().extend(more.clone());
        }
        for body in [body.clone(), send] {
            let _send = strict::<SendRequest>(body.clone());
            let _token = strict::<TokenSpec>(body.clone());
            let _file = strict::<DocumentFile>(body);
        }
        if let Ok(spec) = strict::<RuleSpec>(rule) {
            let _rule = Rule::compile(&spec);
        }
    }

    #[test]
    fn any_message_of_a_source_is_read_or_refused(body in value(), field in text(), template in template()) {
        let mut alert = json!({"status": "firing", "startsAt": "2026-11-21T09:00:00Z", "labels": body.clone()});
        if let (Value::Object(fields), Value::Object(more)) = (&mut alert, &body) {
            fields.extend(more.clone());
        }
        let group = json!({"version": "4", "alerts": [alert, body.clone()]});
        let map = json!({"type": field, "time": template, "severity": "{{a}}", "data": "{{b}}", "recipients": "{{c}}"});
        for (format, body) in [("json", &body), ("cloudevents", &body), ("alertmanager", &group)] {
            let spec = json!({"id": "s", "format": format, "http": {"secret": "a-secret-of-the-tests"}, "map": map});
            let Ok(spec) = strict::<SourceSpec>(spec) else { continue };
            let Ok(source) = Source::compile(&WorkspaceId::default(), &spec) else { continue };
            let arrival = Arrival {
                subject: None,
                headers: vec![(field.clone(), field.clone())],
                body: body.to_string().into(),
                received_at: "2026-11-21T10:00:00Z".parse().unwrap(),
                place: None,
            };
            let reading = map::read(&source, &arrival);
            prop_assert!(!reading.drafts.is_empty() || !reading.faults.is_empty());
        }
    }

    #[test]
    fn what_our_checks_take_the_schema_takes_too(
        pattern in text(),
        condition in condition(),
        template in template(),
        recipients in proptest::collection::vec(text(), 0..2),
        more in value(),
    ) {
        let mut rule = json!({"id": "r", "events": [pattern], "channels": ["c"], "condition": condition});
        rule["template"] = if recipients.is_empty() { template.into() } else { json!({"title": template, "link": null}) };
        rule["recipients"] = recipients.into();
        if let Value::Object(more) = more {
            rule.as_object_mut().unwrap().extend(more);
        }
        if strict::<RuleSpec>(rule.clone()).is_ok_and(|spec| Rule::compile(&spec).is_ok()) {
            prop_assert_eq!(schema_of_rules(&rule), Ok(()));
        }
    }

    #[test]
    fn what_is_imported_passes_the_checks_of_documents(channel in value(), rule in value(), more in value()) {
        let mut rules = vec![rule];
        let mut sound = json!({"id": "r", "events": ["a:*"], "channels": ["c"]});
        if let Value::Object(more) = more {
            sound.as_object_mut().unwrap().extend(more);
            rules.push(sound);
        }
        let hook = json!({"type": "webhook", "url": "https://example.com"});
        let theirs = json!({"settings": {"notifications": {"channels": {"c": hook, "a.b": channel}, "rules": rules}}});
        let import = bugle::import::polpo::read(&theirs).unwrap();
        let ours = bugle::apply::files::yaml(&import.to_yaml().unwrap()).unwrap();
        let read = bugle::documents::checked_file(ours).unwrap();
        prop_assert_eq!((read.channels, read.rules), (import.channels, import.rules));
    }

    #[test]
    fn any_settings_are_read_or_refused(
        text in settings(),
        variables in proptest::collection::vec(("(NATS|ROUTER|LOG|X)?(__[A-Z_]{0,12}){0,2}", text()), 0..3),
    ) {
        let variables: Vec<_> =
            variables.into_iter().map(|(name, value)| (format!("BUGLE__{name}"), value)).collect();
        let _settings = Settings::from_parts(Some(&file("bugle.toml", &text)), &variables);
    }

    #[test]
    fn any_file_of_documents_is_read_or_refused(body in value(), text in "[a-c:\\[\\]{}&*!|>'\"%@` \n-]{0,80}") {
        let sound = json!({"channels": [body.clone()], "rules": [body.clone()]}).to_string();
        // JSON is YAML too.
        for (name, text) in [("a.json", &sound), ("a.yaml", &sound), ("b.yaml", &text), ("b.toml", &text)] {
            let _files = bugle::apply::files::read_all(&[file(name, text)]);
        }
    }
}
