CREATE OR REPLACE VIEW `vault`.`sat_phone_history`
COMMENT 'Every version in sat_phone, from when to when it held'
AS WITH moments AS (
  -- when the set of each key changed, and until when it stayed so
  SELECT
    `customer_hk`, `load_datetime`,
    coalesce(lead(load_datetime) OVER (PARTITION BY `customer_hk` ORDER BY load_datetime), TIMESTAMP '9999-12-31') AS effective_to
  FROM (
    SELECT DISTINCT `customer_hk`, `load_datetime`
    FROM `vault`.`sat_phone`
  )
)
SELECT
  versions.`customer_hk`,
  versions.`PhoneType`,
  versions.`Number`,
  versions.`hash_diff`,
  versions.`deleted_flag`,
  versions.`applied_datetime`,
  versions.`load_datetime`,
  versions.`record_source`,
  versions.`row_audit_id`,
  versions.`load_position`,
  versions.load_datetime AS `effective_from`,
  moments.effective_to AS `effective_to`
FROM `vault`.`sat_phone` AS versions
JOIN moments ON moments.`customer_hk` = versions.`customer_hk` AND moments.`load_datetime` = versions.`load_datetime`;
