//! The history in SQL, the same statements on SQLite and Postgres. Nothing outside this module speaks SQL.
//!
//! Times are Unix milliseconds and flags are numbers, since the common driver reads neither SQLite's booleans nor
//! timestamps; this is the edge where they become types again.

pub mod deliveries;
pub mod inbox;
pub mod merge;
pub mod record;
pub mod retention;
pub mod standing;
pub mod stats;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, Executor};
use tokio::sync::{Mutex, MutexGuard};

use crate::clock;

/// How long a statement waits for a connection or for SQLite's one writer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A migration takes milliseconds; several processes may start at once.
const MIGRATE_TRIES_MAX: u32 = 8;
const MIGRATE_AGAIN: Duration = Duration::from_millis(150);

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away, busy or shutting down: trying again later may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A statement or a row is wrong: our bug.
    #[error("the database and this program do not agree: {0}")]
    Broken(String),
    /// The settings name no database that can be used.
    #[error("database.url {0}")]
    Url(String),
}

/// What cannot be said in one SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    fn of(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("sqlite:") {
            Ok(Self::Sqlite)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Ok(Self::Postgres)
        } else {
            Err(StoreError::Url("must start with sqlite:// or postgres://".to_owned()))
        }
    }

    /// SQLite takes the write lock at once, or a second writer fails in the middle.
    fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "begin immediate",
            Self::Postgres => "begin",
        }
    }

    /// Rows in one insert: where each of them stops gaining (measured).
    fn rows_per_statement(self) -> usize {
        match self {
            Self::Sqlite => 50,
            Self::Postgres => 100,
        }
    }

    /// `($1, $2), ($3, $4)`: for so many rows of so many columns. SQLite takes a `$1` for a name and looks each of them up
    /// among all others: its own form is `?`.
    fn placeholders(self, rows: usize, columns: usize) -> String {
        let mut text = String::with_capacity(rows * columns * 6);
        for row in 0..rows {
            text.push_str(if row == 0 { "(" } else { ", (" });
            for column in 0..columns {
                text.push_str(if column == 0 { "" } else { ", " });
                match self {
                    Self::Sqlite => text.push('?'),
                    Self::Postgres => {
                        text.push('$');
                        text.push_str(&(row * columns + column + 1).to_string());
                    }
                }
            }
            text.push(')');
        }
        text
    }

    fn on_connect(self) -> &'static str {
        match self {
            // A batch of the recorder touches more pages than fit into SQLite's usual 2 MB: it would write them in the middle and read
            // them again. 16 MB, and 16 MB of log between two copies into the file.
            Self::Sqlite => {
                "pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 5000; pragma foreign_keys = on; \
                 pragma cache_size = -16384; pragma wal_autocheckpoint = 4096"
            }
            Self::Postgres => "set statement_timeout = '30s'",
        }
    }
}

/// True when there is an SQL for what a URL names.
#[must_use]
pub fn speaks(url: &str) -> bool {
    Dialect::of(url).is_ok()
}

/// A pool of connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    dialect: Dialect,
    /// Whoever waits for SQLite's one writer asks again and again, and loses against somebody who writes all the time: those of
    /// one process stand in line instead.
    line: Arc<Mutex<()>>,
}

impl Store {
    /// Prepares a pool. It connects when it is used first, so that a database that is away is no reason not to start.
    ///
    /// # Errors
    /// When the URL names no database that can be used.
    pub fn open(url: &str, connections_max: u32) -> Result<Self, StoreError> {
        install_default_drivers();
        let dialect = Dialect::of(url)?;
        let pool = AnyPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(dialect.on_connect()).await.map(|_| ()) })
            })
            .connect_lazy(url)
            // The driver's own words may hold the password.
            .map_err(|_| StoreError::Url("is not a valid address of a database".to_owned()))?;
        Ok(Self { pool, dialect, line: Arc::default() })
    }

    /// To be held while writing.
    async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.dialect {
            Dialect::Sqlite => Some(self.line.lock().await),
            Dialect::Postgres => None,
        }
    }

    /// Brings the tables up to date. Safe to run from several processes, and to be killed in.
    ///
    /// # Errors
    /// When the database is not available, or was written by a newer program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut tries = 1;
        loop {
            match self.migrate_once().await {
                // SQLite has no lock around it all: who comes second fails, and finds it done at the next look.
                Err(error) if self.dialect == Dialect::Sqlite && tries < MIGRATE_TRIES_MAX => {
                    tracing::debug!(%error, "somebody else migrates the database: looking again");
                    tries += 1;
                    clock::sleep(clock::jittered(MIGRATE_AGAIN)).await;
                }
                result => return result,
            }
        }
    }

    /// How many steps of the tables were made, and how many this program knows.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn steps(&self) -> Result<(u64, u64), StoreError> {
        let made: i64 =
            sqlx::query_scalar("select count(*) from _sqlx_migrations").fetch_one(&self.pool).await?;
        let known = sqlx::migrate!().iter().count();
        Ok((u64::try_from(made).unwrap_or_default(), known as u64))
    }

    async fn migrate_once(&self) -> Result<(), StoreError> {
        use sqlx::migrate::MigrateError;
        match sqlx::migrate!().run(&self.pool).await {
            Ok(()) => Ok(()),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(error.into()),
            Err(other) => Err(StoreError::Broken(other.to_string())),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(cause) = &error {
            let code = cause.code().unwrap_or_default().into_owned();
            let text = cause.to_string();
            if code == "42P01" || text.contains("no such table") {
                return Self::Unavailable("its tables are not there yet: run `bugle setup`".to_owned());
            }
            return if passes(&code) { Self::Unavailable(text) } else { Self::Broken(text) };
        }
        let away = matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Protocol(_)
                | sqlx::Error::BeginFailed
        );
        if away { Self::Unavailable(error.to_string()) } else { Self::Broken(error.to_string()) }
    }
}

/// Codes of troubles that pass: SQLite busy or locked (5, 6 and their kin) and full or unwritable (10, 13, 14);
/// Postgres connection trouble (08), resources (53), serialization (40), shutdown and cancellation (57), login (28).
fn passes(code: &str) -> bool {
    if let Ok(number) = code.parse::<u32>()
        && code.len() < 5
    {
        return matches!(number & 0xff, 5 | 6 | 10 | 13 | 14);
    }
    ["08", "53", "40", "57", "28"].contains(&code.get(..2).unwrap_or_default())
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Postgres takes no NUL in a text.
fn clean(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

fn number(found: u64) -> i64 {
    i64::try_from(found).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
