-- The history: what became of each delivery, one row each, and the steps that led there.
-- Portable between SQLite and Postgres: ids and words are text, times are Unix milliseconds, flags are 0 or 1.

create table deliveries (
    id text not null primary key,
    workspace text not null,
    event_id text not null,
    event_source text not null,
    event_type text not null,
    event_time bigint not null,
    rule text,
    scope text not null,
    channel text not null,
    kind text,
    recipient text,
    severity text not null,
    title text not null,
    body text not null,
    link text,
    status text not null,
    reason text not null,
    detail text,
    code bigint,
    provider_id text,
    -- Tries of the present life that cost an attempt.
    attempts bigint not null,
    redrive bigint not null,
    postponed bigint not null,
    final bigint not null,
    -- When the first outcome was recorded: the place in every list. It never changes.
    created_at bigint not null,
    updated_at bigint not null,
    next_at bigint
);

-- Lists go newest first, by time and id.
create index deliveries_by_time on deliveries (workspace, created_at, id);
-- "What happened to this event?" must not read a week.
create index deliveries_by_event on deliveries (event_id);
-- What is open or failed is rare and asked for most.
create index deliveries_unsettled on deliveries (created_at, id) where status in ('scheduled', 'retrying', 'failed');

-- One row a step: a try's end, a suppression, a time that was set.
create table outcomes (
    delivery_id text not null,
    redrive bigint not null,
    attempt bigint not null,
    postponed bigint not null,
    state text not null,
    reason text not null,
    detail text,
    code bigint,
    provider_id text,
    at bigint not null,
    duration_ms bigint,
    next_at bigint,
    -- The same step reported again: a try repeated after a crash.
    repeats bigint not null,
    primary key (delivery_id, redrive, attempt, postponed, state)
);

-- Up to where a stream is recorded. Whoever moves it owns the batch that it moved over.
create table recorder (
    stream text not null primary key,
    -- The stream's creation: a stream made anew starts over.
    epoch text not null,
    seq bigint not null
);
