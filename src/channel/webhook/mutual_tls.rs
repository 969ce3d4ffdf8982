//! A receiver that asks for a certificate, on a real TLS server with an authority of its own.
#![expect(clippy::disallowed_methods, reason = "the server ends with its test")]

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::channel::conformance::{sample, workshop};
use crate::channel::http::install_tls_provider;
use crate::channel::{Kind, SendError, Try};
use crate::outcome::Reason;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    der: rustls::pki_types::CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// Answers 204 to whoever shows a certificate of the authority. Returns its base.
async fn server(authority: &Authority) -> (String, tokio::task::JoinHandle<()>) {
    install_tls_provider();
    let (certificate, key) = authority.issue("127.0.0.1");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut byte = [0];
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
                head.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.ok();
            stream.shutdown().await.ok();
        }
    });
    (base, task)
}

async fn sent(config: &Value) -> Result<Option<u16>, SendError> {
    let channel = Kind::Webhook.build(config, &workshop()).unwrap();
    channel.send(Try::of(&sample(), "2026-11-20T10:00:05Z".parse().unwrap())).await.map(|receipt| receipt.code)
}

#[tokio::test]
async fn a_certificate_is_shown_to_a_receiver_who_asks_for_one() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (url, task) = server(&authority).await;
    let (certificate, key) = authority.issue("client.example");
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let whole = json!({ "url": url, "clientCertificate": certificate, "clientKey": key, "caCertificate": authority.pem });
    assert_eq!(sent(&whole).await, Ok(Some(204)));

    let (foreign, foreign_key) = stranger.issue("client.example");
    for (field, what) in [
        // Its authority is not trusted: verification is never off.
        (json!({ "caCertificate": null }), "no authority"),
        (json!({ "caCertificate": stranger.pem }), "another authority"),
        (json!({ "clientCertificate": null, "clientKey": null }), "no certificate"),
        (json!({ "clientCertificate": foreign.pem(), "clientKey": foreign_key.serialize_pem() }), "a stranger's certificate"),
    ] {
        let mut config = whole.clone();
        for (name, value) in field.as_object().unwrap() {
            config[name] = value.clone();
        }
        let error = sent(&config).await.unwrap_err();
        assert!(matches!(error, SendError::Transient { .. }), "{what}: {error:?}");
        assert_eq!(error.failure().reason, Reason::Unreachable, "{what}");
        assert!(!format!("{error:?}").contains("127.0.0.1"), "{what}: {error:?}");
    }
    task.abort();
}

#[tokio::test]
async fn a_key_of_another_certificate_is_refused_when_the_channel_is_built() {
    let authority = Authority::new();
    let ((certificate, _), (_, key)) = (authority.issue("a.example"), authority.issue("b.example"));
    let config = json!({ "url": "https://a.example/", "clientCertificate": certificate.pem(), "clientKey": key.serialize_pem() });
    let Err(fault) = Kind::Webhook.build(&config, &workshop()) else { panic!("it was built") };
    assert_eq!(fault.pointer, "/clientKey");
}

#[tokio::test]
async fn a_forbidden_address_stays_forbidden_for_a_client_with_certificates() {
    let authority = Authority::new();
    let config = json!({ "url": "https://10.1.2.3/", "caCertificate": authority.pem });
    let error = sent(&config).await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::BlockedAddress);
}
