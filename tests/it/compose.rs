//! docker-compose.yml is what it says: valid by the Compose specification, with settings that the program knows, and a fleet that
//! does its work when its commands run as they stand there.

mod file;
mod journeys;
mod local;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use bugle::config::Settings;
use serde_json::Value;

use self::file::{Service, services, written};

fn of_bugle(service: &Service) -> bool {
    service.image.starts_with("bugle:")
}

#[test]
fn the_compose_file_is_valid_by_the_compose_specification() {
    let schema: Value = serde_json::from_str(include_str!("compose/compose-spec.json")).unwrap();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("compose.json", schema).unwrap();
    let compiled = compiler.compile("compose.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&written(), compiled) {
        panic!("{error:#}");
    }
}

#[test]
fn every_variable_that_the_compose_file_sets_is_known_to_the_program() {
    let mut checked = 0;
    for service in services(&BTreeMap::new()).iter().filter(|service| of_bugle(service)) {
        let ours: Vec<(String, String)> = service
            .environment
            .iter()
            // What is in a file is checked where there is one.
            .map(|(name, value)| {
                let (name, value) = if value.starts_with("/run/secrets/nats-") {
                    (
                        name.trim_end_matches("_FILE"),
                        "SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU",
                    )
                } else if value.starts_with("/run/secrets/") && !name.ends_with("SECRETS__KEY_FILE") {
                    (name.trim_end_matches("_FILE"), "0123456789abcdef")
                } else {
                    (name.as_str(), value.as_str())
                };
                (name.to_owned(), value.to_owned())
            })
            .filter(|(name, _)| name.starts_with("BUGLE"))
            .collect();
        checked += ours.len();
        if let Err(error) = Settings::from_parts(None, &ours) {
            panic!("{}: {error}", service.name);
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn every_secret_that_a_service_reads_is_given_to_it_and_no_other() {
    let file = written();
    let defined: BTreeSet<&str> = file["secrets"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut used = BTreeSet::new();
    let all = services(&BTreeMap::new());
    for service in &all {
        let read: BTreeSet<&str> =
            service.environment.values().filter_map(|value| value.strip_prefix("/run/secrets/")).collect();
        let given: BTreeSet<&str> = service.secrets.iter().map(String::as_str).collect();
        assert_eq!(read, given, "{}", service.name);
        used.extend(given);
    }
    assert_eq!(used, defined);
}

#[test]
fn every_kind_has_a_worker_and_every_role_restarts_and_has_limits_and_a_health_check() {
    let all = services(&BTreeMap::new());
    let kinds: Vec<&str> = all
        .iter()
        .filter_map(|service| service.environment.get("BUGLE__WORKER__KINDS"))
        .flat_map(|kinds| kinds.split(','))
        .collect();
    let sent: BTreeSet<&str> = kinds.iter().copied().collect();
    assert_eq!(sent.len(), kinds.len(), "a kind is sent by two services: {kinds:?}");
    assert_eq!(sent, bugle::channel::Kind::ALL.iter().map(|kind| kind.as_str()).collect());
    let file = written();
    for service in all.iter().filter(|service| !service.by_hand) {
        let written = &file["services"][&service.name];
        assert!(written["restart"].is_string(), "{}", service.name);
        if service.name != "setup" {
            assert!(written["deploy"]["resources"]["limits"]["memory"].is_string(), "{}", service.name);
        }
        if of_bugle(service) && service.name != "setup" {
            assert_eq!(service.healthcheck, ["CMD", "bugle", "ready"], "{}", service.name);
            assert_eq!(written["read_only"], true, "{}", service.name);
        }
        // Nothing is reachable from other machines unless somebody says so.
        for port in written["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{}: {port}", service.name);
        }
    }
}

/// What the image is built from is there, and it has the programs that the services start.
#[test]
fn the_dockerfile_builds_what_the_services_start() {
    let text = include_str!("../../Dockerfile");
    let version = |line: &str| line.split(["rust:", "-"].as_slice()[0]).nth(1).map(str::to_owned);
    let base = text.lines().find(|line| line.starts_with("FROM rust:")).and_then(version).unwrap();
    let cargo: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let wanted = cargo["package"]["rust-version"].as_str().unwrap();
    assert!(base.starts_with(wanted), "{base} is not Rust {wanted}");
    let roles = text.split("for role in ").nth(1).unwrap().split(';').next().unwrap();
    for service in services(&BTreeMap::new()).iter().filter(|service| of_bugle(service)) {
        let program = &service.command[0];
        let role = program.strip_prefix("bugle-");
        assert!(
            role.map_or(program == "bugle", |role| roles.split(' ').any(|known| known == role)),
            "{program}"
        );
    }
    assert!(text.contains("USER 65532:65532") && text.contains("--locked"));
    let ignored = include_str!("../../.dockerignore");
    assert!(ignored.lines().any(|line| line == "secrets"), "secrets must not get into an image");
}
