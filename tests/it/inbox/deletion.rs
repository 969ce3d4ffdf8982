//! Deleting for good: by administrators, one's own or everybody's.

use serde_json::json;

use super::{INBOX, fleet, list, make, send, titles, unread};
use crate::support::api::token;
use crate::support::database::{Database, on_both_databases};

on_both_databases! {
    async fn what_is_deleted_is_gone_and_what_is_nowhere_is_counted(database: Database) {
        let (bugle, api) = fleet(database).await;
        let mut made = Vec::new();
        for (recipient, title) in [("ann", "1"), ("ann", "2"), ("bob", "3"), ("*", "4"), ("ann", "5")] {
            made.push(make(&api, recipient, &json!({ "title": title })).await);
        }
        let nowhere = "n_aaaaaaaaaaaaaaaaaaaaaaaa";
        let gone = send(&api, "DELETE", "", &json!({ "ids": [made[0], made[2], nowhere, "17"] })).await.expect(200);
        assert_eq!((gone["deleted"].as_u64(), gone["notFound"].as_u64()), (Some(2), Some(2)), "{gone}");
        api.get(&format!("{INBOX}/{}", made[0])).await.expect_problem(404);
        assert_eq!(titles(&list(&api, "recipient=ann").await), ["5", "4", "2"]);
        // Bound to ann: hers alone, and not what is everybody's.
        let ann = token(&bugle, "admin", &json!({ "workspace": "default", "recipient": "ann" })).await;
        let own = send(&ann, "DELETE", "", &json!({ "ids": [made[1], made[3]] })).await.expect(200);
        assert_eq!((own["deleted"].as_u64(), own["notFound"].as_u64()), (Some(1), Some(1)), "{own}");
        send(&ann, "DELETE", "", &json!({ "ids": [made[1]], "recipient": "bob" })).await.expect_problem(403);
        let broadcast = send(&api, "DELETE", "", &json!({ "ids": [made[3]] })).await.expect(200);
        assert_eq!(broadcast["deleted"], 1);
        assert_eq!((unread(&api, "ann").await, unread(&api, "bob").await), (1, 0));
    }

    async fn what_is_older_than_a_moment_goes_from_one_inbox(database: Database) {
        let (_bugle, api) = fleet(database).await;
        for number in 0..3 {
            make(&api, "ann", &json!({ "title": number.to_string() })).await;
            make(&api, "bob", &json!({})).await;
        }
        let second = list(&api, "recipient=ann").await["notifications"][1]["createdAt"].clone();
        let older = |moment: &serde_json::Value| json!({ "recipient": "ann", "olderThan": moment });
        assert_eq!(send(&api, "DELETE", "", &older(&second)).await.expect(200)["deleted"], 1);
        assert_eq!(titles(&list(&api, "recipient=ann").await), ["2", "1"], "not at that very moment");
        let later = json!(4_102_444_800_000_u64);
        assert_eq!(send(&api, "DELETE", "", &older(&later)).await.expect(200)["deleted"], 2);
        assert_eq!(list(&api, "recipient=bob").await["total"], 3);
    }
}

#[tokio::test]
async fn what_makes_no_sense_deletes_nothing() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let id = make(&api, "ann", &json!({})).await;
    for body in [
        json!({}),
        json!({ "recipient": "ann" }),
        json!({ "olderThan": 1 }),
        json!({ "olderThan": "yesterday", "recipient": "ann" }),
        json!({ "olderThan": true, "recipient": "ann" }),
        json!({ "ids": [id], "olderThan": 1, "recipient": "ann" }),
        json!({ "ids": vec![&id; 501] }),
        json!({ "id": id }),
    ] {
        send(&api, "DELETE", "", &body).await.expect_problem(400);
    }
    for role in ["viewer", "operator"] {
        let other = token(&bugle, role, &json!({})).await;
        send(&other, "DELETE", "", &json!({ "ids": [id] })).await.expect_problem(403);
    }
    assert_eq!(list(&api, "recipient=ann").await["total"], 1);
}
