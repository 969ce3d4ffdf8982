//! What is done to notifications: read, unread, dismissed, restored; one, several, all.

use serde_json::{Value, json};

use super::{INBOX, act, fleet, list, make, send, titles, unread};
use crate::support::api::{Reply, token};
use crate::support::database::{Database, on_both_databases};

const NOWHERE: &str = "n_aaaaaaaaaaaaaaaaaaaaaaaa";

fn ids(ids: &[&String]) -> Value {
    json!({ "ids": ids })
}

#[track_caller]
fn came_of(reply: Reply, updated: u64, unread: impl Into<Option<u64>>, not_found: u64) {
    let answer = reply.expect(200);
    let found = (answer["updated"].as_u64(), answer["unreadCount"].as_u64(), answer["notFound"].as_u64());
    assert_eq!(found, (Some(updated), unread.into(), Some(not_found)), "{answer:#}");
}

on_both_databases! {
    async fn a_notification_is_read_dismissed_and_both_are_taken_back(database: Database) {
        let (_bugle, api) = fleet(database).await;
        let id = make(&api, "ann", &json!({})).await;
        make(&api, "ann", &json!({ "title": "other" })).await;
        let does = async |what: &str| act(&api, &format!("/{id}/{what}")).await.expect(200);
        let read = does("read").await;
        assert_eq!((&read["read"], read["readAt"].is_string(), read["deliveredAt"].is_string()), (&json!(true), true, true));
        assert_eq!(does("read").await, read, "again it stays as it was");
        assert_eq!(unread(&api, "ann").await, 1);
        let again = does("unread").await;
        assert_eq!((&again["read"], &again["readAt"]), (&json!(false), &Value::Null));
        assert_eq!(unread(&api, "ann").await, 2);
        assert!(does("dismiss").await["dismissedAt"].is_string());
        assert_eq!((titles(&list(&api, "recipient=ann").await), unread(&api, "ann").await), (vec!["other"], 1));
        assert_eq!(api.get(&format!("{INBOX}/{id}")).await.expect(200)["read"], false, "dismissing is not reading");
        assert_eq!(does("restore").await["dismissedAt"], Value::Null);
        assert_eq!(unread(&api, "ann").await, 2);
        for what in ["read", "unread", "dismiss", "restore"] {
            act(&api, &format!("/{NOWHERE}/{what}")).await.expect_problem(404);
            act(&api, &format!("/nonsense/{what}")).await.expect_problem(404);
            act(&api, &format!("/{id}/{what}?workspace=other")).await.expect_problem(404);
            act(&api, &format!("/{id}/{what}?recipient=bob")).await.expect_problem(404);
        }
    }

    async fn several_are_marked_at_once_and_what_is_nowhere_is_counted(database: Database) {
        let (_bugle, api) = fleet(database).await;
        let mut made = Vec::new();
        for number in 0..4 {
            made.push(make(&api, "ann", &json!({ "title": format!("N{number}") })).await);
        }
        let bobs = make(&api, "bob", &json!({})).await;
        let nowhere = NOWHERE.to_owned();
        came_of(send(&api, "PUT", "", &ids(&[&made[0], &made[0], &nowhere])).await, 1, 3, 1);
        came_of(send(&api, "PUT", "", &ids(&[&made[0]])).await, 0, 3, 0);
        came_of(send(&api, "PUT", "", &ids(&[])).await, 0, None, 0);
        came_of(send(&api, "PUT", "?recipient=ann", &ids(&[])).await, 0, 3, 0);
        // Two inboxes: each its own.
        came_of(send(&api, "PUT", "", &ids(&[&made[1], &bobs])).await, 2, None, 0);
        assert_eq!((unread(&api, "ann").await, unread(&api, "bob").await), (2, 0));
        let named = json!({ "ids": [made[1], bobs], "recipient": "ann", "action": "unread" });
        came_of(send(&api, "PUT", "", &named).await, 1, 3, 1);
        let dismissed = json!({ "ids": [made[1], made[2]], "action": "dismiss" });
        came_of(send(&api, "PUT", "", &dismissed).await, 2, 1, 0);
        came_of(send(&api, "PUT", "", &json!({ "ids": [made[2]], "action": "restore" })).await, 1, 2, 0);
        came_of(send(&api, "PUT", "", &json!({ "markAllRead": true, "recipient": "ann" })).await, 2, 0, 0);
        came_of(send(&api, "PUT", "?recipient=ann", &json!({ "markAllRead": true })).await, 0, 0, 0);
    }

    async fn all_that_a_filter_lists_is_read_and_nothing_else(database: Database) {
        let (bugle, api) = fleet(database).await;
        for number in 0..6 {
            let of = ["a:b", "c:d", "e:f"][number % 3];
            let more = json!({ "title": format!("N{number}"), "type": of });
            make(&api, "ann", &more).await;
        }
        let ann = token(&bugle, "agent", &json!({ "recipient": "ann" })).await;
        came_of(act(&ann, "/read-all?type=a:b&text=n3").await, 1, 5, 0);
        came_of(send(&ann, "POST", "/read-all", &json!({ "type": ["a.b", "c:d"] })).await, 3, 2, 0);
        came_of(send(&api, "POST", "/read-all", &json!({ "recipient": "ann" })).await, 2, 0, 0);
        came_of(act(&ann, "/read-all").await, 0, 0, 0);
        act(&api, "/read-all").await.expect_problem(400);
        send(&ann, "POST", "/read-all", &json!({ "tipe": "a:b" })).await.expect_problem(400);
        send(&ann, "POST", "/read-all?type=a:b", &json!({ "type": "c:d" })).await.expect_problem(400);
        send(&ann, "POST", "/read-all", &json!({ "recipient": "bob" })).await.expect_problem(403);
    }

    async fn a_broadcast_is_marked_by_each_for_themselves(database: Database) {
        let (bugle, api) = fleet(database).await;
        let id = make(&api, "*", &json!({})).await;
        let problem = act(&api, &format!("/{id}/read")).await.expect_problem(400);
        assert!(problem["detail"].as_str().unwrap().contains("recipient"), "{problem}");
        act(&api, &format!("/{id}/read?recipient=*")).await.expect_problem(400);
        send(&api, "PUT", "", &ids(&[&id])).await.expect_problem(400);
        let ann = token(&bugle, "viewer", &json!({ "recipient": "ann" })).await;
        assert_eq!(act(&ann, &format!("/{id}/read")).await.expect(200)["read"], true);
        act(&api, &format!("/{id}/dismiss?recipient=eve")).await.expect(200);
        let counts = (unread(&api, "ann").await, unread(&api, "bob").await, unread(&api, "eve").await);
        assert_eq!(counts, (0, 1, 0));
        assert_eq!(api.get(&format!("{INBOX}/{id}")).await.expect(200)["read"], false, "as nobody has marked it");
        assert_eq!(api.get(&format!("{INBOX}/{id}?recipient=ann")).await.expect(200)["read"], true);
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_marked() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let id = make(&api, "ann", &json!({})).await;
    for (body, says) in [
        (json!({}), "markAllRead"),
        (json!({ "markAllRead": true }), "recipient"),
        (json!({ "markAllRead": true, "recipient": "ann", "action": "unread" }), "ids"),
        (json!({ "markAllRead": true, "ids": [id] }), "exclude"),
        (json!({ "ids": [id], "action": "delete" }), "restore"),
        (json!({ "ids": id }), "list"),
        (json!({ "ids": vec![&id; 501] }), "500"),
        (json!({ "ids": [id], "read": true }), "read"),
        (json!([]), "object"),
    ] {
        let problem = send(&api, "PUT", "", &body).await.expect_problem(400);
        assert!(problem.to_string().contains(says), "{body}: {problem}");
    }
    send(&api, "PUT", "?recipient=bob", &json!({ "ids": [id], "recipient": "ann" }))
        .await
        .expect_problem(400);
    act(&api, &format!("/{id}/read?unread=true")).await.expect_problem(400);
    assert_eq!(unread(&api, "ann").await, 1);
    let viewer = token(&bugle, "viewer", &json!({})).await;
    act(&viewer, &format!("/{id}/read")).await.expect_problem(403);
    send(&viewer, "PUT", "", &json!({ "ids": [id] })).await.expect_problem(403);
}
