//! Where channels may send to: tried with the real worker, on names and addresses in every spelling, redirects and TLS.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, Stream};
use serde_json::{Value, json};

use crate::support::bugle::{Bugle, everything_to, webhook};
use crate::support::sink::{Answer, Sink};
use crate::support::{LATER, SOON, eventually};

/// One attempt of the one delivery there is.
async fn first_try(bugle: &Bugle) -> Value {
    let shown = bugle.api().shows(1, "").await;
    let id = shown[0]["id"].as_str().unwrap().to_owned();
    eventually("the try is recorded", SOON, async || {
        let whole = bugle.api().delivery(&id).await;
        let step = whole["timeline"][0].clone();
        if step.is_null() { Err(whole.to_string()) } else { Ok(step) }
    })
    .await
}

#[tokio::test]
async fn no_spelling_of_a_private_address_and_no_name_of_one_is_reached() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    bugle.set("WORKER__ALLOW_ADDRESSES", "");
    let port = sink.port;
    let hosts = [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "100.100.100.200",
    ];
    let channels: Vec<Value> = hosts
        .iter()
        .enumerate()
        .map(|(index, host)| webhook(&format!("c{index}"), &format!("http://{host}:{port}/x")))
        .collect();
    let ids: Vec<String> = (0..hosts.len()).map(|index| format!("c{index}")).collect();
    bugle
        .start_with(
            &json!({ "channels": channels, "rules": [{ "id": "all", "events": ["*"], "channels": ids }] }),
        )
        .await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let failed = bugle.api().shows_within(LATER, hosts.len(), "status=failed").await;
    for delivery in &failed {
        let index: usize = delivery["channel"].as_str().unwrap()[1..].parse().unwrap();
        assert_eq!(delivery["reason"], "blocked_address", "{}: {delivery:#}", hosts[index]);
    }
    assert!(sink.requests("/x").is_empty());
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let (bugle, sink) = (Bugle::new().await, Sink::start().await);
    for status in [301, 302, 303, 307, 308] {
        sink.script(&format!("/{status}"), [Answer::Header(status, "location", sink.url("/inside"))]);
    }
    let channels: Vec<Value> = [301, 302, 303, 307, 308]
        .iter()
        .map(|status| webhook(&format!("c{status}"), &sink.url(&format!("/{status}"))))
        .collect();
    let ids: Vec<&Value> = channels.iter().map(|channel| &channel["id"]).collect();
    bugle
        .start_with(
            &json!({ "channels": channels, "rules": [{ "id": "all", "events": ["*"], "channels": ids }] }),
        )
        .await;
    bugle.wire().await.event("a:b", "1", &json!({})).await;
    let failed = bugle.api().shows_within(LATER, 5, "status=failed").await;
    assert_eq!(failed.len(), 5);
    assert!(sink.requests("/inside").is_empty());
    assert!(!format!("{failed:?}").contains("/inside"));
}

/// An HTTPS server on its own certificate, which nobody knows; it counts the requests that came through.
fn https(folder: &crate::support::Folder) -> (u16, std::path::PathBuf, Arc<AtomicUsize>) {
    bugle::channel::http::install_tls_provider();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = folder.write("ca.pem", &made.cert.pem());
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (config, counted) = (Arc::clone(&config), Arc::clone(&counted));
            std::thread::spawn(move || serve(config, socket, &counted));
        }
    });
    (port, pem, requests)
}

fn serve(config: Arc<ServerConfig>, mut socket: TcpStream, requests: &AtomicUsize) {
    let mut tls = ServerConnection::new(config).unwrap();
    let mut stream = Stream::new(&mut tls, &mut socket);
    let mut buffer = [0; 4096];
    if matches!(stream.read(&mut buffer), Ok(read) if read > 0) {
        requests.fetch_add(1, Ordering::SeqCst);
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        drop(stream.flush());
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_and_one_of_a_known_authority_is_taken() {
    let strange = Bugle::new().await;
    let (port, pem, requests) = https(&strange.folder);
    let documents = everything_to(&format!("https://localhost:{port}/hook"));
    strange.start_with(&documents).await;
    strange.wire().await.event("a:b", "1", &json!({})).await;
    let tried = first_try(&strange).await;
    assert_eq!(
        (&tried["reason"], &tried["detail"]),
        (
            &json!("unreachable"),
            &json!("TLS handshake failed: the certificate is not trusted, or not the host's")
        ),
        "{tried}"
    );
    assert_eq!(requests.load(Ordering::SeqCst), 0, "something was sent");

    // The same server, on a machine that trusts it.
    let known = Bugle::new().await;
    known.set_variable("SSL_CERT_FILE", &pem.display().to_string());
    known.start_with(&documents).await;
    known.wire().await.event("a:b", "1", &json!({})).await;
    known.api().shows(1, "status=sent").await;
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}
