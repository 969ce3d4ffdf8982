//! A private Postgres for tests. (Placeholder until the store's own harness is here.)

pub struct Postgres(String);

impl Postgres {
    pub async fn empty_database() -> Option<Self> {
        None
    }

    pub fn url(&self) -> String {
        self.0.clone()
    }
}
