CREATE OR REPLACE VIEW `vault`.`sale_as_of`
COMMENT 'Source sale, restored from the vault'
AS WITH `link_sale_held` AS (
  -- the rows of link_sale that held then
  SELECT
    `link_sale_hk`,
    `sale_hk`,
    `customer_hk`,
    `Amount`
  FROM (
    -- each row beside the last load date-time of its key
    SELECT *, max(load_datetime) OVER (PARTITION BY `link_sale_hk`) AS last_load_datetime
    FROM `vault`.`link_sale`
    WHERE load_datetime < TIMESTAMP '9999-12-31' + INTERVAL '1' SECOND
  )
  WHERE load_datetime = last_load_datetime AND NOT reversal_flag
),
`sat_sale_remark_held` AS (
  -- the rows of sat_sale_remark that held then
  SELECT
    `sale_hk`,
    `Remark`
  FROM (
    -- each row beside the last load date-time of its key
    SELECT *, max(load_datetime) OVER (PARTITION BY `sale_hk`) AS last_load_datetime
    FROM `vault`.`sat_sale_remark`
    WHERE load_datetime < TIMESTAMP '9999-12-31' + INTERVAL '1' SECOND
  )
  WHERE load_datetime = last_load_datetime
)
SELECT
  `hub_sale`.`sale_id` AS `SaleID`,
  `hub_customer`.`customer_id` AS `CustomerID`,
  `link_sale_held`.`Amount`,
  `sat_sale_remark_held`.`Remark`
FROM `link_sale_held`
LEFT JOIN `sat_sale_remark_held` ON `sat_sale_remark_held`.`sale_hk` = `link_sale_held`.`sale_hk`
LEFT JOIN `vault`.`hub_sale` AS `hub_sale` ON `hub_sale`.`sale_hk` = `link_sale_held`.`sale_hk`
LEFT JOIN `vault`.`hub_customer` AS `hub_customer` ON `hub_customer`.`customer_hk` = `link_sale_held`.`customer_hk`;
