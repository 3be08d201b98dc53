CREATE OR REPLACE VIEW `vault`.`sat_customer_status_history`
COMMENT 'Every version in sat_customer_status, from when to when it held'
AS SELECT
  `customer_hk`,
  `status`,
  `applied_datetime`,
  `load_datetime`,
  `record_source`,
  `row_audit_id`,
  `load_position`,
  load_datetime AS `effective_from`,
  coalesce(lead(load_datetime) OVER (PARTITION BY `customer_hk` ORDER BY load_datetime), TIMESTAMP '9999-12-31') AS `effective_to`
FROM `vault`.`sat_customer_status`;
