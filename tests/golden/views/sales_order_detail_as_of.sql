CREATE OR REPLACE VIEW `vault`.`sales_order_detail_as_of`
COMMENT 'Source sales_order_detail, restored from the vault'
AS WITH `sat_order_line_effectivity_held` AS (
  -- the rows of sat_order_line_effectivity that held then
  SELECT
    `link_order_line_hk`
  FROM (
    -- each row beside the last load date-time of its key
    SELECT *, max(load_datetime) OVER (PARTITION BY `link_order_line_hk`) AS last_load_datetime
    FROM `vault`.`sat_order_line_effectivity`
    WHERE load_datetime < TIMESTAMP '9999-12-31' + INTERVAL '1' SECOND
  )
  WHERE load_datetime = last_load_datetime AND active_flag
),
`sat_order_line_held` AS (
  -- the rows of sat_order_line that held then
  SELECT
    `link_order_line_hk`,
    `OrderQty`,
    `UnitPrice`,
    `UnitPriceDiscount`,
    `rowguid`,
    `ModifiedDate`
  FROM (
    -- each row beside the last load date-time of its key
    SELECT *, max(load_datetime) OVER (PARTITION BY `link_order_line_hk`) AS last_load_datetime
    FROM `vault`.`sat_order_line`
    WHERE load_datetime < TIMESTAMP '9999-12-31' + INTERVAL '1' SECOND
  )
  WHERE load_datetime = last_load_datetime AND NOT deleted_flag
)
SELECT
  `hub_sales_order`.`sales_order_id` AS `SalesOrderID`,
  `link_order_line`.`SalesOrderDetailID`,
  `sat_order_line_held`.`OrderQty`,
  `hub_product`.`product_id` AS `ProductID`,
  `sat_order_line_held`.`UnitPrice`,
  `sat_order_line_held`.`UnitPriceDiscount`,
  `sat_order_line_held`.`rowguid`,
  `sat_order_line_held`.`ModifiedDate`
FROM `sat_order_line_effectivity_held`
LEFT JOIN `sat_order_line_held` ON `sat_order_line_held`.`link_order_line_hk` = `sat_order_line_effectivity_held`.`link_order_line_hk`
LEFT JOIN `vault`.`link_order_line` AS `link_order_line` ON `link_order_line`.`link_order_line_hk` = `sat_order_line_effectivity_held`.`link_order_line_hk`
LEFT JOIN `vault`.`hub_sales_order` AS `hub_sales_order` ON `hub_sales_order`.`sales_order_hk` = `link_order_line`.`sales_order_hk`
LEFT JOIN `vault`.`hub_product` AS `hub_product` ON `hub_product`.`product_hk` = `link_order_line`.`product_hk`;
