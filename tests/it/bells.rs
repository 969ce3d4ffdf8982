//! Clients that nobody here wrote follow an inbox while the API is killed and comes back: each notification once, in order.
//!
//! The npm packages `eventsource` and `ws`, Python's `websockets`, and a browser: its own `EventSource`, and the example page.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};

use crate::clients::python;
use crate::support::LATER;
use crate::support::bugle::{Bugle, Role};
use crate::support::wire::Wire;

/// Said while the client listens, while no API is there, and after it came back.
const EACH: u32 = 10;
const ALL: u32 = 3 * EACH;
/// A browser starts slowly beside compilers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A page that leaves everything to the browser.
const PLAIN: &str = r"<script>
    const settings = new URLSearchParams(location.hash.slice(1));
    const titles = [];
    let last = 0;
    const inOrder = (id) => { const before = last; last = Number(id.split('.')[0]); return last > before; };
    const stream = new EventSource(settings.get('url'));
    stream.addEventListener('connected', () => titles.length || titles.push('n0'));
    stream.addEventListener('notification', (event) => 
        titles.push(inOrder(event.lastEventId) ? JSON.parse(event.data).title : 'out of order'));
    const sorted = () => [...titles].sort((one, other) => one.slice(1) - other.slice(1)).join(' ');
</script>";

struct Installation {
    bugle: Bugle,
    wire: Wire,
    token: String,
    port: u16,
}

impl Installation {
    async fn start(origin: Option<&str>) -> Self {
        let bugle = Bugle::new().await;
        if let Some(origin) = origin {
            bugle.set("API__CORS_ORIGINS", origin);
        }
        bugle
            .start_with(&json!({ "rules": [{
                "id": "said", "events": ["said:*"], "channels": ["in_app"], "recipients": ["ann"],
                "template": {"title": "n{{n}}", "body": "It was said."}
            }]}))
            .await;
        let wanted = json!({ "name": "bell", "role": "viewer", "workspace": "default", "recipient": "ann" });
        let made = bugle.api().post("/v1/tokens", &wanted).await.expect(201);
        let token = made["token"].as_str().unwrap().to_owned();
        let api = bugle.take(Role::Api).remove(0);
        let port = api.api_port.unwrap();
        bugle.adopt(api);
        Self { wire: bugle.wire().await, bugle, token, port }
    }

    fn stream(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/v1/notifications/{path}", self.port)
    }

    async fn say(&self, numbers: std::ops::RangeInclusive<u32>) {
        for number in numbers {
            self.wire.event("said:so", &format!("e-{number}"), &json!({ "n": number })).await;
        }
    }

    /// All that there is to say, with the API killed in the middle of it.
    async fn say_all(&self) {
        self.say(1..=EACH).await;
        let mut api = self.bugle.take(Role::Api).remove(0);
        api.process.kill_9();
        self.say(EACH + 1..=2 * EACH).await;
        let mut again = self.bugle.spawn_again(Role::Api, &api);
        again.until_ready(LATER).await;
        self.bugle.adopt(again);
        self.say(2 * EACH + 1..=ALL).await;
    }

    /// What a client that prints a line of JSON for each frame saw, after it said that it is connected.
    async fn followed_by(&self, client: Client) {
        let (mut child, mut lines) = client.start();
        let first: Value = serde_json::from_str(&line(&mut lines).await.unwrap()).unwrap();
        assert_eq!(first["type"], "connected", "{first}");
        self.say_all().await;
        let (mut titles, mut places) = (Vec::new(), Vec::new());
        while let Some(text) = line(&mut lines).await {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "notification" {
                titles.push(frame["title"].as_str().unwrap().to_owned());
                let own = frame["id"].as_str().unwrap().split('.').next().unwrap().parse::<u64>().unwrap();
                places.push(own);
            }
        }
        assert!(child.wait().await.unwrap().success(), "{titles:?}");
        // Workers send side by side: the order is that of the inbox.
        titles.sort_by_key(|title| title[1..].parse::<u32>().unwrap());
        assert_eq!(titles, (1..=ALL).map(|number| format!("n{number}")).collect::<Vec<_>>());
        assert!(places.is_sorted_by(|one, next| one < next), "{places:?}");
    }
}

/// A program of somebody else's in a few lines of ours.
struct Client {
    program: PathBuf,
    script: &'static str,
    arguments: Vec<String>,
    node_tools: PathBuf,
}

impl Client {
    fn start(self) -> (Child, Lines<BufReader<ChildStdout>>) {
        let file = format!("{}/tests/it/clients/{}", env!("CARGO_MANIFEST_DIR"), self.script);
        let mut command = Command::new(self.program);
        command.arg(file).args(self.arguments).env("NODE_TOOLS", self.node_tools);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the client says something").unwrap()
}

/// The folder of npm packages. Without it the test is left out, but never in CI.
fn node_tools() -> Option<PathBuf> {
    let folder = found("BUGLE_TEST_NODE_TOOLS", ".tools/node")?;
    assert!(folder.join("node_modules/ws/package.json").exists(), "{} has no `ws`", folder.display());
    Some(folder)
}

/// As [`node_tools`], for a browser.
fn chromium() -> Option<PathBuf> {
    found("BUGLE_TEST_CHROMIUM", "/usr/bin/chromium")
}

fn found(variable: &str, usual: &str) -> Option<PathBuf> {
    let usual = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(usual);
    let path = std::env::var_os(variable).map_or(usual, PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "there is no {}: `make test` obtains it", path.display());
    eprintln!("left out, there is no {}: `make test` obtains it", path.display());
    None
}

fn node(script: &'static str, url: String, token: &str) -> Option<Client> {
    let node_tools = node_tools()?;
    let arguments = vec![url, token.to_owned(), ALL.to_string()];
    Some(Client { program: PathBuf::from("node"), script, arguments, node_tools })
}

#[tokio::test]
async fn the_npm_package_eventsource_sees_each_notification_once_in_order() {
    if node_tools().is_none() {
        return;
    }
    let installation = Installation::start(None).await;
    let url = installation.stream("http", "stream");
    let client = node("eventsource.mjs", url, &installation.token).unwrap();
    installation.followed_by(client).await;
}

#[tokio::test]
async fn the_npm_package_ws_sees_each_notification_once_in_order() {
    if node_tools().is_none() {
        return;
    }
    let installation = Installation::start(None).await;
    let client = node("ws.mjs", installation.stream("ws", "ws"), &installation.token).unwrap();
    installation.followed_by(client).await;
}

#[tokio::test]
async fn pythons_websockets_sees_each_notification_once_in_order() {
    let Some(python) = python() else { return };
    let installation = Installation::start(None).await;
    let arguments = vec![installation.stream("ws", "ws"), installation.token.clone(), ALL.to_string()];
    let client = Client { program: python, script: "follow.py", arguments, node_tools: PathBuf::new() };
    installation.followed_by(client).await;
}

/// Serves the pages, as a site of its own would.
async fn site() -> String {
    let bell = include_str!("../../docs/examples/bell.html");
    let pages = Router::new()
        .route("/plain.html", get(|| async { Html(PLAIN) }))
        .route("/bell.html", get(move || async move { Html(bell) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, pages).await });
    origin
}

/// What an expression on a page is, one after the other, until it is `end`.
fn watch(page: String, expression: &str, end: &str) -> Option<(Child, Lines<BufReader<ChildStdout>>)> {
    let (chromium, python) = (chromium()?, python()?);
    let arguments = vec![chromium.display().to_string(), page, expression.to_owned(), end.to_owned()];
    let client = Client { program: python, script: "bell.py", arguments, node_tools: PathBuf::new() };
    Some(client.start())
}

fn numbers() -> String {
    (1..=ALL).map(|number| format!("n{number}")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_browsers_event_source_sees_each_notification_once_in_order() {
    if chromium().is_none() {
        return;
    }
    let origin = site().await;
    let installation = Installation::start(Some(&origin)).await;
    let url = format!("{}?token={}", installation.stream("http", "stream"), installation.token);
    let url: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    let page = format!("{origin}/plain.html#url={url}");
    let end = format!("n0 {}", numbers());
    let Some((mut child, mut lines)) = watch(page, "sorted()", &end) else { return };
    while line(&mut lines).await.expect("the page is open") != "n0" {}
    installation.say_all().await;
    let mut last = String::new();
    while let Some(seen) = line(&mut lines).await {
        last = seen;
    }
    assert_eq!(last, end);
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn the_example_page_counts_live_and_says_when_the_connection_is_lost() {
    const SHOWN: &str = "[document.querySelector('#count').textContent || '0', \
        [...document.querySelectorAll('#list li')].map((item) => item.querySelector('strong').textContent) \
            .sort((one, other) => one.slice(1) - other.slice(1)).join(' '), \
        document.querySelector('#banner').hidden ? 'connected' : 'lost'].join('|')";
    if chromium().is_none() {
        return;
    }
    let origin = site().await;
    let installation = Installation::start(Some(&origin)).await;
    let page =
        format!("{origin}/bell.html#api=http://127.0.0.1:{}&token={}", installation.port, installation.token);
    let end = format!("{ALL}|{}|connected", numbers());
    let Some((mut child, mut lines)) = watch(page, SHOWN, &end) else { return };
    while line(&mut lines).await.expect("the page is open") != "0||connected" {}
    installation.say_all().await;
    let mut seen = Vec::new();
    while let Some(shown) = line(&mut lines).await {
        seen.push(shown);
    }
    assert_eq!(seen.last(), Some(&end), "{seen:#?}");
    assert!(
        seen.iter().any(|shown| shown.ends_with("|lost")),
        "it never said that it lost the connection: {seen:#?}"
    );
    assert!(child.wait().await.unwrap().success());
}
