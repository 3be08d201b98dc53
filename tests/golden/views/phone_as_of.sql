CREATE OR REPLACE VIEW `vault`.`phone_as_of`
COMMENT 'Source phone, restored from the vault'
AS WITH `sat_phone_held` AS (
  -- the rows of sat_phone that held then
  SELECT
    `customer_hk`,
    `PhoneType`,
    `Number`
  FROM (
    -- each row beside the last load date-time of its key
    SELECT *, max(load_datetime) OVER (PARTITION BY `customer_hk`) AS last_load_datetime
    FROM `vault`.`sat_phone`
    WHERE load_datetime < TIMESTAMP '9999-12-31' + INTERVAL '1' SECOND
  )
  WHERE load_datetime = last_load_datetime AND NOT deleted_flag
)
SELECT
  `hub_customer`.`customer_id` AS `CustomerID`,
  `sat_phone_held`.`PhoneType`,
  `sat_phone_held`.`Number`
FROM `sat_phone_held`
LEFT JOIN `vault`.`hub_customer` AS `hub_customer` ON `hub_customer`.`customer_hk` = `sat_phone_held`.`customer_hk`;
