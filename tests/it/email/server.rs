//! A real mail server in a process of its own, with a certificate that an authority of the test's own has signed.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::clients::python;
use crate::support::process::Process;
use crate::support::{Folder, SOON, ensure, eventually, free_port};

pub const USER: &str = "bugle@mail.test";
pub const PASSWORD: &str = "hunter2-hunter2";

pub struct MailServer {
    pub port: u16,
    host: String,
    folder: Folder,
    python: PathBuf,
    process: Option<Process>,
}

/// A message as Python's own e-mail package reads it.
#[derive(Debug, Clone)]
pub struct Mail(pub Value);

impl Mail {
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.0["headers"].as_array().unwrap();
        let found = headers.iter().find(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name));
        found.map(|header| header[1].as_str().unwrap())
    }

    /// The names of all headers, in small letters.
    pub fn names(&self) -> Vec<String> {
        let headers = self.0["headers"].as_array().unwrap();
        headers.iter().map(|header| header[0].as_str().unwrap().to_lowercase()).collect()
    }

    pub fn to(&self) -> &str {
        let to = self.0["to"].as_array().unwrap();
        assert_eq!(to.len(), 1, "{to:?}");
        to[0].as_str().unwrap()
    }

    pub fn raw(&self) -> String {
        String::from_utf8(STANDARD.decode(self.0["raw"].as_str().unwrap()).unwrap()).unwrap()
    }

    /// The path of its link to unsubscribe.
    pub fn link(&self) -> Option<String> {
        let link = self.header("List-Unsubscribe")?.trim_start_matches('<').trim_end_matches('>');
        Some(link.strip_prefix("https://bugle.test/notify").unwrap().to_owned())
    }
}

impl MailServer {
    /// For `localhost`. None without a Python that has the server.
    pub async fn start(security: &str) -> Option<Self> {
        Self::named("localhost", security).await
    }

    pub async fn named(name: &str, security: &str) -> Option<Self> {
        let python = python()?;
        let folder = Folder::new();
        let settings = match security {
            "none" => json!({ "security": security }),
            _ => json!({ "security": security, "user": USER, "password": PASSWORD }),
        };
        folder.write("settings.json", &settings.to_string());
        certify(&folder, name);
        let host = "127.0.0.1".to_owned();
        let mut server = Self { port: free_port(), host, folder, python, process: None };
        server.again().await;
        Some(server)
    }

    /// One that takes what comes, without TLS, at this address.
    pub async fn at(host: &str, port: u16) -> Option<Self> {
        let (python, folder) = (python()?, Folder::new());
        folder.write("settings.json", &json!({ "security": "none" }).to_string());
        let mut server = Self { port, host: host.to_owned(), folder, python, process: None };
        server.again().await;
        Some(server)
    }

    /// Starts it, or starts it again after its death.
    pub async fn again(&mut self) {
        let script = format!("{}/tests/it/email/server.py", env!("CARGO_MANIFEST_DIR"));
        let (port, folder) = (self.port.to_string(), self.folder.path().display().to_string());
        let log = self.folder.join("server.log");
        let mut process =
            Process::start("mail", &self.python, &[&script, &self.host, &port, &folder], &[], &log);
        eventually("the mail server listens", SOON, async || {
            assert!(process.ended().is_none(), "{}", process.output());
            let open = std::net::TcpStream::connect((self.host.as_str(), self.port)).is_ok();
            ensure(open, process.output())
        })
        .await;
        self.process = Some(process);
    }

    pub fn kill_9(&mut self) {
        self.process.take().unwrap().kill_9();
    }

    pub fn ca_file(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }

    pub fn ca(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("ca.pem")).unwrap()
    }

    /// The replies to the next RCPTs.
    pub fn replies(&self, lines: &[&str]) {
        self.folder.write("rcpt", &lines.join("\n"));
    }

    /// From now on messages are received and not answered.
    pub fn hold(&self) {
        self.folder.write("hold", "");
    }

    pub fn let_go(&self) {
        std::fs::remove_file(self.folder.join("hold")).unwrap();
    }

    pub async fn holds(&self) {
        let held = self.folder.join("held");
        eventually("a message is held", SOON, async || ensure(held.exists(), "none")).await;
    }

    pub fn mails(&self) -> Vec<Mail> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.to_string_lossy().ends_with(".mail.json"));
        paths.sort();
        let read = |path: &PathBuf| Mail(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
        paths.iter().map(read).collect()
    }

    pub async fn receives(&self, count: usize) -> Vec<Mail> {
        eventually(&format!("{count} mails arrive"), SOON, async || {
            let found = self.mails();
            let said = || self.process.as_ref().map(Process::output).unwrap_or_default();
            if found.len() >= count { Ok(found) } else { Err(format!("{}: {}", found.len(), said())) }
        })
        .await
    }
}

/// An authority's certificate, and one of the host's that it has signed.
fn certify(folder: &Folder, name: &str) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    folder.write("ca.pem", &authority.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    folder.write("cert.pem", &own.pem());
    folder.write("key.pem", &key.serialize_pem());
}
