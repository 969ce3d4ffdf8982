//! The link at the end of a message: a page that asks, and a POST that ends it. No token but the one in the link.
//!
//! A GET never acts: mail scanners follow links. Mail clients post by themselves, RFC 8058. What is written is written into
//! the recipient's document, where workers look before each send.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Api, Shared};
use crate::channel::markdown::escape_html;
use crate::documents::Key;
use crate::shelf::{self, Condition, ShelfError};
use crate::unsubscribe::token::Leave;

/// Whoever wrote it, in the document's history.
const AUTHOR: &str = "unsubscribe";
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";

/// Ask whether a channel is to send nothing more to a recipient.
///
/// The link at the end of a message leads here. Nothing changes yet.
#[utoipa::path(
    get,
    path = "/v1/unsubscribe/{token}",
    operation_id = "askToUnsubscribe",
    tag = "recipients",
    security(()),
    params(("token" = String, Path, description = "of a message")),
    responses(
        (status = 200, description = "a page with a button", body = String, content_type = "text/html"),
        (status = 404, description = "no link of ours: a page that says so", body = String, content_type = "text/html"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn ask(State(api): State<Shared>, Path(token): Path<String>) -> Result<Response, Problem> {
    let Some(leave) = opened(&api, &token).await? else { return Ok(unknown()) };
    let channel = escape_html(leave.channel.as_str());
    let form = format!(
        "<p>Send no more messages of <b>{channel}</b> to you?</p>\n<form method=\"post\">\
         <input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">\
         <button>Unsubscribe</button></form>"
    );
    Ok(page(StatusCode::OK, &form))
}

/// End what a channel sends to a recipient.
///
/// As RFC 8058 has it, from a mail client or from the page. Again it changes nothing.
#[utoipa::path(
    post,
    path = "/v1/unsubscribe/{token}",
    operation_id = "unsubscribe",
    tag = "recipients",
    security(()),
    params(("token" = String, Path, description = "of a message")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`List-Unsubscribe=One-Click`"),
    responses(
        (status = 200, description = "a page that says so", body = String, content_type = "text/html"),
        (status = 400, description = "the body says something else", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no link of ours: a page that says so", body = String, content_type = "text/html"),
        (status = 503, description = "the broker does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn act(
    State(api): State<Shared>,
    Path(token): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let Some(leave) = opened(&api, &token).await? else { return Ok(unknown()) };
    // As a form or in parts: RFC 8058 allows both.
    let body = String::from_utf8_lossy(&body);
    if !(body.contains("List-Unsubscribe") && body.contains("One-Click")) {
        return Err(Problem::invalid("the body must be List-Unsubscribe=One-Click"));
    }
    let key = Key::Recipient(leave.workspace.clone(), leave.recipient.clone());
    let change = |held: Option<&shelf::Held>| Ok(without(held, &leave));
    match shelf::write::<ShelfError>(&api.bus, &key, AUTHOR, Condition::Present, change).await {
        Ok(written) if written.changed => {
            tracing::info!(workspace = %leave.workspace, channel = %leave.channel, "a recipient unsubscribed");
        }
        // Whoever is forgotten is sent nothing either.
        Ok(_) | Err(ShelfError::Changed(_) | ShelfError::Missing) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(page(StatusCode::OK, "<p>You will get no more of these messages.</p>"))
}

fn without(held: Option<&shelf::Held>, leave: &Leave) -> Value {
    let mut spec = held.map_or_else(|| json!({}), |held| held.document.spec.clone());
    let known = spec.get("unsubscribed").and_then(|left| serde_json::from_value(left.clone()).ok());
    let mut left: BTreeSet<String> = known.unwrap_or_default();
    left.insert(leave.channel.to_string());
    spec["unsubscribed"] = json!(left);
    spec
}

async fn opened(api: &Api, token: &str) -> Result<Option<Leave>, Problem> {
    Ok(Leave::open(&*api.access.installation.key(&api.bus).await?, token))
}

fn unknown() -> Response {
    page(StatusCode::NOT_FOUND, "<p>This link is not one of ours, or is cut off at its end.</p>")
}

fn page(status: StatusCode, content: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Unsubscribe</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\"></head>\
         <body style=\"font-family:sans-serif;max-width:32em;margin:4em auto;padding:0 1em\">\n{content}\n</body></html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, html).into_response()
}
