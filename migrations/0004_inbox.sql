-- The inboxes: what was said to whom, what became of it there, and the numbered changes that streams resume from.

-- One row a recipient. Whoever changes an inbox locks it here first and takes the next numbers.
create table inboxes (
    workspace text not null,
    recipient text not null,
    -- The number of its last change.
    seq bigint not null,
    -- Notifications that it holds.
    items bigint not null,
    primary key (workspace, recipient)
);

create table notifications (
    id text not null primary key,
    workspace text not null,
    -- `*` is a broadcast: everybody of the workspace sees it, and marks it apart (table marks).
    recipient text not null,
    type text not null,
    severity text not null,
    -- The word that the producer used.
    urgency text not null,
    title text not null,
    body text not null,
    link text,
    metadata text,
    source_type text not null,
    source_id text not null,
    source text not null,
    project text,
    actions text,
    delivery_id text not null,
    -- The item that was written last: it is not written again.
    item text not null,
    collapse_id text,
    event_time bigint not null,
    -- The place in every list. It never changes.
    created_at bigint not null,
    updated_at bigint not null,
    delivered_at bigint,
    read_at bigint,
    dismissed_at bigint
);

create index notifications_by_inbox on notifications (workspace, recipient, created_at, id);
create index notifications_unread on notifications (workspace, recipient) where read_at is null and dismissed_at is null;
create index notifications_collapsed on notifications (workspace, recipient, collapse_id) where collapse_id is not null;
create index notifications_by_time on notifications (created_at);

-- What a recipient did with a broadcast.
create table marks (
    workspace text not null,
    recipient text not null,
    notification_id text not null,
    delivered_at bigint,
    read_at bigint,
    dismissed_at bigint,
    primary key (workspace, recipient, notification_id)
);

create index marks_by_notification on marks (notification_id);

-- The changes of each inbox in their order.
create table changes (
    workspace text not null,
    recipient text not null,
    seq bigint not null,
    kind text not null,
    notification_id text,
    -- By how much it changed the number of unread ones.
    unread bigint not null,
    detail text,
    at bigint not null,
    primary key (workspace, recipient, seq)
);

create index changes_by_time on changes (at);

-- "Does the history have to be shortened?" asks for the oldest, of each workspace.
create index inboxes_by_items on inboxes (items);
