-- The delivery that this one was made in place of, when its channel did not work.
alter table deliveries add column fallback_of text;

-- "Where did this one go?" Hardly any delivery has one.
create index deliveries_by_fallback on deliveries (fallback_of) where fallback_of is not null;
