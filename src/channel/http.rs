//! stub
#[derive(Clone)] pub struct HttpClient; pub struct HttpPolicy { pub allow_plain_http: bool, pub allow_addresses: Vec<ipnet::IpNet>, pub proxy: Option<String> }
impl HttpClient { pub fn new(_: HttpPolicy) -> Result<Self, String> { Ok(Self) } }
pub fn install_tls_provider() {}
