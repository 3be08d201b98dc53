CREATE OR REPLACE VIEW `vault`.`ref_culture_history_current`
COMMENT 'What ref_culture_history says now'
AS SELECT
  `CultureID`,
  `Name`,
  `hash_diff`,
  `deleted_flag`,
  `applied_datetime`,
  `load_datetime`,
  `record_source`,
  `row_audit_id`,
  `load_position`
FROM (
  -- each row beside the last load date-time of its key
  SELECT *, max(load_datetime) OVER (PARTITION BY `CultureID`) AS last_load_datetime
  FROM `vault`.`ref_culture_history`
)
WHERE load_datetime = last_load_datetime AND NOT deleted_flag;
