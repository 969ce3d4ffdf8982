//! What agents take: each notification once, the oldest first, at once or when it comes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{INBOX, act, fleet, list, make, send, titles, unread};
use crate::support::api::{Api, Reply, token};
use crate::support::bugle::Role;
use crate::support::database::{Database, on_both_databases};
use crate::support::{SOON, pause};

async fn claim(api: &Api, body: &Value) -> Reply {
    send(api, "POST", "/claim", body).await
}

on_both_databases! {
    async fn each_notification_is_handed_out_once_the_oldest_first(database: Database) {
        let (bugle, api) = fleet(database).await;
        for number in 0..5 {
            make(&api, "bot", &json!({ "title": format!("N{number}") })).await;
        }
        make(&api, "*", &json!({ "title": "all" })).await;
        let bot = token(&bugle, "agent", &json!({ "recipient": "bot" })).await;
        let first = claim(&bot, &json!({ "limit": 2 })).await.expect(200);
        assert_eq!(titles(&first), ["N0", "N1"]);
        assert!(first["notifications"][0]["deliveredAt"].is_string());
        assert_eq!(unread(&api, "bot").await, 6, "taken is not read");
        // Many at once never get the same.
        let bodies = vec![json!({ "limit": 1 }); 8];
        let replies = futures_util::future::join_all(bodies.iter().map(|body| claim(&bot, body))).await;
        let mut seen: Vec<String> = Vec::new();
        for reply in replies {
            let page = reply.expect(200);
            seen.extend(titles(&page).into_iter().map(str::to_owned));
        }
        seen.sort_unstable();
        assert_eq!(seen, ["N2", "N3", "N4", "all"]);
        assert_eq!(titles(&claim(&bot, &json!({})).await.expect(200)), Vec::<&str>::new());
        // Reading is the acknowledgement.
        let id = first["notifications"][0]["id"].as_str().unwrap();
        act(&bot, &format!("/{id}/read")).await.expect(200);
        assert_eq!(unread(&api, "bot").await, 5);
        // On behalf of another agent, who sees the broadcast too.
        assert_eq!(titles(&claim(&api, &json!({ "agent": "other" })).await.expect(200)), ["all"]);
    }

    async fn a_claim_waits_for_what_comes_and_not_longer(database: Database) {
        let (bugle, api) = fleet(database).await;
        let bot = token(&bugle, "agent", &json!({ "recipient": "bot" })).await;
        let asked = Instant::now();
        let nothing = claim(&bot, &json!({ "wait": 1 })).await.expect(200);
        assert_eq!(titles(&nothing).len(), 0);
        assert!((1..3).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
        for recipient in ["bot", "*"] {
            let waiting = async {
                let asked = Instant::now();
                (claim(&bot, &json!({ "wait": 30 })).await.expect(200), asked.elapsed())
            };
            let making = async {
                pause(Duration::from_millis(700)).await;
                make(&api, recipient, &json!({ "title": recipient })).await;
            };
            let ((page, took), ()) = tokio::join!(waiting, making);
            assert_eq!(titles(&page), [recipient]);
            assert!(took >= Duration::from_millis(600), "{took:?}");
            // Sooner than whoever looks by themselves: they were told.
            assert!(took < Duration::from_millis(2_900), "{took:?}");
        }
    }

    async fn mark_delivered_takes_all_that_is_pending_and_counts_it(database: Database) {
        let (_bugle, api) = fleet(database).await;
        make(&api, "bot", &json!({ "title": "first" })).await;
        make(&api, "bot", &json!({ "title": "second" })).await;
        let body = json!({ "action": "mark-delivered", "agent": "bot" });
        let taken = api.post(INBOX, &body).await.expect(200);
        assert_eq!((taken["delivered"].as_u64(), titles(&taken)), (Some(2), vec!["first", "second"]));
        assert_eq!(api.post(INBOX, &body).await.expect(200)["delivered"], 0);
        assert_eq!(titles(&list(&api, "recipient=bot&unread=true").await).len(), 2, "taken is not read");
        for bad in [
            json!({ "action": "mark-delivered" }),
            json!({ "action": "deliver", "agent": "bot" }),
            json!({ "action": "mark-delivered", "agent": "bot", "limit": 0 }),
            json!({ "action": "mark-delivered", "agent": "bot", "title": "x" }),
        ] {
            api.post(INBOX, &bad).await.expect_problem(400);
        }
    }
}

#[tokio::test]
async fn a_claim_that_waits_ends_at_once_when_the_process_stops_or_the_token_is_revoked() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let made = json!({ "name": "bot", "role": "agent", "recipient": "bot" });
    let made = api.post("/v1/tokens", &made).await.expect(201);
    let bot = bugle.api_as(made["token"].as_str().unwrap());
    let waiting = tokio::spawn({
        let bot = bot.clone();
        async move { claim(&bot, &json!({ "wait": 20 })).await }
    });
    pause(Duration::from_millis(500)).await;
    api.delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    make(&api, "bot", &json!({})).await;
    // Who was let in before gets nothing of what came after.
    waiting.await.unwrap().expect_problem(401);
    assert!(list(&api, "recipient=bot").await["notifications"][0]["deliveredAt"].is_null());

    let waiting = tokio::spawn({
        let api = api.clone();
        async move { claim(&api, &json!({ "agent": "idle", "wait": 50 })).await }
    });
    pause(Duration::from_millis(500)).await;
    let mut member = bugle.take(Role::Api).remove(0);
    let (code, took) = member.process.sigterm(SOON).await;
    assert_eq!(code, 0, "{}", member.process.output());
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(titles(&waiting.await.unwrap().expect(200)).len(), 0);
}

#[tokio::test]
async fn who_may_claim_for_whom() {
    let (bugle, api) = fleet(Database::sqlite()).await;
    let bot = token(&bugle, "agent", &json!({ "recipient": "bot" })).await;
    claim(&bot, &json!({ "agent": "bot" })).await.expect(200);
    claim(&bot, &json!({ "agent": "other" })).await.expect_problem(403);
    let delivered = json!({ "action": "mark-delivered", "agent": "other" });
    bot.post(INBOX, &delivered).await.expect_problem(403);
    claim(&token(&bugle, "operator", &json!({})).await, &json!({ "agent": "bot" })).await.expect(200);
    for role in ["viewer", "publisher"] {
        let free = token(&bugle, role, &json!({})).await;
        claim(&free, &json!({ "agent": "bot" })).await.expect_problem(403);
    }
    // A human's inbox is claimed by who acts for people alone.
    let put = |kind: &str| {
        crate::support::api::json(api.request("PUT", "/v1/recipients/ann"), &json!({ "kind": kind }))
    };
    crate::support::api::reply(put("human")).await.expect(201);
    let ann = token(&bugle, "viewer", &json!({ "recipient": "ann" })).await;
    claim(&ann, &json!({})).await.expect_problem(403);
    claim(&api, &json!({ "agent": "ann" })).await.expect(200);
    let unregistered = token(&bugle, "viewer", &json!({ "recipient": "eve" })).await;
    claim(&unregistered, &json!({})).await.expect(200);
    for (body, says) in [
        (json!({}), "agent"),
        (json!({ "agent": "*" }), "everybody"),
        (json!({ "agent": "bot", "limit": 0 }), "limit"),
        (json!({ "agent": "bot", "limit": 501 }), "limit"),
        (json!({ "agent": "bot", "wait": 56 }), "wait"),
        (json!({ "agent": "bot", "wait": -1 }), "wait"),
        (json!({ "agent": "bot", "recipient": "bot" }), "recipient"),
    ] {
        let problem = claim(&api, &body).await.expect_problem(400);
        assert!(problem.to_string().contains(says), "{body}: {problem}");
    }
    make(&api, "bot", &json!({})).await;
    let elsewhere =
        send(&api, "POST", "/claim?workspace=other", &json!({ "agent": "bot" })).await.expect(200);
    assert_eq!(titles(&elsewhere).len(), 0);
}
