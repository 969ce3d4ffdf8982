//! A nats-server of the test's own, a cluster of them, or the one that all tests share behind prefixes of their own.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::{Process, Usage};
use crate::{Folder, SOON, eventually, free_port};

pub struct NatsServer {
    pub name: String,
    pub port: u16,
    process: Process,
    folder: Folder,
}

impl NatsServer {
    /// A server that this test may kill.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same, with more lines in its `jetstream` block (`sync_interval: always`).
    pub async fn start_with(settings: &str) -> Self {
        let server = Self::spawn("testbed", settings, "");
        server.until_ready().await;
        server
    }

    /// The same, with more in its configuration behind that block.
    pub async fn start_with_rest(rest: &str) -> Self {
        let server = Self::spawn("testbed", "", rest);
        server.until_ready().await;
        server
    }

    /// So many servers that form one cluster, each of which this test may kill. Their JetStream needs some seconds more
    /// to choose its leader.
    pub async fn cluster(count: usize) -> Vec<Self> {
        let routes: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let all: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let all = all.join(", ");
        let server = |(index, route): (usize, &u16)| {
            let cluster = format!(
                "cluster {{\n  name: testbed\n  listen: \"127.0.0.1:{route}\"\n  routes: [{all}]\n}}\n"
            );
            Self::spawn(&format!("n{index}"), "", &cluster)
        };
        let servers: Vec<Self> = routes.iter().enumerate().map(server).collect();
        for server in &servers {
            server.until_ready().await;
        }
        servers
    }

    /// What it uses.
    pub fn usage(&self) -> Option<Usage> {
        self.process.usage()
    }

    /// The server of those who leave it alone.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceLock<NatsServer> = OnceLock::new();
        let server = SHARED.get_or_init(|| Self::spawn("testbed", "", ""));
        server.until_ready().await;
        server
    }

    /// `jetstream` and `rest` are more lines of the configuration, in that block and behind it.
    fn spawn(name: &str, jetstream: &str, rest: &str) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let store = folder.join("store");
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nserver_name: {name}\njetstream {{\n  store_dir: {:?}\n  {jetstream}\n}}\n{rest}",
            store.display().to_string()
        );
        folder.write("nats.conf", &config);
        Self { name: name.to_owned(), port, process: Self::run(&folder), folder }
    }

    fn run(folder: &Folder) -> Process {
        let config = folder.join("nats.conf").display().to_string();
        Process::start("nats-server", &binary(), &["-c", &config], &[], &folder.join("nats.log"))
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn until_ready(&self) {
        let greeting = async || {
            let mut socket =
                TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut head = [0; 4];
            socket.read_exact(&mut head).map_err(|error| error.to_string())
        };
        eventually("nats-server greets", SOON, greeting).await;
    }

    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Stops answering without closing anything, until [`NatsServer::thaw`].
    pub fn freeze(&mut self) {
        self.process.freeze();
    }

    pub fn thaw(&mut self) {
        self.process.signal("CONT");
    }

    /// The same port, the same store.
    pub async fn start_again(&mut self) {
        self.restart();
        self.until_ready().await;
    }

    /// The same without waiting.
    pub fn restart(&mut self) {
        self.process = Self::run(&self.folder);
    }

    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// The server's program: `BUGLE_NATS_SERVER`, else PATH, else where the set-up script puts it.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("BUGLE_NATS_SERVER") {
        return PathBuf::from(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|file| file.is_file());
    let set_up = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/nats-server");
    let binary = found.unwrap_or(set_up);
    assert!(
        binary.is_file(),
        "there is no nats-server: `make test` obtains one, or name it by BUGLE_NATS_SERVER"
    );
    binary
}
