//! What a request brings to say who asks. It is a secret, and never part of a log line or an answer.

use axum::http::request::Parts;

use crate::api::problem::Problem;

/// Names of the query parameters that stand for a header on streams.
pub const TOKEN: &str = "token";
pub const TICKET: &str = "ticket";

#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    Token(String),
    /// Valid once, in place of a token.
    Ticket(String),
}

impl Credential {
    /// The token of the header or, where a browser cannot set one (streams), the token or the ticket of the query.
    ///
    /// # Errors
    /// 401 when there is none; 400 when it is not clear which one counts.
    pub fn of(parts: &Parts) -> Result<Self, Problem> {
        let none = || Problem::unauthorized("send a token: Authorization: Bearer …");
        if let Some(header) = parts.headers.get("authorization").and_then(|value| value.to_str().ok()) {
            let (scheme, secret) = header.split_once(' ').ok_or_else(none)?;
            let is_bearer = scheme.eq_ignore_ascii_case("bearer");
            return is_bearer.then(|| Self::Token(secret.trim().to_owned())).ok_or_else(none);
        }
        let path = parts.uri.path();
        if !(path.ends_with("/stream") || path.ends_with("/ws")) {
            return Err(none());
        }
        let query = parts.uri.query().unwrap_or_default();
        let given = |name: &str| {
            let mut all = url::form_urlencoded::parse(query.as_bytes());
            all.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
        };
        match (given(TOKEN), given(TICKET)) {
            (Some(_), Some(_)) => Err(Problem::invalid("parameters token and ticket: send one of them")),
            (Some(token), None) => Ok(Self::Token(token)),
            (None, Some(ticket)) => Ok(Self::Ticket(ticket)),
            (None, None) => Err(none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn of(uri: &str, header: Option<&str>) -> Result<Credential, u16> {
        let mut request = Request::builder().uri(uri);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        Credential::of(&request.body(()).unwrap().into_parts().0).map_err(|problem| problem.status)
    }

    #[test]
    fn a_secret_in_the_query_counts_on_streams_only() {
        let token = || Ok(Credential::Token("x y".to_owned()));
        assert!(of("/v1/a/stream?token=x%20y", None) == token() && of("/v1/a/ws?token=x+y", None) == token());
        assert!(of("/v1/a/ws?ticket=t", None) == Ok(Credential::Ticket("t".to_owned())));
        for uri in ["/v1/a?token=x", "/v1/a?ticket=x", "/v1/streams?token=x", "/v1/a/stream"] {
            assert!(of(uri, None) == Err(401), "{uri}");
        }
        assert!(of("/v1/a/stream?token=x&ticket=y", None) == Err(400));
    }

    #[test]
    fn the_header_counts_before_the_query() {
        let token = |text: &str| Ok(Credential::Token(text.to_owned()));
        assert!(of("/v1/a/stream?token=x", Some("Bearer  y ")) == token("y"));
        assert!(of("/v1/a", Some("bearer y")) == token("y"));
        assert!(of("/v1/a/stream?token=x", Some("Basic y")) == Err(401));
        assert!(of("/v1/a", Some("y")) == Err(401));
    }
}
