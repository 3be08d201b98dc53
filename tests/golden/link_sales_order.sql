CREATE TABLE IF NOT EXISTS `vault`.`link_sales_order` (
  `link_sales_order_hk` BINARY NOT NULL COMMENT 'MD5 of all business keys and child keys',
  `sales_order_hk` BINARY NOT NULL COMMENT 'Hash key of hub_sales_order',
  `customer_hk` BINARY NOT NULL COMMENT 'Hash key of hub_customer',
  `ship_to_address_hk` BINARY NOT NULL COMMENT 'Hash key of hub_address',
  `bill_to_address_hk` BINARY NOT NULL COMMENT 'Hash key of hub_address',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`link_sales_order` (`link_sales_order_hk`, `sales_order_hk`, `customer_hk`, `ship_to_address_hk`, `bill_to_address_hk`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `link_sales_order_hk`, `sales_order_hk`, `customer_hk`, `ship_to_address_hk`, `bill_to_address_hk`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- the keys that the source delivers
    SELECT
      unhex(md5(concat(coalesce(concat(char_length(CAST(`SalesOrderID` AS STRING)), ':', CAST(`SalesOrderID` AS STRING)), '-'), coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'), coalesce(concat(char_length(CAST(`ShipToAddressID` AS STRING)), ':', CAST(`ShipToAddressID` AS STRING)), '-'), coalesce(concat(char_length(CAST(`BillToAddressID` AS STRING)), ':', CAST(`BillToAddressID` AS STRING)), '-')))) AS `link_sales_order_hk`,
      CASE WHEN `SalesOrderID` IS NULL THEN unhex('00000000000000000000000000000000') ELSE unhex(md5(coalesce(concat(char_length(CAST(`SalesOrderID` AS STRING)), ':', CAST(`SalesOrderID` AS STRING)), '-'))) END AS `sales_order_hk`,
      CASE WHEN `CustomerID` IS NULL THEN unhex('00000000000000000000000000000000') ELSE unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END AS `customer_hk`,
      CASE WHEN `ShipToAddressID` IS NULL THEN unhex('00000000000000000000000000000000') ELSE unhex(md5(coalesce(concat(char_length(CAST(`ShipToAddressID` AS STRING)), ':', CAST(`ShipToAddressID` AS STRING)), '-'))) END AS `ship_to_address_hk`,
      CASE WHEN `BillToAddressID` IS NULL THEN unhex('00000000000000000000000000000000') ELSE unhex(md5(coalesce(concat(char_length(CAST(`BillToAddressID` AS STRING)), ':', CAST(`BillToAddressID` AS STRING)), '-'))) END AS `bill_to_address_hk`,
      `load_datetime`,
      `record_source`,
      `row_audit_id`
    FROM (SELECT * FROM `persistent_stage`.`awlt_sales_order_header` WHERE load_position > :from_position AND load_position <= :to_position)
    WHERE change_type <> 'D'
  ),
  sequenced AS (
    -- the occurrences of each key, the earliest first
    SELECT *, row_number() OVER (PARTITION BY `link_sales_order_hk` ORDER BY load_datetime, record_source) AS occurrence
    FROM source
  ),
  known AS (
    -- the keys among them that the target has
    SELECT DISTINCT `link_sales_order_hk` FROM `vault`.`link_sales_order` WHERE `link_sales_order_hk` IN (SELECT `link_sales_order_hk` FROM source)
  )
  SELECT
    sequenced.`link_sales_order_hk`,
    sequenced.`sales_order_hk`,
    sequenced.`customer_hk`,
    sequenced.`ship_to_address_hk`,
    sequenced.`bill_to_address_hk`,
    sequenced.`load_datetime`,
    sequenced.`record_source`,
    sequenced.`row_audit_id`,
    CASE
      WHEN sequenced.`link_sales_order_hk` IS NULL THEN 'excluded'
      WHEN known.`link_sales_order_hk` IS NOT NULL THEN 'unchanged'
      WHEN sequenced.occurrence > 1 THEN 'duplicate'
      ELSE 'inserted'
    END AS outcome
  FROM sequenced
  LEFT JOIN known ON sequenced.`link_sales_order_hk` = known.`link_sales_order_hk`
)
WHERE outcome = 'inserted';
