-- What retention asks for: the fullest inboxes and the oldest notifications of each workspace, since each may keep for another time.

-- Up to which number its changes are gone.
alter table inboxes add column trimmed bigint not null default 0;

drop index inboxes_by_items;
create index inboxes_by_items on inboxes (workspace, items);
-- Those with too many changes, which are none but for a moment: see store::retention::changes::CHANGES_MAX.
create index inboxes_by_changes on inboxes (workspace, recipient) where seq - trimmed > 2500;

drop index notifications_by_time;
create index notifications_by_time on notifications (workspace, created_at);
-- Those that go first when an inbox is too full.
create index notifications_settled on notifications (workspace, recipient) where read_at is not null or dismissed_at is not null;
-- Nothing asks by it: who counts the unread ones of somebody counts broadcasts with them.
drop index notifications_unread;

-- Broadcasts that are gone, whose marks go after them.
create index changes_of_gone_broadcasts on changes (notification_id) where recipient = '*' and kind = 'deleted';
