//! stub
pub struct R { pub id: String, pub duplicate: bool, pub error: Option<String> }
pub async fn publish(_: &crate::bus::Bus, _: &crate::ids::WorkspaceId, _: serde_json::Value) -> R { R { id: String::new(), duplicate: false, error: None } }
