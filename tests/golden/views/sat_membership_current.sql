CREATE OR REPLACE VIEW `vault`.`sat_membership_current`
COMMENT 'What sat_membership says now'
AS SELECT
  `link_membership_hk`,
  `active_flag`,
  `starts_at`,
  `ends_at`,
  `applied_datetime`,
  `load_datetime`,
  `record_source`,
  `row_audit_id`,
  `load_position`
FROM (
  -- each row beside the last load date-time of its key
  SELECT *, max(load_datetime) OVER (PARTITION BY `link_membership_hk`) AS last_load_datetime
  FROM `vault`.`sat_membership`
)
WHERE load_datetime = last_load_datetime AND active_flag;
