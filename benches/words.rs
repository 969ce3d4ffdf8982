//! What one event costs on its way through the words: reading it, finding its rules, asking a condition, rendering.
//!
//! `cargo bench --bench words`; the harness prints a change since the run before.

use std::hint::black_box;

use bugle::channel::markdown::Document;
use bugle::event::Event;
use bugle::event::decode::{Incoming, decode};
use bugle::ids::WorkspaceId;
use bugle::route::ruleset::RuleSet;
use bugle::route::template::Template;
use bugle::rule::condition::Condition;
use bugle::rule::pattern::Pattern;
use bugle::rule::{Rule, RuleSpec};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};

const RULES: [usize; 3] = [100, 10_000, 100_000];
const BYTES: [usize; 2] = [400, 4_096];

fn body(bytes: usize) -> Vec<u8> {
    let filler = "x".repeat(bytes.saturating_sub(80));
    json!({"taskId": "t-42", "to": "failed", "task": {"retries": 7}, "note": filler}).to_string().into_bytes()
}

fn read(body: &[u8]) -> Event {
    let incoming = Incoming {
        workspace: WorkspaceId::default(),
        subject_type: Some("bench7.done"),
        headers: &[],
        body,
        fallback_id: "bench-1",
        fallback_source: "nats",
        received_at: jiff::Timestamp::UNIX_EPOCH,
    };
    decode(&incoming).expect("the bench's own event is one")
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for bytes in BYTES {
        let body = body(bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &body, |bencher, body| {
            bencher.iter(|| read(black_box(body)));
        });
    }
    group.finish();
}

fn rules(count: usize, spec: impl Fn(usize) -> Value) -> RuleSet {
    let rule = |number: usize| {
        let spec: RuleSpec = serde_json::from_value(spec(number)).expect("the bench's own rule is one");
        (WorkspaceId::default(), Rule::compile(&spec).expect("it compiles").into())
    };
    RuleSet::new((0..count).map(rule))
}

fn finding(criterion: &mut Criterion) {
    let event = read(&body(BYTES[0]));
    let mut group = criterion.benchmark_group("find rules");
    for count in RULES {
        let told_apart = rules(
            count,
            |number| json!({"id": format!("r{number}"), "events": [format!("bench{number}:*")], "channels": ["c"]}),
        );
        group.bench_function(BenchmarkId::new("by pattern", count), |bencher| {
            bencher.iter(|| told_apart.candidates(black_box(&event)).len());
        });
        let alike = rules(count, |number| {
            json!({
                "id": format!("r{number}"), "events": ["bench7:*"], "channels": ["c"],
                "condition": {"and": [
                    {"field": "to", "op": "==", "value": "failed"},
                    {"field": "task.retries", "op": "==", "value": number}
                ]}
            })
        });
        group.bench_function(BenchmarkId::new("by equality", count), |bencher| {
            bencher.iter(|| alike.candidates(black_box(&event)).len());
        });
    }
    group.finish();
}

/// One rule of many changes: what the process that follows the documents does before it is in force.
fn changing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change a rule");
    for count in RULES {
        let spec = |number: usize| json!({"id": format!("r{number}"), "events": [format!("bench{number}:*")], "channels": ["c"]});
        let all = rules(count, spec);
        let changed: RuleSpec = serde_json::from_value(spec(7)).expect("the bench's own rule is one");
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let rule = Rule::compile(black_box(&changed)).expect("it compiles");
                all.changed(std::iter::once((WorkspaceId::default(), rule.id.clone(), Some(rule.into()))))
            });
        });
        group.bench_function(BenchmarkId::new("build all anew", count), |bencher| {
            let rules: Vec<_> =
                all.all(&WorkspaceId::default()).into_iter().map(|rule| rule.id.clone()).collect();
            let rules: Vec<_> =
                rules.iter().filter_map(|id| all.get(&WorkspaceId::default(), id)).cloned().collect();
            bencher.iter(|| RuleSet::new(rules.iter().map(|rule| (WorkspaceId::default(), rule.clone()))));
        });
    }
    group.finish();
}

fn asking(criterion: &mut Criterion) {
    let event = read(&body(BYTES[0]));
    let condition = json!({"and": [
        {"field": "task.retries", "op": ">=", "value": 3},
        {"not": {"field": "to", "op": "==", "value": "done"}}
    ]});
    let condition = Condition::parse(&condition).expect("the bench's own condition is one");
    criterion.bench_function("condition", |bencher| bencher.iter(|| condition.holds(black_box(&event))));
}

fn rendering(criterion: &mut Criterion) {
    let event = read(&body(BYTES[0]));
    let template = Template::compile("Task {{taskId}} moved to {{to}} after {{task.retries}} tries")
        .expect("the bench's own template is one");
    criterion.bench_function("template", |bencher| {
        bencher.iter(|| template.render(black_box(&event)).expect("it renders"));
    });
    for (name, source) in [
        ("template of a body", "Task **{{taskId}}** moved to {{to}} after {{task.retries}} tries"),
        ("template of a body with code", "Task `{{taskId}}` moved to {{to}}: {{note}}"),
        ("template with an if", "{% if task.title or taskId %}{{ task.title or taskId }}{% endif %}: {{to}}"),
        ("template for the engine", "{{taskId|upper}}: {{to}}"),
    ] {
        let template = Template::compile(source).expect("the bench's own template is one");
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| template.render_markdown(black_box(&event)).expect("it renders"));
        });
    }
}

/// Input made to be slow, at several lengths: bytes a second must not fall as it grows.
fn growing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grow");
    for length in [2_048, 16_384, 65_536] {
        group.throughput(Throughput::Bytes(length as u64));
        for unit in ["[", "*a ", "`a", "![[](", "> ", "<a ", "&#", "- a\n", "\\*_~"] {
            let text = unit.repeat(length / unit.len());
            group.bench_function(BenchmarkId::new(format!("markdown {unit:?}"), length), |bencher| {
                bencher.iter(|| Document::parse(black_box(&text)).to_telegram(4_096).len());
            });
        }
        let fields: serde_json::Map<String, Value> =
            (0..length / 16).map(|number| (format!("field{number:05}"), json!(number))).collect();
        let body = Value::Object(fields).to_string().into_bytes();
        group.bench_function(BenchmarkId::new("event of many fields", length), |bencher| {
            bencher.iter(|| read(black_box(&body)));
        });
        let source = "{{taskId}} ".repeat(length / 11);
        group.bench_function(BenchmarkId::new("template of many tags", length), |bencher| {
            bencher.iter(|| Template::compile(black_box(&source)).map(drop));
        });
    }
    for segments in [8, 32, 120] {
        let pattern = format!("{}b", "**:a:".repeat(segments / 4));
        let name = format!("{}c", "a:".repeat(segments));
        group.throughput(Throughput::Bytes(name.len() as u64));
        let pattern = Pattern::parse(&pattern).expect("the bench's own pattern is one");
        group.bench_function(BenchmarkId::new("pattern of many stars", segments), |bencher| {
            bencher.iter(|| pattern.matches(black_box(&name)));
        });
    }
    group.finish();
}

criterion_group!(words, decoding, finding, changing, asking, rendering, growing);
criterion_main!(words);
