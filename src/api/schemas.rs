//! JSON Schemas of what people write, for editors: without a token, since they say nothing about this installation.

use axum::extract::Path;
use axum::http::header;
use axum::response::IntoResponse;

use super::problem::Problem;
use crate::rule::fault::unknown_word;
use crate::schema::Name;

/// `<name>.json`.
///
/// # Errors
/// 404 with the names there are.
pub async fn get(Path(file): Path<String>) -> Result<impl IntoResponse, Problem> {
    let name = file.strip_suffix(".json").unwrap_or_default();
    let Some(name) = Name::parse(name) else {
        let files: Vec<String> = Name::ALL.iter().map(|name| format!("{name}.json")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        return Err(Problem::not_found(unknown_word(&file, &files)));
    };
    Ok(([(header::CONTENT_TYPE, "application/schema+json")], name.schema().to_string()))
}
