//! Reading an inbox: lists by any combination of filters, newest first, one notification, counts.

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row};

use super::super::deliveries::Bind;
use super::super::stats::bound;
use super::super::{Store, StoreError};
use super::Owner;
use super::row::{FROM, IS_PENDING, IS_UNREAD, SEEN, id, notification};
use crate::event::Severity;
use crate::ids::{NotificationId, Recipient, WorkspaceId};
use crate::notification::Notification;

/// What to list of an inbox. Everything that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboxFilter {
    pub unread: bool,
    /// Those alone that were dismissed; otherwise none of them.
    pub dismissed: bool,
    /// Any of them; empty: all.
    pub types: Vec<String>,
    pub severities: Vec<Severity>,
    pub source_type: Option<String>,
    pub source_id: Option<String>,
    pub project: Option<String>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Created before.
    pub until: Option<Timestamp>,
    /// A part of the title or of the body, in upper or lower case.
    pub text: Option<String>,
}

/// A place in the list of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxCursor {
    created_at: i64,
    id: NotificationId,
}

impl InboxCursor {
    #[must_use]
    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(format!("{}.{}", self.created_at, self.id).as_bytes())
    }

    /// None for a text that is no cursor of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()?;
        let (created_at, id) = text.split_once('.')?;
        Some(Self { created_at: created_at.parse().ok()?, id: NotificationId::parse(id).ok()? })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct InboxPage {
    pub notifications: Vec<Notification>,
    /// Of all pages.
    pub total: u64,
    /// Whatever the filter is.
    pub unread_count: u64,
    /// None at the end.
    pub next: Option<InboxCursor>,
}

/// As a part of a pattern of `like`.
fn escaped(part: &str) -> String {
    part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// The conditions of a filter behind [`FROM`], and all values in the order of their placeholders.
pub(super) fn conditions(owner: &Owner, filter: &InboxFilter) -> (String, Vec<Bind>) {
    let text = |text: &dyn ToString| Bind::Text(text.to_string());
    let mut binds = vec![text(&owner.workspace), text(&owner.recipient)];
    let mut sql = String::new();
    let mut and = |sql: &mut String, condition: &str, bind: Bind| {
        binds.push(bind);
        sql.push_str(" and ");
        sql.push_str(&condition.replace("{}", &format!("${}", binds.len())));
    };
    for (condition, value) in [
        ("n.source_type = {}", &filter.source_type),
        ("n.source_id = {}", &filter.source_id),
        ("n.project = {}", &filter.project),
    ] {
        if let Some(value) = value {
            and(&mut sql, condition, text(value));
        }
    }
    for (condition, moment) in [("n.created_at >= {}", filter.since), ("n.created_at < {}", filter.until)] {
        if let Some(moment) = moment {
            and(&mut sql, condition, Bind::Number(moment.as_millisecond()));
        }
    }
    if let Some(part) = &filter.text {
        let found = "(lower(n.title) like {} escape '\\' or lower(n.body) like {} escape '\\'";
        and(&mut sql, found, Bind::Text(format!("%{}%", escaped(&part.to_lowercase()))));
        // SQLite's lower() knows ASCII alone: what is written as it was asked for is found in any case.
        binds.push(Bind::Text(format!("%{}%", escaped(part))));
        let place = binds.len();
        let as_asked = format!(" or n.title like ${place} escape '\\' or n.body like ${place} escape '\\')");
        sql.push_str(&as_asked);
    }
    for (column, words) in [
        ("n.type", filter.types.clone()),
        ("n.severity", filter.severities.iter().map(|severity| severity.as_str().to_owned()).collect()),
    ] {
        let mut places = Vec::new();
        for word in words {
            binds.push(Bind::Text(word));
            places.push(format!("${}", binds.len()));
        }
        if !places.is_empty() {
            let condition = format!(" and {column} in ({})", places.join(", "));
            sql.push_str(&condition);
        }
    }
    if filter.unread {
        sql.push_str(" and ");
        sql.push_str(IS_UNREAD);
    }
    let dismissed = "(case when n.recipient = $2 then n.dismissed_at else m.dismissed_at end)";
    sql.push_str(" and ");
    sql.push_str(dismissed);
    sql.push_str(if filter.dismissed { " is not null" } else { " is null" });
    (sql, binds)
}

impl Store {
    /// The notification that shows what is collapsed under an id, the newest of them.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn collapsed(
        &self,
        owner: &Owner,
        collapse_id: &str,
    ) -> Result<Option<NotificationId>, StoreError> {
        let sql = "select id from notifications where workspace = $1 and recipient = $2 and collapse_id = $3 \
                   order by created_at desc, id desc limit 1";
        let row = sqlx::query(sql)
            .bind(owner.workspace.to_string())
            .bind(owner.recipient.to_string())
            .bind(collapse_id.to_owned())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| id(&row, "id", NotificationId::parse)).transpose()
    }

    /// A page of an inbox, newest first. A page never skips or repeats what was there when the list began.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn inbox(
        &self,
        owner: &Owner,
        filter: &InboxFilter,
        after: Option<&InboxCursor>,
        limit: u32,
    ) -> Result<InboxPage, StoreError> {
        let (conditions, mut binds) = conditions(owner, filter);
        let total = self.count(&conditions, &binds).await?;
        let unread_count = self.unread_count(owner).await?;
        let mut sql = format!("select {SEEN} {FROM}{conditions}");
        if let Some(cursor) = after {
            binds.push(Bind::Number(cursor.created_at));
            let at = binds.len();
            binds.push(Bind::Text(cursor.id.to_string()));
            let id = binds.len();
            let behind = format!(" and (n.created_at < ${at} or (n.created_at = ${at} and n.id < ${id}))");
            sql.push_str(&behind);
        }
        // One more than asked for tells whether there is a next page.
        binds.push(Bind::Number(i64::from(limit) + 1));
        let order = format!(" order by n.created_at desc, n.id desc limit ${}", binds.len());
        sql.push_str(&order);
        let rows = bound(&sql, &binds).fetch_all(&self.pool).await?;
        let mut notifications = rows.iter().map(notification).collect::<Result<Vec<_>, _>>()?;
        let more = notifications.len() > limit as usize;
        notifications.truncate(limit as usize);
        let last = notifications.last().filter(|_| more);
        let next = last
            .map(|last| InboxCursor { created_at: last.created_at.as_millisecond(), id: last.id.clone() });
        Ok(InboxPage { notifications, total, unread_count, next })
    }

    async fn count(&self, conditions: &str, binds: &[Bind]) -> Result<u64, StoreError> {
        let sql = format!("select cast(count(*) as bigint) as n {FROM}{conditions}");
        let row = bound(&sql, binds).fetch_one(&self.pool).await?;
        Ok(u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or_default())
    }

    /// How many are neither read nor dismissed.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn unread_count(&self, owner: &Owner) -> Result<u64, StoreError> {
        let (conditions, binds) = conditions(owner, &InboxFilter { unread: true, ..InboxFilter::default() });
        self.count(&conditions, &binds).await
    }

    /// One notification, if it is in this inbox.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn notification(
        &self,
        owner: &Owner,
        id: &NotificationId,
    ) -> Result<Option<Notification>, StoreError> {
        let sql = format!("select {SEEN} {FROM} and n.id = $3");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(owner.workspace.to_string())
            .bind(owner.recipient.to_string())
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(notification).transpose()
    }

    /// Whose notifications these are, for those who may see several inboxes of a workspace. What is not there is left out.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn owners_of(
        &self,
        workspace: &WorkspaceId,
        ids: &[NotificationId],
    ) -> Result<Vec<(NotificationId, Owner)>, StoreError> {
        let mut found = Vec::new();
        for some in ids.chunks(self.dialect.rows_per_statement()) {
            let places: Vec<String> = (0..some.len()).map(|at| format!("${}", at + 2)).collect();
            let places = places.join(", ");
            let sql =
                format!("select id, recipient from notifications where workspace = $1 and id in ({places})");
            let ids = some.iter().map(|id| Bind::Text(id.to_string()));
            let binds: Vec<Bind> = [Bind::Text(workspace.to_string())].into_iter().chain(ids).collect();
            for row in bound(&sql, &binds).fetch_all(&self.pool).await? {
                let recipient = id(&row, "recipient", Recipient::parse)?;
                let owner = Owner { workspace: workspace.clone(), recipient };
                found.push((id(&row, "id", NotificationId::parse)?, owner));
            }
        }
        Ok(found)
    }

    /// True while there is something that nobody was handed yet. A look that locks nothing.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn is_pending(&self, owner: &Owner) -> Result<bool, StoreError> {
        let sql = format!("select n.id {FROM} and {IS_PENDING} limit 1");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(owner.workspace.to_string())
            .bind(owner.recipient.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }
}
