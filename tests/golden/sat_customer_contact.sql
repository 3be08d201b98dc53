CREATE TABLE IF NOT EXISTS `vault`.`sat_customer_contact` (
  `customer_hk` BINARY NOT NULL COMMENT 'Hash key of hub_customer',
  `CompanyName` STRING,
  `SalesPerson` STRING,
  `EmailAddress` STRING,
  `Phone` STRING,
  `hash_diff` BINARY NOT NULL COMMENT 'Hash of the descriptive columns',
  `deleted_flag` BOOLEAN NOT NULL COMMENT 'Whether the source deleted the key here',
  `applied_datetime` TIMESTAMP COMMENT 'The business\'s own time of the row (UTC)',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`sat_customer_contact` (`customer_hk`, `CompanyName`, `SalesPerson`, `EmailAddress`, `Phone`, `hash_diff`, `deleted_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `customer_hk`, `CompanyName`, `SalesPerson`, `EmailAddress`, `Phone`, `hash_diff`, `deleted_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- what the source says of each key
    SELECT
      `customer_hk`,
      `CompanyName`,
      `SalesPerson`,
      `EmailAddress`,
      `Phone`,
      `hash_diff`,
      change_type = 'D' AS `deleted_flag`,
      `applied_datetime`,
      `load_datetime`,
      `record_source`,
      `row_audit_id`,
      FALSE AS stored
    FROM (SELECT * FROM `persistent_stage`.`awlt_customer` WHERE load_position > :from_position AND load_position <= :to_position)
    LATERAL VIEW inline(array(struct(
      CASE WHEN NOT (`CustomerID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END,
      unhex(md5(concat(coalesce(concat(char_length(`CompanyName`), ':', `CompanyName`), '-'), coalesce(concat(char_length(`SalesPerson`), ':', `SalesPerson`), '-'), coalesce(concat(char_length(`EmailAddress`), ':', `EmailAddress`), '-'), coalesce(concat(char_length(`Phone`), ':', `Phone`), '-'))))
    ))) hashed AS `customer_hk`, `hash_diff`
  ),
  versions AS (
    -- the versions of these keys, delivered and stored
    SELECT `customer_hk`, hash_diff, deleted_flag, load_datetime, stored, `CompanyName`, `SalesPerson`, `EmailAddress`, `Phone`, `applied_datetime`, `record_source`, `row_audit_id`
    FROM source
    UNION ALL
    SELECT `customer_hk`, hash_diff, deleted_flag, load_datetime, TRUE AS stored, NULL AS `CompanyName`, NULL AS `SalesPerson`, NULL AS `EmailAddress`, NULL AS `Phone`, NULL AS `applied_datetime`, NULL AS `record_source`, NULL AS `row_audit_id`
    FROM `vault`.`sat_customer_contact`
    WHERE `customer_hk` IN (SELECT CASE WHEN NOT (`CustomerID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END FROM (SELECT * FROM `persistent_stage`.`awlt_customer` WHERE load_position > :from_position AND load_position <= :to_position))
  ),
  sequenced AS (
    -- each version beside the one before it in load order
    SELECT
      *,
      lag(struct(hash_diff, deleted_flag, load_datetime, stored)) OVER (
        PARTITION BY `customer_hk` ORDER BY load_datetime, stored DESC, hash_diff
      ) AS predecessor
    FROM versions
  )
  SELECT
    sequenced.`customer_hk`,
    sequenced.`CompanyName`,
    sequenced.`SalesPerson`,
    sequenced.`EmailAddress`,
    sequenced.`Phone`,
    sequenced.`hash_diff`,
    sequenced.`deleted_flag`,
    sequenced.`applied_datetime`,
    sequenced.`load_datetime`,
    sequenced.`record_source`,
    sequenced.`row_audit_id`,
    CASE
      WHEN `customer_hk` IS NULL THEN 'excluded'
      WHEN predecessor.load_datetime = load_datetime AND NOT (predecessor.hash_diff = hash_diff AND predecessor.deleted_flag = deleted_flag) THEN raise_error('satellite \'sat_customer_contact\': several rows of source \'customer\' describe one key of \'hub_customer\' at one load date-time. A satellite keeps one version at a time: use kind multi_active_satellite, or another parent.')
      WHEN predecessor.hash_diff = hash_diff AND predecessor.deleted_flag = deleted_flag THEN
        CASE WHEN predecessor.stored OR predecessor.load_datetime < load_datetime THEN 'unchanged' ELSE 'duplicate' END
      ELSE 'inserted'
    END AS outcome
  FROM sequenced
  WHERE NOT stored
)
WHERE outcome = 'inserted';
