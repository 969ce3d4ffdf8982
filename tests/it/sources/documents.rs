//! Sources as documents: who may see and change them, and what two writers do to each other.

use serde_json::{Value, json};

use super::{fleet, put};
use crate::support::api::{Api, Reply, json as with_body, reply};

const SECRET: &str = "a-secret-of-the-tests";

async fn write(api: &Api, path: &str, condition: Option<(&str, &str)>, body: &Value) -> Reply {
    let mut request = with_body(api.request("PUT", path), body);
    if let Some((name, value)) = condition {
        request = request.header(name, value);
    }
    reply(request).await
}

#[tokio::test]
async fn a_source_lives_from_its_making_to_its_removal() {
    let (bugle, _, _) = fleet(&json!([{ "id": "filed", "http": { "secret": SECRET } }])).await;
    let api = bugle.api();
    let source = json!({ "http": { "secret": SECRET } });
    let made = write(&api, "/v1/sources/in", Some(("If-None-Match", "*")), &source).await;
    let tag = made.header("etag");
    let made = made.expect(201);
    assert_eq!(
        (&made["id"], &made["meta"]["owner"], &made["meta"]["version"]),
        (&json!("in"), &json!("api"), &json!(1))
    );
    write(&api, "/v1/sources/in", Some(("If-None-Match", "*")), &source).await.expect_problem(412);
    let off = json!({ "enabled": false, "http": { "secret": "***" } });
    write(&api, "/v1/sources/in", Some(("If-Match", &tag)), &off).await.expect(200);
    write(&api, "/v1/sources/in", Some(("If-Match", &tag)), &off).await.expect_problem(412);
    assert_eq!(write(&api, "/v1/sources/filed", None, &source).await.expect_problem(409)["status"], 409);
    write(&api, "/v1/sources/in", None, &json!({ "id": "other", "http": { "secret": SECRET } }))
        .await
        .expect_problem(400);
    let masked = write(&api, "/v1/sources/fresh", None, &json!({ "http": { "secret": "***" } })).await;
    assert_eq!(masked.expect_problem(400)["pointer"], "/http/secret");
    let listed = api.get("/v1/sources?limit=1").await.expect(200);
    assert_eq!(listed["sources"].as_array().unwrap().len(), 1);
    let cursor = listed["nextCursor"].as_str().unwrap();
    let rest = api.get(&format!("/v1/sources?cursor={cursor}")).await.expect(200);
    assert_eq!((&listed["sources"][0]["id"], &rest["sources"][0]["id"]), (&json!("filed"), &json!("in")));
    api.delete("/v1/sources/in").await.expect(204);
    api.get("/v1/sources/in").await.expect_problem(404);
    let versions = api.get("/v1/sources/in/versions").await.expect(200)["versions"].clone();
    assert_eq!((versions.as_array().unwrap().len(), &versions[0]["removed"]), (3, &json!(true)));
    api.get("/v1/sources/never/versions").await.expect_problem(404);
}

#[tokio::test]
async fn only_administrators_see_sources_and_one_of_a_workspace_reaches_no_further() {
    let (bugle, _, _) = fleet(&json!([])).await;
    let admin = bugle.api();
    let token = async |role: &str, workspace: Option<&str>| {
        let recipient = (role == "agent").then_some("bot");
        let body = json!({ "name": "t", "role": role, "workspace": workspace, "recipient": recipient });
        bugle.api_as(admin.post("/v1/tokens", &body).await.expect(201)["token"].as_str().unwrap())
    };
    for role in ["viewer", "operator", "publisher", "agent"] {
        let api = token(role, None).await;
        api.get("/v1/sources").await.expect_problem(403);
        write(&api, "/v1/sources/in", None, &json!({ "http": { "secret": SECRET } }))
            .await
            .expect_problem(403);
    }
    let red = token("admin", Some("red")).await;
    write(&red, "/v1/sources/in", None, &json!({ "http": { "secret": SECRET } })).await.expect(201);
    assert_eq!(red.get("/v1/sources").await.expect(200)["sources"][0]["meta"]["workspace"], "red");
    let beyond = [
        json!({ "nats": { "subjects": ["orders.>"] } }),
        json!({ "nats": { "stream": "ORDERS" } }),
        json!({ "http": { "secret": SECRET }, "workspaces": ["blue"], "map": { "workspace": "blue" } }),
    ];
    for source in &beyond {
        write(&red, "/v1/sources/more", None, source).await.expect_problem(403);
    }
    write(&red, "/v1/sources/in?workspace=blue", None, &json!({ "http": { "secret": SECRET } }))
        .await
        .expect_problem(403);
    let reply = write(&admin, "/v1/sources/more?workspace=red", None, &beyond[2]).await;
    reply.expect(201);
    red.delete("/v1/sources/more").await.expect_problem(403);
    // A webhook finds the sources of `default` without the workspace, and nobody else's id takes it away.
    let post = async |path: &str| {
        let request = bugle.api_as(SECRET).request("POST", path).body("{}");
        reply_status(request).await
    };
    assert_eq!((post("/v1/sources/in").await, post("/v1/sources/in?workspace=red").await), (404, 202));
    put(&admin, "in", &json!({ "http": { "secret": SECRET } })).await;
    assert_eq!((post("/v1/sources/in").await, post("/v1/sources/in?workspace=red").await), (202, 202));
}

async fn reply_status(request: reqwest::RequestBuilder) -> u16 {
    reply(request).await.status
}
