CREATE OR REPLACE VIEW `vault`.`sat_phone_current`
COMMENT 'What sat_phone says now'
AS SELECT
  `customer_hk`,
  `PhoneType`,
  `Number`,
  `hash_diff`,
  `deleted_flag`,
  `applied_datetime`,
  `load_datetime`,
  `record_source`,
  `row_audit_id`,
  `load_position`
FROM (
  -- each row beside the last load date-time of its key
  SELECT *, max(load_datetime) OVER (PARTITION BY `customer_hk`) AS last_load_datetime
  FROM `vault`.`sat_phone`
)
WHERE load_datetime = last_load_datetime AND NOT deleted_flag;
