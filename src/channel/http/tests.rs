//! Which addresses may be called and how long a receiver asks to wait, however it is written.

use super::*;

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date() {
    let at: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
    for (text, seconds) in [
        ("30", Some(30)),
        (" 30 ", Some(30)),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("999999999", Some(86_400)),
        ("Fri, 20 Nov 2026 10:02:00 GMT", Some(120)),
        ("Fri, 20 Nov 2026 09:00:00 GMT", None),
        ("Sat, 20 Nov 2027 09:00:00 GMT", Some(86_400)),
    ] {
        assert_eq!(parse_retry_after(text, at), seconds.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn endpoints_are_https_unless_plain_http_is_allowed() {
    let strict = HttpPolicy::default();
    let lax = HttpPolicy { allow_plain_http: true, ..HttpPolicy::default() };
    assert!(parse_endpoint("https://a.example/x?y=1", &strict, "/url").is_ok());
    assert!(parse_endpoint("http://a.example/", &lax, "/url").is_ok());
    for bad in
        ["", " ", "hunter2", "/x", "http://a.example/", "ftp://a.example", "file:///etc/passwd", "https://"]
    {
        let fault = parse_endpoint(bad, &strict, "/url").unwrap_err();
        assert_eq!(fault.pointer, "/url");
        assert!(!fault.message.contains("hunter2"), "{fault}");
    }
    for bad in ["https://u:hunter2@a.example/", "https://hunter2@a.example/"] {
        assert!(!parse_endpoint(bad, &lax, "/url").unwrap_err().message.contains("hunter2"));
    }
}

#[test]
fn a_base_replaces_the_server_and_keeps_the_path() {
    let url = Url::parse("https://hooks.example/services/T/B?x=1").unwrap();
    for (base, expected) in [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/services/T/B?x=1"),
        ("https://proxy.example/slack/", "https://proxy.example/slack/services/T/B?x=1"),
    ] {
        assert_eq!(rebase(&url, &Url::parse(base).unwrap()).as_str(), expected);
    }
}

#[tokio::test]
async fn addresses_written_as_hosts_are_checked_in_every_spelling() {
    let client = HttpClient::new(HttpPolicy { allow_plain_http: true, ..HttpPolicy::default() }).unwrap();
    for url in [
        "http://127.0.0.1:9/",
        "http://2130706433:9/",
        "http://0x7f.1:9/",
        "http://0177.0.0.1:9/",
        "http://127.0.0.1.:9/",
        "http://0:9/",
        "http://[::1]:9/",
        "http://[::ffff:7f00:1]:9/",
        "http://[64:ff9b::a00:1]:9/",
        "http://169.254.169.254/latest/meta-data",
        "http://①②⑦.0.0.1:9/",
        "http://localhost:9/",
    ] {
        let url = Url::parse(url).unwrap();
        let sent = client.post(&url, HeaderMap::new(), Bytes::new(), Timestamp::UNIX_EPOCH).await;
        assert_eq!(sent, Err(transport::blocked()), "{url}");
    }
}

#[test]
fn a_proxy_does_not_print() {
    let proxy = |url: &str| HttpPolicy { proxy: Some(url.to_owned()), ..HttpPolicy::default() };
    assert!(!format!("{:?}", proxy("http://user:hunter2@proxy.example")).contains("hunter2"));
    for bad in ["hunter2", "", "socks5://hunter2", "hunter2:8080"] {
        let error = HttpClient::new(proxy(bad)).unwrap_err();
        assert!(error == HttpError::Proxy && !error.to_string().contains("hunter2"), "{bad}");
    }
}
