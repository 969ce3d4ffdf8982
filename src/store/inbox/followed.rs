//! What those who follow inboxes ask, for many of them at once: where each stands, and what each did with a broadcast.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::super::{Dialect, Store, StoreError, time};
use super::changes::Standing;
use super::row::id;
use crate::ids::{NotificationId, Recipient, WorkspaceId};
use crate::notification::Notification;

/// What somebody did with a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    pub delivered_at: Option<Timestamp>,
    pub read_at: Option<Timestamp>,
    pub dismissed_at: Option<Timestamp>,
}

impl Marks {
    /// The broadcast as they see it.
    #[must_use]
    pub fn over(&self, broadcast: &Notification) -> Notification {
        Notification {
            delivered_at: self.delivered_at,
            read_at: self.read_at,
            dismissed_at: self.dismissed_at,
            read: self.read_at.is_some(),
            ..broadcast.clone()
        }
    }
}

impl Store {
    /// Where these recipients' inboxes stand, each as [`Store::standing`] says it.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn standings(
        &self,
        workspace: &WorkspaceId,
        recipients: &[&Recipient],
    ) -> Result<HashMap<Recipient, Standing>, StoreError> {
        let mut found = HashMap::with_capacity(recipients.len());
        for some in recipients.chunks(self.dialect.rows_per_statement()) {
            let mut transaction = self.pool.begin_with(self.dialect.begin_to_read()).await?;
            let places: Vec<String> = (0..some.len()).map(|at| format!("${}", at + 2)).collect();
            let places = places.join(", ");
            let seqs = format!(
                "select recipient, seq as n from inboxes where workspace = $1 and (recipient in ({places}) or recipient = '*')"
            );
            let seqs = numbers(&mut transaction, seqs, workspace, some).await?;
            let broadcasts = "select recipient, cast(count(*) as bigint) as n from notifications \
                              where workspace = $1 and recipient = '*' group by recipient";
            let broadcasts = numbers(&mut transaction, broadcasts.to_owned(), workspace, &[]).await?;
            let own = format!(
                "select recipient, cast(count(*) as bigint) as n from notifications where workspace = $1 \
                 and recipient in ({places}) and read_at is null and dismissed_at is null group by recipient"
            );
            let own = numbers(&mut transaction, own, workspace, some).await?;
            let marked = format!(
                "select m.recipient, cast(count(*) as bigint) as n from marks m \
                 join notifications n on n.id = m.notification_id and n.workspace = m.workspace and n.recipient = '*' \
                 where m.workspace = $1 and m.recipient in ({places}) \
                 and (m.read_at is not null or m.dismissed_at is not null) group by m.recipient"
            );
            let marked = numbers(&mut transaction, marked, workspace, some).await?;
            transaction.rollback().await?;
            let of = |numbers: &HashMap<String, u64>, name: &str| numbers.get(name).copied().unwrap_or(0);
            for recipient in some {
                let name = recipient.as_str();
                let seen = of(&broadcasts, Recipient::EVERYBODY).saturating_sub(of(&marked, name));
                let standing = Standing {
                    own: of(&seqs, name),
                    everybody: of(&seqs, Recipient::EVERYBODY),
                    unread: of(&own, name) + seen,
                };
                found.insert((*recipient).clone(), standing);
            }
        }
        Ok(found)
    }

    /// What these recipients did with broadcasts, a few of them.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn broadcast_marks(
        &self,
        workspace: &WorkspaceId,
        ids: &[&NotificationId],
        recipients: &[Recipient],
    ) -> Result<Vec<(NotificationId, Recipient, Marks)>, StoreError> {
        let mut found = Vec::new();
        if ids.is_empty() {
            return Ok(found);
        }
        let places = |from: usize, count: usize| {
            (from..from + count).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ")
        };
        for some in recipients.chunks(self.dialect.rows_per_statement()) {
            let sql = format!(
                "select notification_id, recipient, delivered_at, read_at, dismissed_at from marks \
                 where workspace = $1 and notification_id in ({}) and recipient in ({})",
                places(2, ids.len()),
                places(2 + ids.len(), some.len())
            );
            let mut query = sqlx::query(AssertSqlSafe(sql)).bind(workspace.to_string());
            for id in ids {
                query = query.bind(id.to_string());
            }
            for recipient in some {
                query = query.bind(recipient.to_string());
            }
            for row in query.fetch_all(&self.pool).await? {
                let moment = |name: &str| row.try_get::<Option<i64>, _>(name).map(|found| found.map(time));
                let marks = Marks {
                    delivered_at: moment("delivered_at")?,
                    read_at: moment("read_at")?,
                    dismissed_at: moment("dismissed_at")?,
                };
                let notification = id(&row, "notification_id", NotificationId::parse)?;
                found.push((notification, id(&row, "recipient", Recipient::parse)?, marks));
            }
        }
        Ok(found)
    }
}

/// A number for each recipient that has one.
async fn numbers(
    transaction: &mut Transaction<'_, Any>,
    sql: String,
    workspace: &WorkspaceId,
    recipients: &[&Recipient],
) -> Result<HashMap<String, u64>, StoreError> {
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(workspace.to_string());
    for recipient in recipients {
        query = query.bind(recipient.to_string());
    }
    let rows = query.fetch_all(&mut **transaction).await?;
    rows.iter()
        .map(|row| {
            let number = u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or_default();
            Ok((row.try_get("recipient")?, number))
        })
        .collect()
}

impl Dialect {
    /// What is read within is of one moment.
    pub(super) fn begin_to_read(self) -> &'static str {
        match self {
            Self::Sqlite => "begin",
            Self::Postgres => "begin isolation level repeatable read read only",
        }
    }
}
