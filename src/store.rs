//! stub
#[derive(Clone)] pub struct Store; #[derive(Debug, thiserror::Error)] #[error("x")] pub struct StoreError;
impl Store { pub async fn open(_: &str, _: u32) -> Result<Self, StoreError> { Ok(Self) } pub async fn migrate(&self) -> Result<(), StoreError> { Ok(()) }
 pub async fn position(&self, _: &str) -> Result<Option<record::Position>, StoreError> { Ok(None) }
 pub async fn record(&self, _: &record::Position, _: u64, _: &[crate::outcome::Outcome]) -> Result<record::Recorded, StoreError> { Ok(record::Recorded::Done) }
 pub async fn reset(&self, _: &record::Position, _: &record::Position) -> Result<record::Recorded, StoreError> { Ok(record::Recorded::Done) } }
pub mod record { #[derive(Clone)] pub struct Position { pub stream: String, pub epoch: String, pub seq: u64 } pub enum Recorded { Done, LostRace } }
