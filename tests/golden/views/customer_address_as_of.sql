CREATE OR REPLACE VIEW `vault`.`customer_address_as_of`
COMMENT 'Source customer_address, restored from the vault'
AS WITH `sat_customer_address_held` AS (
  -- the rows of sat_customer_address that held then
  SELECT
    `link_customer_address_hk`,
    `AddressType`,
    `rowguid`,
    `ModifiedDate`
  FROM (
    -- each row beside the last load date-time of its key
    SELECT *, max(load_datetime) OVER (PARTITION BY `link_customer_address_hk`) AS last_load_datetime
    FROM `vault`.`sat_customer_address`
    WHERE load_datetime < TIMESTAMP '9999-12-31' + INTERVAL '1' SECOND
  )
  WHERE load_datetime = last_load_datetime AND NOT deleted_flag
)
SELECT
  `hub_customer`.`customer_id` AS `CustomerID`,
  `hub_address`.`address_id` AS `AddressID`,
  `sat_customer_address_held`.`AddressType`,
  `sat_customer_address_held`.`rowguid`,
  `sat_customer_address_held`.`ModifiedDate`
FROM `sat_customer_address_held`
LEFT JOIN `vault`.`link_customer_address` AS `link_customer_address` ON `link_customer_address`.`link_customer_address_hk` = `sat_customer_address_held`.`link_customer_address_hk`
LEFT JOIN `vault`.`hub_customer` AS `hub_customer` ON `hub_customer`.`customer_hk` = `link_customer_address`.`customer_hk`
LEFT JOIN `vault`.`hub_address` AS `hub_address` ON `hub_address`.`address_hk` = `link_customer_address`.`address_hk`;
