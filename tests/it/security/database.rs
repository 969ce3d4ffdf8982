//! Postgres: TLS in both directions, and a password that is in no URL.

use super::Authority;
use crate::support::bugle::{Bugle, everything_to};
use crate::support::database::Database;
use crate::support::postgres::{Cluster, Wanted, as_wanted};
use crate::support::sink::Sink;

/// A server that takes `bugle` by TLS alone, with a password and a certificate of the authority.
fn strict(authority: &Authority) -> Option<Cluster> {
    let read = |name: &str| std::fs::read_to_string(authority.path(name)).unwrap();
    let (ca, certificate, key) = (read("ca.pem"), read("localhost.pem"), read("localhost.key"));
    let hba = "host all postgres 127.0.0.1/32 trust\nhostssl all bugle 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n";
    let files = [
        ("ca.crt", ca.as_str()),
        ("server.crt", certificate.as_str()),
        ("server.key", key.as_str()),
        ("pg_hba.conf", hba),
    ];
    let settings = [("ssl", "on"), ("ssl_ca_file", "ca.crt")];
    as_wanted(&Wanted { settings: &settings, files: &files, ..Wanted::default() })
}

#[tokio::test]
async fn postgres_is_reached_by_tls_with_a_password_from_a_file() {
    let (authority, sink) = (Authority::new(), Sink::start().await);
    authority.certify("localhost");
    authority.certify("bugle");
    let folder = authority.folder.path().to_owned();
    let started = tokio::task::spawn_blocking(move || (strict(&authority), authority)).await.unwrap();
    let (Some(cluster), authority) = started else { return };
    cluster.execute("create user bugle password 'p:w/ 1'").unwrap();
    cluster.execute("create database bugle owner bugle").unwrap();
    let url = |more: &str| format!("postgres://bugle@localhost:{}/bugle?{more}", cluster.port);
    let verified = format!("sslmode=verify-full&sslrootcert={}", authority.path("ca.pem"));
    let ours = format!("&sslcert={}&sslkey={}", authority.path("bugle.pem"), authority.path("bugle.key"));
    let bugle = Bugle::new().await;
    let file = folder.join("password");
    std::fs::write(&file, "p:w/ 1\n").unwrap();
    for (url, why) in [
        (url("sslmode=disable"), "without TLS"),
        (url(&verified), "without a certificate of ours"),
        (url("sslmode=verify-full"), "a server that nobody vouches for"),
    ] {
        bugle.set("DATABASE__URL", &url);
        bugle.set("DATABASE__PASSWORD_FILE", &file.display().to_string());
        let said = bugle.cli(&["setup"]).await;
        assert_ne!(said.code, 0, "{why}: {said:?}");
        assert!(!said.stderr.contains("p:w"), "{said:?}");
    }
    bugle.set("DATABASE__URL", &url(&format!("{verified}{ours}")));
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    bugle.wire().await.event("a:b", "1", &serde_json::json!({})).await;
    bugle.api().shows(1, "status=sent").await;
    let encrypted = cluster
        .query(
            &format!("postgres://postgres@127.0.0.1:{}/bugle", cluster.port),
            "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'bugle'",
        )
        .unwrap();
    assert_eq!(encrypted.trim(), "t");
    let sqlite = Bugle::on(crate::support::broker::NatsServer::shared().await, Database::sqlite());
    sqlite.set("DATABASE__PASSWORD", "s3cr3t");
    let said = sqlite.cli(&["check-config"]).await;
    assert!(said.code == 78 && said.stderr.contains("database.password"), "{said:?}");
}
