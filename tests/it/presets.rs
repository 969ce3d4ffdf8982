//! What one begins with: files that are written, tested and applied as they are.

use serde_json::Value;

use crate::support::bugle::Bugle;

#[tokio::test]
async fn what_init_writes_is_tested_checked_and_applied_as_it_is() {
    let bugle = Bugle::new().await;
    let said = bugle.cli(&["init", "--dir", "new"]).await.ok();
    for part in [
        "wrote new/bugle.toml",
        "bugle run --config new/bugle.toml",
        "bugle rules test new/documents.test.yaml",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = bugle
        .cli(&["init", "--preset", "agents", "--preset", "ci", "--preset", "alerts", "--dir", "new"])
        .await
        .ok();
    for part in
        ["wrote new/ci.yaml", "apply -f new/agents.yaml -f new/ci.yaml", "TELEGRAM_CHAT_ID, PAGER_URL"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let checked = bugle.cli(&["--config", "new/bugle.toml", "check-config"]).await.ok();
    assert!(checked.contains("3 channels, 2 rules") && !checked.contains("note:"), "{checked}");
    let tests = ["documents", "agents", "ci", "alerts"].map(|name| format!("new/{name}.test.yaml"));
    let mut arguments = vec!["rules", "test"];
    arguments.extend(tests.iter().map(String::as_str));
    let said = bugle.cli(&arguments).await.ok();
    assert!(said.contains("tests in 4 files") && !said.contains("failed\n"), "{said}");

    bugle.cli(&["--config", "new/bugle.toml", "setup"]).await.ok();
    let packs = ["apply", "-f", "new/agents.yaml", "-f", "new/ci.yaml", "-f", "new/alerts.yaml"];
    let said = bugle.cli(&packs).await.ok();
    assert!(said.contains("created rules.default.alerts-critical"), "packs stand beside each other: {said}");
}

#[tokio::test]
async fn init_overwrites_nothing_unless_it_is_told_to() {
    let bugle = Bugle::new().await;
    bugle.folder.write("ci.test.yaml", "mine");
    let refused = bugle.cli(&["init", "--preset", "ci"]).await;
    assert_eq!(refused.code, 78, "{refused:?}");
    assert!(refused.stderr.contains("ci.test.yaml is there already: --force overwrites it"), "{refused:?}");
    assert!(!bugle.folder.join("ci.yaml").exists(), "a half of it was written");
    bugle.cli(&["init", "--preset", "ci", "--force"]).await.ok();
    assert!(
        std::fs::read_to_string(bugle.folder.join("ci.test.yaml")).unwrap().contains("documents: [ci.yaml]")
    );
    let refused = bugle.cli(&["init", "--preset", "agent"]).await;
    assert!(refused.code == 78 && refused.stderr.contains("did you mean `agents`?"), "{refused:?}");
    let listed = bugle.cli(&["init", "--list"]).await.ok();
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[tokio::test]
async fn a_test_of_rules_that_fails_says_what_came_and_ends_with_65() {
    let bugle = Bugle::new().await;
    bugle.cli(&["init"]).await.ok();
    let wrong = "
documents: [documents.yaml]
tests:
  - name: everybody hears of everything
    event: { type: 'task:transition', data: { to: done } }
    expect:
      - { rule: failed-tasks, channel: slack }
";
    bugle.folder.write("wrong.yaml", wrong);
    let said = bugle.cli(&["rules", "test", "documents.test.yaml", "wrong.yaml"]).await;
    assert_eq!(said.code, 65, "{said:?}");
    for part in [
        "✗ everybody hears",
        "missing",
        "`to` is \"done\", not == \"failed\"",
        "unexpected",
        "everything → console",
        "1 failed",
    ] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    assert!(said.stderr.contains("1 of 5 tests failed"), "{said:?}");
    let json = bugle.cli(&["rules", "test", "--json", "wrong.yaml"]).await;
    let results: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &results["failed"]), (65, &Value::from(1)), "{results:#}");
    let problems = &results["files"][0]["tests"][0]["problems"];
    assert_eq!((&problems[0]["problem"], &problems[1]["problem"]), (&"missing".into(), &"unexpected".into()));
    for (text, part) in [
        ("tests: [{ name: x }]", "at /tests/0"),
        ("documents: [gone.yaml]\ntests: []", "/tests"),
        ("{", "wrong.yaml"),
    ] {
        bugle.folder.write("wrong.yaml", text);
        let refused = bugle.cli(&["rules", "test", "wrong.yaml"]).await;
        assert!(refused.code == 65 && refused.stderr.contains(part), "{refused:?}");
    }
}
