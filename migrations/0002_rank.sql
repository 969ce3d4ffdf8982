-- `final` is a rank from now on: 0 not final, 1 suppressed, 2 failed, 3 sent. A higher one stands against a lower one.
update deliveries set final = case status when 'sent' then 3 when 'failed' then 2 when 'suppressed' then 1 else 0 end;

-- The list over all workspaces.
create index deliveries_by_time_everywhere on deliveries (created_at, id);
