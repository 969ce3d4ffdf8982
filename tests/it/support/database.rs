//! The two databases. Where Postgres cannot be had its tests say so in one line, unless it is required.

use std::path::Path;

use super::Folder;
use super::postgres::fresh_database;

/// One database of the test's own, empty at first.
pub enum Database {
    Sqlite(Folder),
    Postgres(String),
}

impl Database {
    pub fn sqlite() -> Self {
        Self::Sqlite(Folder::new())
    }

    /// None where there is no Postgres and nobody insists.
    pub async fn postgres() -> Option<Self> {
        tokio::task::spawn_blocking(fresh_database).await.unwrap().map(Self::Postgres)
    }

    /// Where the server listens.
    pub fn address(&self) -> String {
        let url = url::Url::parse(&self.url()).unwrap();
        format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))
    }

    /// The same database, reached through a relay on loopback.
    pub fn url_through(&self, port: u16) -> String {
        let mut url = url::Url::parse(&self.url()).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(port)).unwrap();
        url.to_string()
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => sqlite_url(&folder.join("bugle.db")),
            Self::Postgres(url) => url.clone(),
        }
    }
}

fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}?mode=rwc", path.display())
}

/// Makes one test a database of a journey that must hold on both.
macro_rules! on_both_databases {
    ($(async fn $name:ident($database:ident: Database) $body:block)+) => {$(
        mod $name {
            use super::*;

            async fn journey($database: $crate::support::database::Database) $body

            #[tokio::test]
            async fn on_sqlite() {
                journey($crate::support::database::Database::sqlite()).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                if let Some(database) = $crate::support::database::Database::postgres().await {
                    journey(database).await;
                }
            }
        }
    )+};
}
pub(crate) use on_both_databases;
