//! What is no fault of a file, and keeps one of its sources from taking anything: said once, when it is applied.
//!
//! Nothing here stops an apply: variables may be set where the API runs, and a stream may come later.

use std::time::Duration;

use crate::bus::attach::look::look;
use crate::bus::{Bus, BusError};
use crate::config;
use crate::documents::DocumentFile;
use crate::ids::WorkspaceId;
use crate::source::SourceSpec;
use crate::source::secrets::Keys;

/// So long the broker is asked how sources stand.
const PATIENCE: Duration = Duration::from_secs(3);

/// One sentence for each source that would take nothing as things are here and now.
pub async fn notes(bus: &Bus, files: &[DocumentFile]) -> Vec<String> {
    let all = || files.iter().flat_map(|file| file.sources.iter().map(move |spec| (&file.workspace, spec)));
    let sources = || all().filter(|(_, spec)| spec.enabled);
    let mut notes: Vec<String> = sources().filter_map(|(of, spec)| closed(of, spec)).collect();
    let streams = async {
        let mut found = Vec::new();
        for (workspace, spec) in sources() {
            found.extend(barred(bus, workspace, spec).await?);
        }
        Ok::<_, BusError>(found)
    };
    match tokio::time::timeout(PATIENCE, streams).await {
        Ok(Ok(found)) => notes.extend(found),
        Ok(Err(_)) | Err(_) => {
            notes.push("the broker did not say whether sources can be attached".to_owned());
        }
    }
    notes
}

/// A webhook whose secret this process could not read.
fn closed(workspace: &WorkspaceId, spec: &SourceSpec) -> Option<String> {
    let fault =
        Keys::open(spec.http.as_ref()?, &config::environment, &|text: &str| Ok(text.to_owned())).err()?;
    Some(format!("source {workspace}/{} takes nothing where the API finds, as here: {fault}", spec.id))
}

async fn barred(bus: &Bus, workspace: &WorkspaceId, spec: &SourceSpec) -> Result<Option<String>, BusError> {
    let Some(nats) = &spec.nats else { return Ok(None) };
    let obstacle = look(bus, workspace, &spec.id, nats).await?.obstacle;
    Ok(obstacle.map(|why| format!("source {workspace}/{} cannot be attached now: {why}", spec.id)))
}
