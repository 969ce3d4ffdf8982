//! Reading the changes of inboxes in their order, for streams that are resumed, or that have missed something.

use sqlx::{AssertSqlSafe, Row};

use super::super::{Store, StoreError, number, time};
use super::Owner;
use super::list::{InboxFilter, conditions};
use super::row::{FROM, SEEN, broken, id, notification};
use crate::ids::{NotificationId, Recipient, WorkspaceId};
use crate::notification::change::{Change, ChangeKind};

/// Where an inbox stands: the numbers of the last changes of somebody's own and of what everybody sees, and how many are
/// unread there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub own: u64,
    pub everybody: u64,
    pub unread: u64,
}

/// Changes behind a number, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Behind {
    pub changes: Vec<Change>,
    /// Changes behind that number that are no longer kept: what is read here begins later.
    pub gap: bool,
}

impl Store {
    /// Where an inbox stands, all of it at one moment.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn standing(&self, owner: &Owner) -> Result<Standing, StoreError> {
        // The numbers and the count must be of one moment.
        let mut transaction = self.pool.begin_with(self.dialect.begin_to_read()).await?;
        let sql = "select recipient, seq from inboxes where workspace = $1 and recipient in ($2, '*')";
        let rows = sqlx::query(sql)
            .bind(owner.workspace.to_string())
            .bind(owner.recipient.to_string())
            .fetch_all(&mut *transaction)
            .await?;
        let (mut own, mut everybody) = (0, 0);
        for row in rows {
            let seq = u64::try_from(row.try_get::<i64, _>("seq")?).unwrap_or_default();
            let recipient: String = row.try_get("recipient")?;
            if recipient == owner.recipient.as_str() {
                own = seq;
            }
            if recipient == Recipient::EVERYBODY {
                everybody = seq;
            }
        }
        let (conditions, binds) = conditions(owner, &InboxFilter { unread: true, ..InboxFilter::default() });
        let sql = format!("select cast(count(*) as bigint) as n {FROM}{conditions}");
        let row = super::super::stats::bound(&sql, &binds).fetch_one(&mut *transaction).await?;
        let unread = u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or_default();
        transaction.rollback().await?;
        Ok(Standing { own, everybody, unread })
    }

    /// The changes of an inbox behind `after`, up to `limit`; those of a broadcast are as `viewer` sees it.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn changes(
        &self,
        inbox: &Owner,
        viewer: &Owner,
        after: u64,
        limit: u32,
    ) -> Result<Behind, StoreError> {
        let sql = "select seq, kind, notification_id, unread, detail, at from changes \
                   where workspace = $1 and recipient = $2 and seq > $3 order by seq limit $4";
        let rows = sqlx::query(sql)
            .bind(inbox.workspace.to_string())
            .bind(inbox.recipient.to_string())
            .bind(number(after))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            let word: String = row.try_get("kind")?;
            let named: Option<String> = row.try_get("notification_id")?;
            let several: Option<String> = row.try_get("detail")?;
            let parse = |text: &str| NotificationId::parse(text).map_err(|error| broken("id", error));
            let several = several.iter().flat_map(|list| list.split(',')).map(parse);
            changes.push(Change {
                seq: u64::try_from(row.try_get::<i64, _>("seq")?).unwrap_or_default(),
                kind: ChangeKind::parse(&word).ok_or_else(|| broken("kind of change", &word))?,
                at: time(row.try_get("at")?),
                unread: row.try_get("unread")?,
                id: named.as_deref().map(parse).transpose()?,
                notification: None,
                ids: several.collect::<Result<_, _>>()?,
            });
        }
        self.show(viewer, &mut changes).await?;
        let oldest = match changes.first() {
            Some(first) if first.seq == after + 1 => None,
            // Numbers may be left out, but never a whole end: the oldest that is kept tells.
            Some(_) | None => Some(self.oldest_change(inbox).await?),
        };
        let gap = oldest.is_some_and(|(oldest, last)| match oldest {
            Some(oldest) => oldest > after + 1,
            None => last > after,
        });
        Ok(Behind { changes, gap })
    }

    /// The oldest change that is kept, and the last number.
    async fn oldest_change(&self, inbox: &Owner) -> Result<(Option<u64>, u64), StoreError> {
        let sql = "select (select min(seq) from changes where workspace = $1 and recipient = $2) as oldest, \
                   (select seq from inboxes where workspace = $1 and recipient = $2) as last";
        let row = sqlx::query(sql)
            .bind(inbox.workspace.to_string())
            .bind(inbox.recipient.to_string())
            .fetch_one(&self.pool)
            .await?;
        let number = |found: Option<i64>| found.and_then(|found| u64::try_from(found).ok());
        Ok((number(row.try_get("oldest")?), number(row.try_get("last")?).unwrap_or_default()))
    }

    /// The notifications that the changes are about, as they are now.
    async fn show(&self, viewer: &Owner, changes: &mut [Change]) -> Result<(), StoreError> {
        let mut ids: Vec<&NotificationId> = changes.iter().filter_map(|change| change.id.as_ref()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut shown = std::collections::HashMap::new();
        for some in ids.chunks(self.dialect.rows_per_statement()) {
            let places: Vec<String> = (0..some.len()).map(|at| format!("${}", at + 3)).collect();
            let sql = format!("select {SEEN} {FROM} and n.id in ({})", places.join(", "));
            let mut query = sqlx::query(AssertSqlSafe(sql))
                .bind(viewer.workspace.to_string())
                .bind(viewer.recipient.to_string());
            for id in some {
                query = query.bind(id.to_string());
            }
            for row in query.fetch_all(&self.pool).await? {
                let found = notification(&row)?;
                shown.insert(found.id.clone(), found);
            }
        }
        for change in changes {
            let found = change.id.as_ref().and_then(|id| shown.get(id));
            change.notification = found.cloned().map(Box::new);
        }
        Ok(())
    }

    /// The last numbers of these inboxes; of those that nobody has written to: none.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn last_changes(&self, owners: &[Owner]) -> Result<Vec<(Owner, u64)>, StoreError> {
        let mut found = Vec::new();
        for some in owners.chunks(self.dialect.rows_per_statement()) {
            let pairs = self.dialect.placeholders(some.len(), 2);
            let sql = format!(
                "select workspace, recipient, seq from inboxes where (workspace, recipient) in (values {pairs})"
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for owner in some {
                query = query.bind(owner.workspace.to_string()).bind(owner.recipient.to_string());
            }
            for row in query.fetch_all(&self.pool).await? {
                let owner = Owner {
                    workspace: id(&row, "workspace", WorkspaceId::parse)?,
                    recipient: id(&row, "recipient", Recipient::parse)?,
                };
                found.push((owner, u64::try_from(row.try_get::<i64, _>("seq")?).unwrap_or_default()));
            }
        }
        Ok(found)
    }
}
