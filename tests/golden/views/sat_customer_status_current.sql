CREATE OR REPLACE VIEW `vault`.`sat_customer_status_current`
COMMENT 'What sat_customer_status says now'
AS SELECT
  `customer_hk`,
  `status`,
  `applied_datetime`,
  `load_datetime`,
  `record_source`,
  `row_audit_id`,
  `load_position`
FROM (
  -- each row beside the last load date-time of its key
  SELECT *, max(load_datetime) OVER (PARTITION BY `customer_hk`) AS last_load_datetime
  FROM `vault`.`sat_customer_status`
)
WHERE load_datetime = last_load_datetime AND NOT (status = 'D');
