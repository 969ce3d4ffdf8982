//! NATS: credentials in each form, TLS in both directions, answers that others cannot read.

use nkeys::KeyPair;
use serde_json::json;

use super::Authority;
use crate::support::SOON;
use crate::support::broker::NatsServer;
use crate::support::bugle::{Bugle, Role, everything_to};
use crate::support::database::Database;
use crate::support::sink::Sink;

/// An account's users, as a server's configuration has them.
fn users(users: &str) -> String {
    format!("authorization {{ users: [{users}] }}")
}

#[tokio::test]
async fn each_way_to_say_who_one_is_is_taken_and_a_wrong_one_refused() {
    let (own, strange) = (KeyPair::new_user(), KeyPair::new_user());
    let known = format!("{{ nkey: {} }}, {{ user: \"fleet\", password: \"s3cr3t: 4/5\" }}", own.public_key());
    let server = NatsServer::start_with_rest(&users(&known)).await;
    let seed = own.seed().unwrap();
    let ways: [&[(&str, &str)]; 2] = [&[("NKEY", &seed)], &[("USER", "fleet"), ("PASSWORD", "s3cr3t: 4/5")]];
    for way in ways {
        let bugle = Bugle::on(&server, Database::sqlite());
        for (key, value) in way {
            // From a file, which ends with an end of line.
            let file = bugle.folder.write(key, &format!("{value}\n")).display().to_string();
            bugle.set(&format!("NATS__{key}_FILE"), &file);
        }
        bugle.cli(&["setup"]).await.ok();
    }
    let stranger = strange.seed().unwrap();
    let wrong: [&[(&str, &str)]; 3] =
        [&[], &[("NKEY", &stranger)], &[("USER", "fleet"), ("PASSWORD", "s3cr3t")]];
    for way in wrong {
        let bugle = Bugle::on(&server, Database::sqlite());
        way.iter().for_each(|(key, value)| bugle.set(&format!("NATS__{key}"), value));
        let said = bugle.cli(&["dead", "list"]).await;
        assert_eq!(said.code, 78, "{said:?}");
        assert!(said.stderr.contains("refuses us") && said.stderr.contains("nats.nkey"), "{said:?}");
        assert!(!said.stderr.contains("s3cr3t") && !said.stderr.contains(&stranger), "{said:?}");
        let mut role = bugle.spawn(Role::Router);
        assert_eq!(role.process.exit_code(SOON).await, 78, "a role does not wait for what cannot come");
    }
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_in_one_sentence() {
    let seed = KeyPair::new_user().seed().unwrap();
    let cases: [(&[(&str, &str)], &str); 7] = [
        (
            &[("NATS__NKEY", &seed), ("NATS__USER", "me"), ("NATS__PASSWORD", "s3cr3t")],
            "nats.nkey and nats.user",
        ),
        (&[("NATS__USER", "me")], "nats.user and nats.password"),
        (&[("NATS__NKEY", "s3cr3t")], "nats.nkey"),
        (&[("NATS__TLS_CERT_FILE", "/no/such.pem")], "nats.tls_key_file"),
        (&[("NATS__TLS_CA_FILE", "/no/such.pem")], "/no/such.pem"),
        (&[("NATS__INBOX_PREFIX", "_INBOX.>")], "nats.inbox_prefix"),
        (&[("NATS__NKEY_FILE", "/no/such.nk")], "BUGLE__NATS__NKEY_FILE"),
    ];
    for (settings, word) in cases {
        let bugle = Bugle::new().await;
        settings.iter().for_each(|(key, value)| bugle.set(key, value));
        let said = bugle.cli(&["check-config"]).await;
        assert_eq!(said.code, 78, "{settings:?}: {said:?}");
        assert!(said.stderr.contains(word) && !said.stderr.contains("s3cr3t"), "{said:?}");
        assert_eq!(said.stderr.trim().lines().count(), 1, "{said:?}");
    }
}

#[tokio::test]
async fn a_variable_and_its_file_are_not_both_taken() {
    let bugle = Bugle::new().await;
    let file = bugle.folder.write("token", "0123456789abcdef\n").display().to_string();
    bugle.set("API__ADMIN_TOKEN_FILE", &file);
    let said = bugle.cli(&["check-config"]).await;
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.stderr.contains("BUGLE__API__ADMIN_TOKEN_FILE and BUGLE__API__ADMIN_TOKEN"), "{said:?}");
}

#[tokio::test]
async fn answers_come_under_the_prefix_that_is_set() {
    let (router, all) = (KeyPair::new_user(), KeyPair::new_user());
    let only = "permissions: { publish: \">\", subscribe: \"_INBOX_mine.>\" }";
    let known = format!("{{ nkey: {}, {only} }}, {{ nkey: {} }}", router.public_key(), all.public_key());
    let server = NatsServer::start_with_rest(&users(&known)).await;
    let bugle = Bugle::on(&server, Database::sqlite());
    bugle.set("NATS__NKEY", &router.seed().unwrap());
    bugle.set("NATS__INBOX_PREFIX", "_INBOX_mine");
    bugle.cli(&["setup"]).await.ok();
    assert!(!server.log().contains("Violation"), "{}", server.log());
}

#[tokio::test]
async fn a_fleet_speaks_tls_and_shows_its_certificate() {
    let (authority, sink) = (Authority::new(), Sink::start().await);
    authority.certify("localhost");
    authority.certify("fleet");
    let tls = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        authority.path("localhost.pem"),
        authority.path("localhost.key"),
        authority.path("ca.pem")
    );
    let server = NatsServer::start_with_rest(&tls).await;
    let bugle = Bugle::at(format!("nats://localhost:{}", server.port), Database::sqlite());
    let refused = bugle.cli(&["dead", "list"]).await;
    assert_eq!(refused.code, 1, "nobody vouches for the server: {refused:?}");
    bugle.set("NATS__TLS_CA_FILE", &authority.path("ca.pem"));
    let refused = bugle.cli(&["dead", "list"]).await;
    assert_eq!(refused.code, 1, "the server asks for a certificate: {refused:?}");
    bugle.set("NATS__TLS_CERT_FILE", &authority.path("fleet.pem"));
    bugle.set("NATS__TLS_KEY_FILE", &authority.path("fleet.key"));
    bugle.start_with(&everything_to(&sink.url("/hook"))).await;
    let event = json!({ "type": "a:b", "data": {} });
    assert!(bugle.api().post("/v1/events", &event).await.status < 300);
    sink.receives(1, "/hook").await;
    let plain = NatsServer::start().await;
    bugle.set("NATS__URL", &plain.url());
    let said = bugle.cli(&["dead", "list"]).await;
    assert_ne!(said.code, 0, "a server without TLS is not spoken to: {said:?}");
}
