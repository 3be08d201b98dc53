"""Text of deliveries that is not written as ISO 8601 and with decimal points, and headers that are no column names."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest

from tests.rows import make_lake

pytestmark = pytest.mark.load
PROJECT = """
name: text
connections:
  german:
    kind: files
    path: ./deliveries
    options: {delimiter: ";"}
    text: {date: dd.MM.yyyy, timestamp: "dd.MM.yyyy HH:mm:ss", decimal: ","}
  json: {kind: files, path: ./deliveries, format: json, text: {decimal: ","}}
  parquet: {kind: files, path: ./deliveries, format: parquet, text: {decimal: ","}}
sources:
  sale:
    connection: german
    object: sale
    key: id
    columns:
      id: int
      day: {type: date, header: Tag der Lieferung}
      moment: timestamp
      price: decimal(9,2)
      factor: double
      name: string
  rate:      # of this file the dates are written otherwise
    connection: german
    object: rate
    key: id
    text: {date: yyyyMMdd}
    columns: {id: int, day: date, rate: "decimal(9,4)"}
  stock:
    connection: json
    object: stock
    key: id
    columns: {id: int, amount: {type: "decimal(9,1)", header: on hand}}
  level:
    connection: parquet
    object: level
    key: id
    columns: {id: int, amount: {type: "decimal(9,1)", header: amount in l}, given: "decimal(9,1)"}
"""


@pytest.fixture
def lake(spark, tmp_path):
    found = make_lake(spark, tmp_path, PROJECT)
    (found.folder / "deliveries" / "1").mkdir(parents=True)
    yield found
    found.drop()


def staged(lake, source, columns):
    result = lake.run(source)
    assert result.succeeded, [load.message for load in result.loads if load.message]
    log = lake.project.log(source).name
    rejected = (
        lake.rows("persistent_stage", "quarantine", "rule, reason") if result[source].counts["quarantined"] else []
    )
    return lake.rows("persistent_stage", log, columns), rejected


def test_german_text_with_a_byte_order_mark_and_padded_headers_is_read(lake):
    text = (
        "\ufeffid ;Tag der Lieferung ; moment;price;factor;name \r\n"
        "1;05.03.2022;05.03.2022 06:07:08;2,00;-0,5;a, b. c\r\n"
        "2;31.12.1999;31.12.1999 23:59:59;2;1e3; padded \r\n"
        "3;;;;;\r\n"
    )
    (lake.folder / "deliveries" / "1" / "sale.csv").write_bytes(text.encode("utf-8"))
    rows, rejected = staged(lake, "sale", "id, day, CAST(moment AS TIMESTAMP_NTZ), price, factor, name")

    assert rows == [
        (1, date(2022, 3, 5), datetime(2022, 3, 5, 6, 7, 8), Decimal("2.00"), -0.5, "a, b. c"),
        (2, date(1999, 12, 31), datetime(1999, 12, 31, 23, 59, 59), Decimal("2.00"), 1000.0, " padded "),
        (3, None, None, None, None, None),
    ]
    assert rejected == []


def test_what_is_written_otherwise_goes_to_quarantine(lake):
    text = (
        "id;Tag der Lieferung;moment;price;factor;name\n"
        "1;31.02.2022;;;;no such day\n"
        "2;2022-03-05;;;;ISO\n"
        "3;05.03.2022x;;;;more text\n"
        "4;;05.03.2022;;;no time\n"
        "5;;;2.50;;a point\n"
        "6;;;1.000,5;;thousands\n"
        "7;;;;1.5;a point\n"
        "8;05.03.2022;;2,5;;good\n"
    )
    (lake.folder / "deliveries" / "1" / "sale.csv").write_text(text, encoding="utf-8")
    rows, rejected = staged(lake, "sale", "id, price")

    assert rows == [(8, Decimal("2.50"))]
    columns = ["day as date"] * 3 + ["moment as timestamp"] + ["price as decimal(9,2)"] * 2 + ["factor as double"]
    told = [f"column {name.partition(' as ')[0]} cannot be read as {name.partition(' as ')[2]}" for name in columns]
    assert sorted(reason for _, reason in rejected) == sorted(told)
    assert {rule for rule, _ in rejected} == {"wrong_type"}


def test_a_source_says_what_its_connection_does_not(lake):
    (lake.folder / "deliveries" / "1" / "rate.csv").write_text("id;day;rate\n1;20220305;0,1234\n", encoding="utf-8")
    rows, _ = staged(lake, "rate", "id, day, rate")

    assert rows == [(1, date(2022, 3, 5), Decimal("0.1234"))]


def test_json_and_parquet_have_headers_too(lake, spark):
    folder = lake.folder / "deliveries" / "1"
    (folder / "stock.json").write_text('{"id": 1, "on hand": "1,5"}\n{"id": 2, "on hand": "7"}\n', encoding="utf-8")
    frame = spark.sql("SELECT 1 AS id, '2,5' AS `amount in l`, CAST(3.5 AS DECIMAL(9,1)) AS given")
    frame.coalesce(1).write.parquet(str(lake.folder / "written"))
    (part,) = (lake.folder / "written").glob("*.parquet")
    part.rename(folder / "level.parquet")

    assert staged(lake, "stock", "id, amount")[0] == [(1, Decimal("1.5")), (2, Decimal("7.0"))]
    assert staged(lake, "level", "id, amount, given")[0] == [(1, Decimal("2.5"), Decimal("3.5"))]


def test_a_missing_header_is_named_as_it_would_be_delivered(lake):
    (lake.folder / "deliveries" / "1" / "sale.csv").write_text("id;day;moment;price;factor;name\n", encoding="utf-8")
    result = lake.run("sale")

    assert "does not deliver the column Tag der Lieferung. It delivers: id, day, moment" in result["sale"].message


def test_a_watermark_of_a_table_is_read_under_its_name_there(spark, schema, tmp_path):
    text = f"""
name: text
connections: {{tables: {{kind: delta}}}}
sources:
  event:
    connection: tables
    object: {schema}.event
    key: id
    changes: {{by: watermark, column: changed}}
    columns: {{id: int, changed: {{type: int, header: chg}}}}
"""
    spark.sql(f"CREATE TABLE {schema}.event USING DELTA AS SELECT 1 AS id, 10 AS chg")
    lake = make_lake(spark, tmp_path / "lake", text)
    assert lake.run("event")["event"].counts["inserted"] == 1
    spark.sql(f"INSERT INTO {schema}.event VALUES (2, 9), (3, 11)")
    assert lake.run("event")["event"].counts["read"] == 1
    assert lake.rows("persistent_stage", "tables_event", "id, changed") == [(1, 10), (3, 11)]
    lake.drop()
