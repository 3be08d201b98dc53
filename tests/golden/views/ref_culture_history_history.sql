CREATE OR REPLACE VIEW `vault`.`ref_culture_history_history`
COMMENT 'Every version in ref_culture_history, from when to when it held'
AS SELECT
  `CultureID`,
  `Name`,
  `hash_diff`,
  `deleted_flag`,
  `applied_datetime`,
  `load_datetime`,
  `record_source`,
  `row_audit_id`,
  `load_position`,
  load_datetime AS `effective_from`,
  coalesce(lead(load_datetime) OVER (PARTITION BY `CultureID` ORDER BY load_datetime), TIMESTAMP '9999-12-31') AS `effective_to`
FROM `vault`.`ref_culture_history`;
