//! docker-compose.yml without containers: the very commands, environments, files, secrets, dependencies and health checks, as
//! processes of this machine.
//!
//! Each container has a loopback address of its own, so that ports stay what they are. What differs is said in `World::local`:
//! names of services become addresses, paths in containers become paths here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::file::{Service, services};
use crate::email::server::MailServer;
use crate::support::api::{Api, get_text};
use crate::support::broker;
use crate::support::postgres::{self, Cluster, Wanted};
use crate::support::process::Process;
use crate::support::prometheus;
use crate::support::{Folder, LATER, ensure, eventually, free_port};

/// A container's stand-in.
pub struct Container {
    pub address: String,
    pub process: Process,
    service: Service,
}

pub struct World {
    pub(super) folder: Folder,
    services: Vec<Service>,
    /// The first three bytes of all addresses: a world of its own beside others on this machine.
    network: String,
    pub(super) hosts: BTreeMap<String, String>,
    pub(super) containers: Vec<Container>,
    next: u8,
    postgres: Option<Cluster>,
    pub mail: Option<MailServer>,
}

impl World {
    /// `docker compose run secrets`, then `up` of all services but the named ones. None where Postgres or the mail server cannot be
    /// had.
    pub async fn up(
        variables: &[(&str, &str)],
        without: &[&str],
        scale: &[(&str, usize)],
        more: &[(&str, &str, &str)],
    ) -> Option<Self> {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut services = services(&variables);
        services.retain(|service| !without.contains(&service.name.as_str()));
        for service in &mut services {
            let scaled = scale.iter().find(|(name, _)| *name == service.name);
            service.replicas = scaled.map_or(service.replicas, |(_, replicas)| *replicas);
            let added = more.iter().filter(|(name, ..)| *name == service.name);
            service
                .environment
                .extend(added.map(|(_, name, value)| ((*name).to_owned(), (*value).to_owned())));
        }
        let port = free_port();
        let network = format!("127.{}.{}", 10 + port / 250 % 200, 1 + port % 250);
        let mut world = Self {
            folder: Folder::new(),
            services,
            network,
            hosts: BTreeMap::new(),
            containers: Vec::new(),
            next: 0,
            postgres: None,
            mail: None,
        };
        world.link_programs();
        world.make_secrets().await;
        let mut waiting: Vec<Service> =
            world.services.iter().filter(|service| !service.by_hand).cloned().collect();
        while !waiting.is_empty() {
            let ready = |service: &Service| {
                let known =
                    |(name, _): &(String, String)| waiting.iter().all(|waiting| waiting.name != *name);
                service.depends_on.iter().all(known)
            };
            // It has to know where all others are.
            let last = |service: &Service| service.image.starts_with("prom/") && waiting.len() > 1;
            let index = waiting.iter().position(|service| ready(service) && !last(service));
            let index = index.expect("dependencies have no circle");
            let service = waiting.remove(index);
            world.start(&service).await?;
        }
        Some(world)
    }

    /// The image's programs: one, and the roles as links to it.
    fn link_programs(&self) {
        let bin = self.folder.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for name in ["bugle", "bugle-router", "bugle-worker", "bugle-recorder", "bugle-api"] {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bugle"), bin.join(name)).unwrap();
        }
    }

    async fn make_secrets(&mut self) {
        let made = self.by_hand("secrets", &[]).await;
        assert!(made.0, "{}", made.1);
    }

    pub fn secret(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join("secrets").join(name)).unwrap();
        text.trim().to_owned()
    }

    /// `docker compose run --rm <service> <arguments>`: whether it went well, and what it said.
    pub async fn by_hand(&mut self, name: &str, arguments: &[&str]) -> (bool, String) {
        let mut service = self.services.iter().find(|service| service.name == name).unwrap().clone();
        service.command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let address = self.address();
        let mut process = self.run(&service, &address);
        let code = process.exit_code(LATER).await;
        (code == 0, process.output())
    }

    fn address(&mut self) -> String {
        self.next += 1;
        format!("{}.{}", self.network, self.next)
    }

    async fn start(&mut self, service: &Service) -> Option<()> {
        for _ in 0..service.replicas {
            let address = self.address();
            self.hosts.entry(service.name.clone()).or_insert_with(|| address.clone());
            match service.image.split(['/', ':']).next().unwrap() {
                "postgres" => self.start_postgres(service, &address).await?,
                "axllent" => self.mail = Some(MailServer::at(&address, 1025).await?),
                _ => {
                    let process = self.run(service, &address);
                    self.containers.push(Container { address, process, service: service.clone() });
                    self.until_healthy(self.containers.len() - 1).await;
                }
            }
        }
        Some(())
    }

    async fn start_postgres(&mut self, service: &Service, address: &str) -> Option<()> {
        let environment = |name: &str| service.environment[name].clone();
        assert_eq!(environment("POSTGRES_PASSWORD_FILE"), "/run/secrets/postgres-password");
        let password = self.secret("postgres-password");
        let (user, database) = (environment("POSTGRES_USER"), environment("POSTGRES_DB"));
        let address = address.to_owned();
        let start = move || {
            let wanted = Wanted {
                host: &address,
                port: 5432,
                superuser: &user,
                password: Some(&password),
                ..Wanted::default()
            };
            let cluster = postgres::as_wanted(&wanted)?;
            cluster.execute(&format!("create database {database}")).unwrap();
            Some(cluster)
        };
        self.postgres = Some(tokio::task::spawn_blocking(start).await.unwrap()?);
        Some(())
    }

    /// Healthy, or, what has no health check, over and done.
    async fn until_healthy(&mut self, index: usize) {
        let service = self.containers[index].service.clone();
        if service.healthcheck.is_empty() {
            let container = &mut self.containers[index];
            let code = container.process.exit_code(LATER).await;
            assert_eq!(code, 0, "{}: {}", service.name, container.process.output());
            return;
        }
        eventually(&format!("{} is healthy", service.name), LATER, async || {
            let container = &mut self.containers[index];
            if let Some(code) = container.process.ended() {
                panic!("{} ended with {code}: {}", service.name, container.process.output());
            }
            self.health(index).await
        })
        .await;
    }

    async fn health(&self, index: usize) -> Result<(), String> {
        let Container { address, service, process } = &self.containers[index];
        let [kind, program, arguments @ ..] = service.healthcheck.as_slice() else {
            panic!("no health check")
        };
        assert_eq!(kind, "CMD");
        if program == "wget" {
            let url = arguments.last().unwrap().replace("127.0.0.1", address);
            let (status, text) = get_text(&url).await;
            return ensure(status == 200, format!("{status} {text}: {}", process.output()));
        }
        let mut command = tokio::process::Command::new(self.program(program));
        command.args(arguments).envs(self.environment(service, address));
        let said = command.output().await.unwrap();
        ensure(said.status.success(), format!("{said:?} {}", process.output()))
    }

    fn program(&self, name: &str) -> PathBuf {
        let own = self.folder.join("bin").join(name);
        assert!(own.exists(), "{name} is in no image");
        own
    }

    /// Starts a container's command as it is written.
    fn run(&self, service: &Service, address: &str) -> Process {
        self.lay_out(service, address);
        let local = |text: &String| self.local(text, service, address);
        let (program, arguments) = if service.image.starts_with("nats:") {
            (broker::binary(), service.command.iter().map(local).collect::<Vec<_>>())
        } else if service.image.starts_with("prom/") {
            // Where its image listens and writes without being told.
            let folder = self.folder.join("containers").join(address).join("prometheus");
            let image = [
                format!("--web.listen-address={address}:9090"),
                format!("--storage.tsdb.path={}", folder.display()),
            ];
            let program = prometheus::programs().unwrap().join("prometheus");
            (program, service.command.iter().map(local).chain(image).collect())
        } else {
            let (program, arguments) = service.command.split_first().expect("a command");
            (self.program(program), arguments.iter().map(local).collect())
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let log = self.folder.join(&format!("{}-{address}.log", service.name));
        Process::start(&service.name, &program, &arguments, &self.environment(service, address), &log)
    }

    fn environment(&self, service: &Service, address: &str) -> Vec<(String, String)> {
        let of = |(name, value): (&String, &String)| (name.clone(), self.local(value, service, address));
        service.environment.iter().map(of).collect()
    }

    // === what tests ask ===

    /// What the fleet's Prometheus finds now, as its API answers.
    pub async fn asks_prometheus(&self, query: &str) -> Value {
        let url = format!("http://{}:9090/api/v1/query", self.hosts["prometheus"]);
        let (_, text) =
            get_text(url::Url::parse_with_params(&url, [("query", query)]).unwrap().as_ref()).await;
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub fn api(&self) -> Api {
        Api { base: format!("http://{}:8080", self.hosts["api"]), token: self.secret("admin-token") }
    }

    pub fn nats_url(&self) -> String {
        format!("nats://{}:4222", self.hosts["nats"])
    }

    /// A client of NATS that shows this user's key.
    pub async fn nats(&self, user: &str) -> async_nats::Client {
        let seed = self.secret(&format!("nats-{user}.nk"));
        let options =
            async_nats::ConnectOptions::new().nkey(seed).custom_inbox_prefix(format!("_INBOX_{user}"));
        options.connect(self.nats_url()).await.unwrap()
    }

    /// The indices of a service's containers.
    pub fn of(&self, service: &str) -> Vec<usize> {
        let of = |container: &Container| container.service.name == service;
        (0..self.containers.len()).filter(|index| of(&self.containers[*index])).collect()
    }

    /// `docker compose restart` of one container: it ends in order, comes back, and is healthy.
    pub async fn restart(&mut self, index: usize) {
        let (code, _) = self.containers[index].process.sigterm(Duration::from_secs(30)).await;
        let Container { service, address, process } = &self.containers[index];
        assert_eq!(code, 0, "{}: {}", service.name, process.output());
        let again = self.run(service, address);
        self.containers[index].process = again;
        self.until_healthy(index).await;
    }

    /// kill -9, and what `restart: unless-stopped` does after it.
    pub async fn crash(&mut self, index: usize) {
        self.containers[index].process.kill_9();
        let Container { service, address, .. } = &self.containers[index];
        let again = self.run(service, address);
        self.containers[index].process = again;
        self.until_healthy(index).await;
    }

    /// What a service's containers logged.
    pub fn log(&self, service: &str) -> String {
        self.of(service).iter().map(|index| self.containers[*index].process.output()).collect()
    }
}
