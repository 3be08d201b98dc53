CREATE OR REPLACE VIEW `vault`.`sat_membership_history`
COMMENT 'Every version in sat_membership, from when to when it held'
AS SELECT
  `link_membership_hk`,
  `active_flag`,
  `starts_at`,
  `ends_at`,
  `applied_datetime`,
  `load_datetime`,
  `record_source`,
  `row_audit_id`,
  `load_position`,
  load_datetime AS `effective_from`,
  coalesce(lead(load_datetime) OVER (PARTITION BY `link_membership_hk` ORDER BY load_datetime), TIMESTAMP '9999-12-31') AS `effective_to`
FROM `vault`.`sat_membership`;
