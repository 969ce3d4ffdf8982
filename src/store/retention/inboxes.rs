//! Notifications that go: those over what an inbox may hold, and those that are too old. Each is a change of kind `deleted` of its
//! inbox, also a broadcast: what its readers did with it goes later (`super::changes`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::super::inbox::{Owner, change, insert_changes, row};
use super::super::{Dialect, Store, StoreError, time};
use super::{BATCH_ROWS, Locked, lock, owner};
use crate::ids::{NotificationId, WorkspaceId};
use crate::notification::change::{Announcement, Change, ChangeKind};

/// Inboxes of one batch that are too full: they stay locked while what goes is chosen in each of them.
const INBOXES_MAX: i64 = 50;

/// Dismissed ones before read ones, the oldest first.
const SETTLED: &str = "(read_at is not null or dismissed_at is not null) \
    order by case when dismissed_at is null then 1 else 0 end, created_at, id";
/// The oldest first.
const UNREAD: &str = "read_at is null and dismissed_at is null order by created_at, id";

struct Victim {
    owner: Owner,
    id: NotificationId,
    is_unread: bool,
}

impl Store {
    /// How many notifications the fullest inbox of each workspace holds.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn fullest_inboxes(&self) -> Result<Vec<(WorkspaceId, i64)>, StoreError> {
        self.by_workspace("inboxes", "max(items)").await
    }

    /// When the oldest notification of each workspace was created.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn oldest_notifications(&self) -> Result<Vec<(WorkspaceId, Timestamp)>, StoreError> {
        let found = self.by_workspace("notifications", "min(created_at)").await?;
        Ok(found.into_iter().map(|(workspace, at)| (workspace, time(at))).collect())
    }

    /// Removes a batch of what inboxes of a workspace hold over `most`: dismissed ones first, then read ones, then unread ones,
    /// oldest first. Empty when none holds more.
    ///
    /// # Errors
    /// When the database is not available; doing it again is safe.
    pub async fn remove_excess(
        &self,
        workspace: &WorkspaceId,
        most: u32,
        now: Timestamp,
    ) -> Result<Vec<Announcement>, StoreError> {
        let most = i64::from(most);
        let sql = "select workspace, recipient from inboxes where workspace = $1 and items > $2 \
                   order by items desc limit $3";
        let rows = sqlx::query(sql)
            .bind(workspace.to_string())
            .bind(most)
            .bind(INBOXES_MAX)
            .fetch_all(&self.pool)
            .await?;
        let owners = rows.iter().map(owner).collect::<Result<BTreeSet<_>, _>>()?;
        if owners.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.turn().await;
        let mut transaction = self.pool.begin_with(self.dialect.begin()).await?;
        let owners: Vec<Owner> = owners.into_iter().collect();
        let locked = lock(&mut transaction, self.dialect, &owners).await?;
        let mut left = BATCH_ROWS;
        let mut wanted = Vec::new();
        for (owner, found) in &locked {
            let excess = usize::try_from(found.items - most).unwrap_or_default().min(left);
            left -= excess;
            if excess > 0 {
                wanted.push((owner.clone(), excess));
            }
        }
        let victims = choose(&mut transaction, self.dialect, &wanted).await?;
        let told = remove(&mut transaction, self.dialect, &locked, victims, now).await?;
        transaction.commit().await?;
        Ok(told)
    }

    /// Removes a batch of a workspace's notifications that were created before `since` and have no later text, oldest first. Empty
    /// when there are none.
    ///
    /// # Errors
    /// When the database is not available; doing it again is safe.
    pub async fn remove_expired(
        &self,
        workspace: &WorkspaceId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Announcement>, StoreError> {
        let sql = "select id, workspace, recipient from notifications where workspace = $1 and created_at < $2 \
                   and updated_at < $2 order by created_at limit $3";
        let rows = sqlx::query(sql)
            .bind(workspace.to_string())
            .bind(since.as_millisecond())
            .bind(i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        let mut old = Vec::with_capacity(rows.len());
        for row in &rows {
            old.push((owner(row)?, row::id(row, "id", NotificationId::parse)?));
        }
        if old.is_empty() {
            return Ok(Vec::new());
        }
        let owners: BTreeSet<&Owner> = old.iter().map(|(owner, _)| owner).collect();
        let owners: Vec<Owner> = owners.into_iter().cloned().collect();
        let _turn = self.turn().await;
        let mut transaction = self.pool.begin_with(self.dialect.begin()).await?;
        let locked = lock(&mut transaction, self.dialect, &owners).await?;
        let there = still_there(&mut transaction, self.dialect, &old).await?;
        let victims = old.into_iter().filter_map(|(owner, id)| {
            let is_unread = *there.get(&id)?;
            Some(Victim { owner, id, is_unread })
        });
        let told = remove(&mut transaction, self.dialect, &locked, victims.collect(), now).await?;
        transaction.commit().await?;
        Ok(told)
    }
}

/// Chooses so many in each inbox.
async fn choose(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    wanted: &[(Owner, usize)],
) -> Result<Vec<Victim>, StoreError> {
    let mut victims = first(transaction, dialect, wanted, SETTLED).await?;
    let mut found: HashMap<Owner, usize> = HashMap::new();
    for victim in &mut victims {
        victim.is_unread = false;
        *found.entry(victim.owner.clone()).or_default() += 1;
    }
    let mut missing = Vec::new();
    for (owner, excess) in wanted {
        let settled = found.get(owner).copied().unwrap_or_default();
        if *excess > settled {
            missing.push((owner.clone(), excess - settled));
        }
    }
    victims.extend(first(transaction, dialect, &missing, UNREAD).await?);
    Ok(victims)
}

/// The first so many of each inbox among those of one sort.
async fn first(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    wanted: &[(Owner, usize)],
    sort: &str,
) -> Result<Vec<Victim>, StoreError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<String> = (0..wanted.len())
        .map(|at| {
            let [workspace, recipient, count] = [1, 2, 3].map(|number| dialect.place(at * 3 + number));
            format!(
                "select * from (select id, workspace, recipient from notifications \
                 where workspace = {workspace} and recipient = {recipient} and {sort} limit {count}) as part{at}"
            )
        })
        .collect();
    let mut query = sqlx::query(AssertSqlSafe(parts.join(" union all "))).persistent(false);
    for (owner, count) in wanted {
        query = query
            .bind(owner.workspace.to_string())
            .bind(owner.recipient.to_string())
            .bind(i64::try_from(*count).unwrap_or(i64::MAX));
    }
    let rows = query.fetch_all(&mut **transaction).await?;
    rows.iter()
        .map(|row| {
            Ok(Victim { owner: owner(row)?, id: row::id(row, "id", NotificationId::parse)?, is_unread: true })
        })
        .collect()
}

/// Those that nobody else has removed meanwhile, and whether they are unread.
async fn still_there(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    old: &[(Owner, NotificationId)],
) -> Result<HashMap<NotificationId, bool>, StoreError> {
    let sql = format!(
        "select id, cast(case when read_at is null and dismissed_at is null then 1 else 0 end as bigint) as unread \
         from notifications where id in {}",
        dialect.placeholders(1, old.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for (_, id) in old {
        query = query.bind(id.to_string());
    }
    let mut there = HashMap::new();
    for row in query.fetch_all(&mut **transaction).await? {
        there.insert(row::id(&row, "id", NotificationId::parse)?, row.try_get::<i64, _>("unread")? == 1);
    }
    Ok(there)
}

/// Removes these from their inboxes, which are locked.
async fn remove(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    locked: &BTreeMap<Owner, Locked>,
    victims: Vec<Victim>,
    now: Timestamp,
) -> Result<Vec<Announcement>, StoreError> {
    if victims.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("delete from notifications where id in {}", dialect.placeholders(1, victims.len()));
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for victim in &victims {
        query = query.bind(victim.id.to_string());
    }
    query.execute(&mut **transaction).await?;
    let mut inboxes: BTreeMap<Owner, Vec<Change>> = BTreeMap::new();
    for Victim { owner, id, is_unread } in victims {
        let before = before(locked, &owner);
        let changes = inboxes.entry(owner).or_default();
        let seq = before + 1 + changes.len() as u64;
        let deleted = change(seq, ChangeKind::Deleted, now, -i64::from(is_unread));
        changes.push(Change { id: Some(id), ..deleted });
    }
    let rows: Vec<(&Owner, &Change)> = inboxes
        .iter()
        .flat_map(|(owner, changes)| changes.iter().map(move |change| (owner, change)))
        .collect();
    insert_changes(transaction, dialect, &rows).await?;
    count_down(transaction, dialect, &inboxes).await?;
    Ok(inboxes.into_iter().map(|(owner, changes)| owner.announce(before(locked, &owner), changes)).collect())
}

fn before(locked: &BTreeMap<Owner, Locked>, owner: &Owner) -> u64 {
    locked.get(owner).and_then(|found| u64::try_from(found.seq).ok()).unwrap_or_default()
}

/// Moves the inboxes on by their changes, each of which took a notification away.
async fn count_down(
    transaction: &mut Transaction<'_, Any>,
    dialect: Dialect,
    inboxes: &BTreeMap<Owner, Vec<Change>>,
) -> Result<(), StoreError> {
    let inboxes: Vec<_> = inboxes.iter().collect();
    for some in inboxes.chunks(dialect.rows_per_statement()) {
        let sql = format!(
            "insert into inboxes (workspace, recipient, seq, items) values {} on conflict (workspace, recipient) \
             do update set seq = inboxes.seq + excluded.seq, items = inboxes.items - excluded.items",
            dialect.placeholders(some.len(), 4)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (owner, changes) in some {
            let count = i64::try_from(changes.len()).unwrap_or(i64::MAX);
            query = query
                .bind(owner.workspace.to_string())
                .bind(owner.recipient.to_string())
                .bind(count)
                .bind(count);
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}
