//! Reading an inbox: filters that combine, pages without gap or repeat, what events put there.

use serde_json::{Value, json};

use super::{INBOX, act, fleet, holds, list, make, titles, unread};
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, rule, with};
use crate::support::database::{Database, on_both_databases};

on_both_databases! {
    async fn what_rules_send_lies_in_the_inboxes_that_they_name(database: Database) {
        let bugle = Bugle::on(NatsServer::shared().await, database);
        // Neither a document of the channel nor one of the recipients is needed.
        let to_people = with(rule("people", "task:*", "in_app"), &json!({ "recipients": ["ann", "{{who}}"] }));
        bugle.start_with(&json!({ "rules": [to_people, rule("all", "news:*", "in_app")] })).await;
        let api = bugle.api();
        let data = json!({ "who": "bob", "taskId": "t-1", "projectId": "p", "priority": "high", "n": 7 });
        bugle.wire().await.event("task:done", "e-1", &data).await;
        bugle.wire().await.event("news:told", "e-2", &json!({ "text": "all" })).await;
        for (recipient, at) in [("ann", 2), ("bob", 2), ("eve", 1)] {
            holds(&api, recipient, at).await;
        }
        let page = list(&api, "recipient=bob&type=task.done").await;
        let found = &page["notifications"][0];
        assert_eq!((&found["recipient"], &found["type"], &found["read"]), (&json!("bob"), &json!("task:done"), &json!(false)));
        assert_eq!(found["source"], json!({ "type": "task", "id": "t-1" }), "{found:#}");
        assert_eq!((&found["project"], &found["urgency"], &found["metadata"]["n"]), (&json!("p"), &json!("high"), &json!(7)));
        assert_eq!((page["total"].as_u64(), page["unreadCount"].as_u64(), page.get("nextCursor")), (Some(1), Some(2), None));
        let delivery = api.delivery(found["deliveryId"].as_str().unwrap()).await;
        assert_eq!((&delivery["status"], &delivery["channel"]), (&json!("sent"), &json!("in_app")));
        let one = api.get(&format!("{INBOX}/{}", found["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(one, *found);
        assert_eq!(list(&api, "recipient=eve").await["notifications"][0]["recipient"], "*");
        assert_eq!(unread(&api, "eve").await, 1);
    }

    async fn filters_combine_and_pages_neither_skip_nor_repeat(database: Database) {
        let (_bugle, api) = fleet(database).await;
        for number in 0..6 {
            let severity = ["info", "warning", "critical"][number % 3];
            let more = json!({
                "title": format!("N{number}"), "severity": severity,
                "type": if number < 3 { "task:done" } else { "build:red" }, "body": format!("100% of {number}_x"),
                "source": { "type": "task", "id": (number % 2).to_string() }, "project": format!("p{}", number / 3),
            });
            make(&api, "ann", &more).await;
        }
        make(&api, "bob", &json!({ "title": "bob's" })).await;
        let dismissed = list(&api, "recipient=ann&text=n5").await["notifications"][0]["id"].clone();
        act(&api, &format!("/{}/dismiss", dismissed.as_str().unwrap())).await.expect(200);
        for (query, expected) in [
            ("", vec!["N4", "N3", "N2", "N1", "N0"]),
            ("dismissed=true", vec!["N5"]),
            ("type=build.red", vec!["N4", "N3"]),
            ("type=build:red,task:done&severity=info", vec!["N3", "N0"]),
            ("severity=warning,critical&project=p0", vec!["N2", "N1"]),
            ("source=task:1", vec!["N3", "N1"]),
            ("sourceType=task&sourceId=0&unread=true", vec!["N4", "N2", "N0"]),
            ("text=0%25+OF+3_", vec!["N3"]),
            ("since=2020-01-01T00:00:00Z&until=2021-01-01T00:00:00Z", vec![]),
            ("workspace=other", vec![]),
        ] {
            let page = list(&api, &format!("recipient=ann&{query}")).await;
            assert_eq!(titles(&page), expected, "{query}");
            assert_eq!(page["total"].as_u64(), Some(expected.len() as u64), "{query}");
        }
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = list(&api, &format!("recipient=ann&limit=2{cursor}")).await;
            assert_eq!(page["total"], 5);
            seen.extend(titles(&page).into_iter().map(str::to_owned));
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            // What is new comes before what was listed.
            make(&api, "ann", &json!({ "title": "new", "type": "later:on" })).await;
            cursor.push_str("&type=task:done,build:red");
        }
        assert_eq!(seen, ["N4", "N3", "N2", "N1", "N0"]);
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_named() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    for (query, named) in [
        ("", "recipient"),
        ("recipient=", "recipient"),
        ("recipient=ann&recipients=bob", "recipients"),
        ("recipient=ann&unread_only=true", "unread_only"),
        ("recipient=ann&offset=50", "offset"),
        ("recipient=ann&limit=0", "limit"),
        ("recipient=ann&limit=501", "limit"),
        ("recipient=ann&cursor=17", "cursor"),
        ("recipient=ann&unread=1", "unread"),
        ("recipient=ann&severity=high", "severity"),
        ("recipient=ann&type=a*", "type"),
        ("recipient=ann&source=task", "source"),
        ("recipient=ann&since=now", "since"),
        ("recipient=ann&workspace=A", "workspace"),
    ] {
        let problem = api.get(&format!("{INBOX}?{query}")).await.expect_problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(named), "{query}: {problem}");
    }
    api.get(&format!("{INBOX}/unread-count")).await.expect_problem(400);
    api.get(&format!("{INBOX}/unread-count?recipient=ann&unread=true")).await.expect_problem(400);
    for id in ["nonsense", "17", "n_aaaaaaaaaaaaaaaaaaaaaaaa"] {
        api.get(&format!("{INBOX}/{id}")).await.expect_problem(404);
    }
    // A bound token need not say whose.
    let ann = crate::support::api::token(&bugle, "viewer", &json!({ "recipient": "ann" })).await;
    let page: Value = list(&ann, "").await;
    assert_eq!((titles(&page).len(), page["unreadCount"].as_u64()), (0, Some(0)));
}
