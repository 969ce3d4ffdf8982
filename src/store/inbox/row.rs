//! A notification's row, as somebody sees it: of a broadcast, with their own marks.

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::super::{StoreError, time};
use crate::delivery::Action;
use crate::event::Severity;
use crate::ids::{DeliveryId, NotificationId, Recipient, WorkspaceId};
use crate::notification::{Notification, Source};

/// The columns of a row for whoever is `$2` in workspace `$1`.
pub(super) const SEEN: &str = "n.id, n.workspace, n.recipient, n.type, n.severity, n.urgency, n.title, n.body, n.link, \
    n.metadata, n.source_type, n.source_id, n.source, n.project, n.actions, n.delivery_id, n.created_at, n.updated_at, \
    case when n.recipient = $2 then n.delivered_at else m.delivered_at end as delivered, \
    case when n.recipient = $2 then n.read_at else m.read_at end as seen, \
    case when n.recipient = $2 then n.dismissed_at else m.dismissed_at end as dismissed";

/// What they see: their own, and what is for everybody.
pub(super) const FROM: &str = "from notifications n left join marks m \
    on m.workspace = $1 and m.recipient = $2 and m.notification_id = n.id and n.recipient = '*' \
    where n.workspace = $1 and n.recipient in ($2, '*')";

/// True for what nobody of them has read or dismissed.
pub(super) const IS_UNREAD: &str = "(case when n.recipient = $2 then n.read_at else m.read_at end) is null \
    and (case when n.recipient = $2 then n.dismissed_at else m.dismissed_at end) is null";

/// True for what was handed to nobody.
pub(super) const IS_PENDING: &str =
    "(case when n.recipient = $2 then n.delivered_at else m.delivered_at end) is null";

pub(super) fn notification(row: &AnyRow) -> Result<Notification, StoreError> {
    let moment = |name: &str| row.try_get::<Option<i64>, _>(name).map(|found| found.map(time));
    let json = |name: &str| -> Result<Value, StoreError> {
        let text: Option<String> = row.try_get(name)?;
        text.map_or(Ok(Value::Null), |text| serde_json::from_str(&text).map_err(|error| broken(name, error)))
    };
    let severity: String = row.try_get("severity")?;
    let (read_at, metadata) = (moment("seen")?, json("metadata")?);
    Ok(Notification {
        id: id(row, "id", NotificationId::parse)?,
        workspace: id(row, "workspace", WorkspaceId::parse)?,
        recipient: id(row, "recipient", Recipient::parse)?,
        event_type: row.try_get("type")?,
        severity: Severity::parse(&severity).ok_or_else(|| broken("severity", &severity))?,
        urgency: row.try_get("urgency")?,
        title: row.try_get("title")?,
        body: row.try_get("body")?,
        link: row.try_get("link")?,
        metadata: if metadata.is_null() { Value::Object(Map::new()) } else { metadata },
        source: serde_json::from_value::<Source>(json("source")?).map_err(|error| broken("source", error))?,
        project: row.try_get("project")?,
        // Null: none.
        actions: serde_json::from_value::<Option<Vec<Action>>>(json("actions")?)
            .map_err(|error| broken("actions", error))?
            .unwrap_or_default(),
        delivery_id: id(row, "delivery_id", DeliveryId::parse)?,
        created_at: time(row.try_get("created_at")?),
        updated_at: time(row.try_get("updated_at")?),
        delivered_at: moment("delivered")?,
        read_at,
        dismissed_at: moment("dismissed")?,
        read: read_at.is_some(),
    })
}

pub(in super::super) fn id<T, E: std::fmt::Display>(
    row: &AnyRow,
    column: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    parse(&text).map_err(|error| broken(column, error))
}

pub(super) fn broken(column: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(format!("{column} of a notification: {error}"))
}

pub(super) fn milliseconds(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::as_millisecond)
}
