//! What of a container's files and texts must be otherwise on this machine.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::file::Service;
use super::world::World;

impl World {
    /// Where a path of a container lies here.
    pub(super) fn mounts(&self, service: &Service, address: &str) -> Vec<(String, PathBuf)> {
        let root = self.folder.join("containers").join(address);
        let own = |target: &str| root.join(target.trim_start_matches('/'));
        let mut mounts: Vec<(String, PathBuf)> = service
            .volumes
            .iter()
            .map(|(source, target)| {
                let secrets = source == "./secrets";
                (target.clone(), if secrets { self.folder.join("secrets") } else { own(target) })
            })
            .collect();
        mounts.push(("/run/secrets".to_owned(), self.folder.join("secrets")));
        mounts
    }

    /// Copies what a service mounts to where it is, with what is in its files made local.
    pub(super) fn lay_out(&self, service: &Service, address: &str) {
        for name in &service.secrets {
            assert!(self.folder.join("secrets").join(name).is_file(), "{}: no secret {name}", service.name);
        }
        for ((source, target), (_, here)) in service.volumes.iter().zip(self.mounts(service, address)) {
            if source == "./secrets" {
                continue;
            }
            let Some(source) = source.strip_prefix("./") else {
                std::fs::create_dir_all(&here).unwrap();
                continue;
            };
            let source = match source.strip_prefix("secrets/") {
                Some(name) => self.folder.join("secrets").join(name),
                None => Path::new(env!("CARGO_MANIFEST_DIR")).join(source),
            };
            assert!(
                source.exists(),
                "{}: {target} would be made of nothing: {}",
                service.name,
                source.display()
            );
            self.copy(&source, &here, service, address);
        }
    }

    fn copy(&self, source: &Path, here: &Path, service: &Service, address: &str) {
        if source.is_dir() {
            for entry in std::fs::read_dir(source).unwrap().flatten() {
                self.copy(&entry.path(), &here.join(entry.file_name()), service, address);
            }
            return;
        }
        std::fs::create_dir_all(here.parent().unwrap()).unwrap();
        if source.ends_with("prometheus.yml") {
            std::fs::write(here, self.scraping(&std::fs::read_to_string(source).unwrap())).unwrap();
            return;
        }
        std::fs::write(here, self.local(&std::fs::read_to_string(source).unwrap(), service, address))
            .unwrap();
    }

    /// Prometheus' configuration: names that a resolver of containers knows become the addresses that stand behind them.
    fn scraping(&self, text: &str) -> String {
        let mut config = bugle::apply::files::yaml(text).unwrap();
        config["global"] = json!({ "scrape_interval": "1s", "evaluation_interval": "1s" });
        for job in config["scrape_configs"].as_array_mut().unwrap() {
            let job = job.as_object_mut().unwrap();
            let found = job.remove("dns_sd_configs").unwrap();
            let names = found[0]["names"].as_array().unwrap().clone();
            let port = &found[0]["port"];
            let of = |name: &Value| {
                self.of(name.as_str().unwrap())
                    .into_iter()
                    .map(|index| self.containers[index].address.clone())
            };
            let targets: Vec<String> =
                names.iter().flat_map(of).map(|address| format!("{address}:{port}")).collect();
            job.insert("static_configs".to_owned(), json!([{ "targets": targets }]));
        }
        config.to_string()
    }

    /// A text of a container as it must be here: its paths, its own address, those of others.
    pub(super) fn local(&self, text: &str, service: &Service, address: &str) -> String {
        let mut text = text.replace("0.0.0.0:", &format!("{address}:"));
        for (there, here) in self.mounts(service, address) {
            for before in ["", "\"", "=", " "] {
                for after in ["/", "\""] {
                    let (found, local) =
                        (format!("{before}{there}{after}"), format!("{before}{}{after}", here.display()));
                    if !before.is_empty() {
                        text = text.replace(&found, &local);
                    } else if text.starts_with(&found) {
                        text = text.replacen(&found, &local, 1);
                    }
                }
            }
            if text == there {
                text = here.display().to_string();
            }
        }
        for (name, host) in &self.hosts {
            text = text.replace(&format!("//{name}:"), &format!("//{host}:"));
            text = text.replace(&format!("@{name}:"), &format!("@{host}:"));
            text = text.replace(&format!("host: {name}\n"), &format!("host: {host}\n"));
        }
        // The private networks of containers are loopback here.
        text.replace("172.16.0.0/12", "127.0.0.0/8")
    }
}
