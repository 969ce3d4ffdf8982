//! The pages about rules are true: each recipe of the cookbook does what its tests say, each line of the semantics holds.

use bugle::apply::files::{read_texts, yaml};
use bugle::documents::{DocumentFile, checked_file};
use bugle::event::Event;
use bugle::fixture::{self, Bench};
use bugle::ids::WorkspaceId;
use bugle::publish::imagined;
use bugle::route::template::Template;
use bugle::rule::condition::Condition;
use bugle::rule::pattern::Pattern;
use serde_json::{Value, json};

const COOKBOOK: &str = include_str!("../../docs/cookbook.md");
const SEMANTICS: &str = include_str!("../../docs/semantics.md");
const TESTING: &str = include_str!("../../docs/testing-rules.md");

/// The sections of a page with their headings.
fn sections(page: &str) -> Vec<(&str, &str)> {
    page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

/// The fenced blocks of YAML.
fn blocks(section: &str) -> Vec<Value> {
    let blocks = section.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    blocks.map(|block| yaml(block).unwrap_or_else(|error| panic!("{error}:\n{block}"))).collect()
}

/// How many tests passed; every rule fired in one of them.
#[track_caller]
fn passes(what: &str, documents: Option<DocumentFile>, tests: Value) -> usize {
    let (fixture, inline) = fixture::read(tests).unwrap_or_else(|fault| panic!("{what}: {fault}"));
    let documents = documents.into_iter().chain([inline]).collect();
    let report = Bench::new(fixture, documents, read_texts(None).unwrap()).unwrap().run();
    let failed: Vec<_> = report.tests.iter().filter(|test| !test.passed).collect();
    assert!(failed.is_empty(), "{what}: {failed:#?}");
    assert!(report.never_fired.is_empty(), "{what}: {:?}", report.never_fired);
    report.tests.len()
}

#[test]
fn every_recipe_does_what_its_tests_say() {
    let mut tests = 0;
    let recipes = sections(COOKBOOK);
    for (name, recipe) in &recipes {
        let [documents, fixture] = &blocks(recipe)[..] else { panic!("{name} is documents and their tests") };
        let mut fixture = fixture.clone();
        let named = fixture.as_object_mut().unwrap().remove("documents");
        assert_eq!(named, Some(json!(["rules.yaml"])), "{name}");
        let documents = checked_file(documents.clone()).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        tests += passes(name, Some(documents), fixture);
    }
    assert!(recipes.len() >= 15 && tests > recipes.len(), "{} recipes, {tests} tests", recipes.len());
}

#[test]
fn every_example_of_a_test_is_one() {
    for (page, least) in [(SEMANTICS, 3), (TESTING, 2)] {
        let found = blocks(page);
        assert!(found.len() >= least, "{} examples", found.len());
        for block in found {
            passes("an example", None, block);
        }
    }
}

#[test]
fn every_example_of_a_channel_is_one() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/channels");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        for block in blocks(&std::fs::read_to_string(&path).unwrap()) {
            checked_file(block.clone())
                .unwrap_or_else(|fault| panic!("{}: {fault}: {block}", path.display()));
            examples += 1;
        }
    }
    assert!(examples >= 4, "{examples} examples");
}

/// The rows of the table under a heading that starts with these cells: the code of each cell, and its text.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let table = SEMANTICS.split(heading).nth(1).unwrap_or_else(|| panic!("there is no table {heading}"));
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cell = |text: &str| text.trim().replace('\u{0}', "|");
    let rows = lines.map(|line| {
        let line = line.replace(r"\|", "\u{0}");
        line.trim_matches('|').split('|').map(cell).collect::<Vec<String>>()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    assert!(rows.len() >= 5, "{heading}: {rows:?}");
    rows
}

/// The code spans of a cell.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn event(data: &str) -> Event {
    let data: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
    let Value::Object(fields) = json!({ "type": "a:b", "source": "s", "id": "1", "data": data }) else {
        unreachable!()
    };
    imagined(&WorkspaceId::default(), fields).unwrap()
}

#[test]
fn patterns_match_as_the_page_says() {
    for row in rows("| pattern | matches | does not match |") {
        let [pattern, yes, no] = &row[..] else { panic!("{row:?}") };
        let pattern = Pattern::parse(code(pattern)[0]).unwrap();
        let canonical = |text: &str| text.replace('.', ":");
        for found in code(yes) {
            assert!(pattern.matches(&canonical(found)), "{row:?}: {found}");
        }
        for found in code(no) {
            assert!(!pattern.matches(&canonical(found)), "{row:?}: {found}");
        }
    }
    for row in rows("| refused as a pattern | why |") {
        assert!(Pattern::parse(code(&row[0]).first().unwrap_or(&"")).is_err(), "{row:?}");
    }
}

#[test]
fn comparisons_hold_as_the_page_says() {
    for row in rows("| comparison | holds for | does not hold for |") {
        let [comparison, yes, no] = &row[..] else { panic!("{row:?}") };
        let mut words = code(comparison)[0].splitn(3, ' ');
        let (field, op) = (words.next().unwrap(), words.next().unwrap());
        let mut condition = json!({ "field": field, "op": op });
        if let Some(value) = words.next() {
            condition["value"] = serde_json::from_str(value).unwrap();
        }
        let condition = Condition::parse(&condition).unwrap_or_else(|fault| panic!("{row:?}: {fault}"));
        for data in code(yes) {
            assert!(condition.holds(&event(data)), "{row:?}: {data}");
        }
        for data in code(no) {
            assert!(!condition.holds(&event(data)), "{row:?}: {data}");
        }
    }
}

#[test]
fn templates_print_as_the_page_says() {
    for row in rows("| template | data | prints |") {
        let [template, data, prints] = &row[..] else { panic!("{row:?}") };
        let text = Template::compile(code(template)[0]).unwrap().render(&event(code(data)[0])).unwrap();
        assert_eq!(text, code(prints).first().copied().unwrap_or_default(), "{row:?}");
    }
}
