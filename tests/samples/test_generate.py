"""Deliveries of the AdventureWorksLT sample: every promise of the generator, read back from the files with csv."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import datetime
from decimal import Decimal

import pytest

from lakehouse.samples.awlt.generate import DELIVERIES, PLANTED, TABLES, write_delivery

NAMES = {1: "2024-01-15", 2: "2024-02-15", 3: "2024-03-15"}
STARTS = {1: "2023-06-01", 2: "2024-01-15", 3: "2024-02-15"}
KEYS = {
    "Address": "AddressID",
    "Customer": "CustomerID",
    "CustomerAddress": "CustomerID,AddressID",
    "Product": "ProductID",
    "ProductCategory": "ProductCategoryID",
    "ProductDescription": "ProductDescriptionID",
    "ProductModel": "ProductModelID",
    "ProductModelProductDescription": "ProductModelID,ProductDescriptionID,Culture",
    "SalesOrderDetail": "SalesOrderID,SalesOrderDetailID",
    "SalesOrderHeader": "SalesOrderID",
}
COLUMNS = {
    "Address": "AddressID,AddressLine1,AddressLine2,City,StateProvince,CountryRegion,PostalCode",
    "Customer": "CustomerID,NameStyle,Title,FirstName,MiddleName,LastName,Suffix,CompanyName,SalesPerson,"
    "EmailAddress,Phone,PasswordHash,PasswordSalt",
    "CustomerAddress": "CustomerID,AddressID,AddressType",
    "Product": "ProductID,Name,ProductNumber,Color,StandardCost,ListPrice,Size,Weight,ProductCategoryID,"
    "ProductModelID,SellStartDate,SellEndDate,DiscontinuedDate,ThumbNailPhoto,ThumbnailPhotoFileName",
    "ProductCategory": "ProductCategoryID,ParentProductCategoryID,Name",
    "ProductDescription": "ProductDescriptionID,Description",
    "ProductModel": "ProductModelID,Name,CatalogDescription",
    "ProductModelProductDescription": "ProductModelID,ProductDescriptionID,Culture",
    "SalesOrderDetail": "SalesOrderID,SalesOrderDetailID,OrderQty,ProductID,UnitPrice,UnitPriceDiscount",
    "SalesOrderHeader": "SalesOrderID,RevisionNumber,OrderDate,DueDate,ShipDate,Status,OnlineOrderFlag,"
    "PurchaseOrderNumber,AccountNumber,CustomerID,ShipToAddressID,BillToAddressID,ShipMethod,"
    "CreditCardApprovalCode,SubTotal,TaxAmt,Freight,Comment",
}
SNAPSHOTS = tuple(table for table in TABLES if not table.startswith("SalesOrder"))
MONEY = {
    "Product": "StandardCost,ListPrice",
    "SalesOrderDetail": "UnitPrice,UnitPriceDiscount",
    "SalesOrderHeader": "SubTotal,TaxAmt,Freight",
}
PLANTED_KEYS = {
    "Address": {(str(PLANTED.address_deleted),)},
    "Customer": {
        (str(key),)
        for key in (
            PLANTED.customer_phone_back,
            PLANTED.customer_returned,
            PLANTED.customer_returned_changed,
            PLANTED.customer_deleted,
            PLANTED.customer_duplicate,
        )
    },
    "CustomerAddress": {tuple(map(str, PLANTED.customer_address_deleted))},
    "Product": {
        (str(key),)
        for key in (
            PLANTED.product_without_model,
            PLANTED.product_category_changed,
            PLANTED.product_model_back,
            PLANTED.product_bad_price,
            PLANTED.product_early,
        )
    },
    "ProductCategory": {(str(PLANTED.category_renamed),)},
}


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_deliveries(folder):
    """Rows by delivery and table."""
    return {n: {table: read(folder / name / f"{table}.csv") for table in TABLES} for n, name in NAMES.items()}


def write_and_read(folder, customers):
    for number in NAMES:
        write_delivery(folder, number, customers=customers)
    return read_deliveries(folder)


@pytest.fixture(scope="module", params=[20, 21, 57, 131, 400])
def scaled(request, tmp_path_factory):
    return write_and_read(tmp_path_factory.mktemp("scaled"), request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("awlt")
    for number in NAMES:
        write_delivery(folder, number)
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    return read_deliveries(folder)


def key_of(table, row):
    return tuple(row[column] for column in KEYS[table].split(","))


def by_key(table, rows):
    return {key_of(table, row): row for row in rows}


def find(rows, table, *key):
    """The rows of a key per delivery: [[...], [...], [...]]."""
    wanted = tuple(map(str, key))
    return [[row for row in rows[n][table] if key_of(table, row) == wanted] for n in NAMES]


def values(found, column):
    return [[row[column] for row in rows] for rows in found]


def numbers(rows, table, column):
    return {row[column] for row in rows[table]} - {""}


def differing(left, right):
    return {column for column in left if left[column] != right[column]}


# --- files


def test_delivery_is_ten_files_in_a_folder_named_by_its_date(tmp_path):
    target = write_delivery(tmp_path / "deep", 2, customers=20)

    assert target == tmp_path / "deep" / "2024-02-15"
    assert sorted(path.name for path in target.iterdir()) == [f"{table}.csv" for table in sorted(TABLES)]


def test_name_replaces_the_date(tmp_path):
    assert write_delivery(tmp_path, 1, name="first", customers=20) == tmp_path / "first"


def test_same_arguments_give_the_same_bytes(tmp_path, folder):
    for number, name in reversed(NAMES.items()):
        again = write_delivery(tmp_path, number, name=f"n{number}")
        for table in TABLES:
            assert (again / f"{table}.csv").read_bytes() == (folder / name / f"{table}.csv").read_bytes()


@pytest.mark.parametrize("number", [0, DELIVERIES + 1])
def test_unknown_delivery_is_refused(tmp_path, number):
    with pytest.raises(ValueError, match="deliveries 1 to 3"):
        write_delivery(tmp_path, number)


def test_too_few_customers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="20 or more"):
        write_delivery(tmp_path, 1, customers=19)


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_those_of_the_schema(folder, table):
    for name in NAMES.values():
        header = (folder / name / f"{table}.csv").read_text(encoding="utf-8").partition("\n")[0]
        assert header == f"{COLUMNS[table]},rowguid,ModifiedDate"


@pytest.mark.parametrize("table", TABLES)
def test_text_is_utf_8_with_unix_lines_and_null_as_nothing(folder, table):
    for name in NAMES.values():
        content = (folder / name / f"{table}.csv").read_bytes()
        text = content.decode("utf-8")
        assert not content.startswith(b"\xef\xbb\xbf")
        assert b"\r" not in content
        assert text.endswith("\n")
        assert ',"",' not in text
        assert "NULL" not in text


def test_culture_is_padded_and_quoted(folder):
    for name in NAMES.values():
        lines = (folder / name / "ProductModelProductDescription.csv").read_text(encoding="utf-8").splitlines()
        assert {line.split(",")[2] for line in lines[1:]} == {'"en    "', '"fr    "'}


@pytest.mark.parametrize("table", TABLES)
def test_formats_are_those_of_the_schema(rows, table):
    bad_price = (str(PLANTED.product_bad_price),)
    for number in NAMES:
        for row in rows[number][table]:
            for column in (c for c in row if c.endswith("Date") and row[c]):
                assert datetime.strptime(row[column], "%Y-%m-%d %H:%M:%S.%f")
                assert len(row[column]) == len("2024-01-15 00:00:00.000")
            for column in filter(None, MONEY.get(table, "").split(",")):
                if (number, key_of(table, row), column) != (2, bad_price, "ListPrice"):
                    assert -Decimal(row[column]).as_tuple().exponent == 4
            assert row["rowguid"] == row["rowguid"].upper()
            assert [len(part) for part in row["rowguid"].split("-")] == [8, 4, 4, 4, 12]
            assert row.get("NameStyle", "0") in "01"
            assert row.get("OnlineOrderFlag", "0") in "01"
            assert row.get("ThumbNailPhoto", "0x").startswith("0x")


def test_values_try_the_reader(rows):
    assert any("," in row["Name"] for row in rows[1]["Product"])
    assert any('"' in row["Description"] for row in rows[1]["ProductDescription"])
    assert any("\\" in row["SalesPerson"] for row in rows[1]["Customer"])
    assert any(not row["LastName"].isascii() for row in rows[1]["Customer"])
    assert any(row["PostalCode"].startswith("0") for row in rows[1]["Address"])


# --- counts and keys


def test_row_counts_follow_the_number_of_customers(rows):
    counts = {table: len(rows[3][table]) for table in SNAPSHOTS}
    assert counts == {
        "Address": 480 - 1,
        "Customer": 400 - 1 + 1,
        "CustomerAddress": 440 - 3 - 1,
        "Product": 200,
        "ProductCategory": 41,
        "ProductDescription": 200,
        "ProductModel": 100,
        "ProductModelProductDescription": 200,
    }
    orders = {row["SalesOrderID"] for n in NAMES for row in rows[n]["SalesOrderHeader"]}
    lines = {row["SalesOrderDetailID"] for n in NAMES for row in rows[n]["SalesOrderDetail"]}
    assert len(orders) == 600
    assert 3.6 < len(lines) / len(orders) < 4.4


def test_small_sample_has_at_least_sixty_products(tmp_path):
    rows = write_and_read(tmp_path, 20)
    assert len(rows[3]["Product"]) == 60
    assert len({row["CustomerID"] for row in rows[3]["Customer"]}) == 20 - 1
    assert len({row["SalesOrderID"] for n in NAMES for row in rows[n]["SalesOrderHeader"]}) == 30


def test_keys_are_unique_except_where_planted(scaled):
    for number in NAMES:
        repeated = {
            (table, *key)
            for table in TABLES
            for key, count in Counter(key_of(table, row) for row in scaled[number][table]).items()
            if count > 1
        }
        expected = {("Customer", str(PLANTED.customer_duplicate))}
        if number == 2:
            expected |= {
                ("SalesOrderHeader", str(order)) for order in (PLANTED.order_versions, PLANTED.order_status_back)
            }
        assert repeated == expected


def test_rowguid_belongs_to_one_key(scaled):
    guids = {(row["rowguid"], table, key_of(table, row)) for n in NAMES for table in TABLES for row in scaled[n][table]}
    assert len({guid for guid, _, _ in guids}) == len(guids)


@pytest.mark.parametrize(
    ("table", "column"),
    [("Product", "Name"), ("Product", "ProductNumber"), ("ProductModel", "Name"), ("ProductCategory", "Name")],
)
def test_names_are_unique(scaled, table, column):
    for number in NAMES:
        names = [row[column] for row in scaled[number][table]]
        assert len(set(names)) == len(names)


def test_categories_are_two_levels(scaled):
    categories = scaled[3]["ProductCategory"]
    tops = {row["ProductCategoryID"] for row in categories if not row["ParentProductCategoryID"]}
    assert len(categories) == 41
    assert len(tops) == 4
    assert {row["ParentProductCategoryID"] for row in categories} == tops | {""}


# --- references


@pytest.mark.parametrize(
    ("table", "column", "parent", "parent_column"),
    [
        ("CustomerAddress", "CustomerID", "Customer", "CustomerID"),
        ("CustomerAddress", "AddressID", "Address", "AddressID"),
        ("Product", "ProductCategoryID", "ProductCategory", "ProductCategoryID"),
        ("Product", "ProductModelID", "ProductModel", "ProductModelID"),
        ("ProductCategory", "ParentProductCategoryID", "ProductCategory", "ProductCategoryID"),
        ("ProductModelProductDescription", "ProductModelID", "ProductModel", "ProductModelID"),
        ("ProductModelProductDescription", "ProductDescriptionID", "ProductDescription", "ProductDescriptionID"),
        ("SalesOrderHeader", "CustomerID", "Customer", "CustomerID"),
        ("SalesOrderHeader", "ShipToAddressID", "Address", "AddressID"),
        ("SalesOrderHeader", "BillToAddressID", "Address", "AddressID"),
        ("SalesOrderDetail", "ProductID", "Product", "ProductID"),
    ],
)
def test_reference_is_in_the_same_delivery(scaled, table, column, parent, parent_column):
    for number in NAMES:
        unknown = numbers(scaled[number], table, column) - numbers(scaled[number], parent, parent_column)
        early = {str(PLANTED.product_early)} if (table, number) == ("SalesOrderDetail", 2) else set()
        assert unknown == early


def test_order_has_its_lines_no_later_than_its_header(scaled):
    headers, lines = set(), set()
    for number in NAMES:
        headers |= numbers(scaled[number], "SalesOrderHeader", "SalesOrderID")
        lines |= numbers(scaled[number], "SalesOrderDetail", "SalesOrderID")
        assert headers == lines


def test_subtotal_is_the_sum_of_the_latest_lines(scaled):
    lines, headers = {}, {}
    for number in NAMES:
        lines |= by_key("SalesOrderDetail", scaled[number]["SalesOrderDetail"])
        for row in scaled[number]["SalesOrderHeader"]:
            known = headers.get(row["SalesOrderID"], row)
            headers[row["SalesOrderID"]] = max(known, row, key=lambda each: each["ModifiedDate"])
    sums = Counter()
    for row in lines.values():
        quantity = Decimal("2" if row["OrderQty"] == "two" else row["OrderQty"])
        sums[row["SalesOrderID"]] += quantity * Decimal(row["UnitPrice"]) * (1 - Decimal(row["UnitPriceDiscount"]))
    assert {order: Decimal(row["SubTotal"]) for order, row in headers.items()} == dict(sums)


# --- inserts, changes and the watermark


@pytest.mark.parametrize("table", SNAPSHOTS)
@pytest.mark.parametrize("number", [2, 3])
def test_snapshot_has_ordinary_inserts_and_changes(scaled, table, number):
    planted = PLANTED_KEYS.get(table, set())
    before, after = (by_key(table, scaled[n][table]) for n in (number - 1, number))
    inserted = after.keys() - before.keys() - planted
    changed = {key for key in after.keys() & before.keys() - planted if after[key] != before[key]}

    assert inserted
    assert changed
    assert len(inserted) + len(changed) < max(8, 0.2 * len(before))


@pytest.mark.parametrize("table", SNAPSHOTS)
@pytest.mark.parametrize("number", [2, 3])
def test_ordinary_change_bumps_modified_date_and_changes_more_than_that(scaled, table, number):
    before, after = (by_key(table, scaled[n][table]) for n in (number - 1, number))
    for key in after.keys() & before.keys():
        columns = differing(before[key], after[key])
        if columns:
            assert STARTS[number] <= after[key]["ModifiedDate"] < NAMES[number]
            assert before[key]["ModifiedDate"] < after[key]["ModifiedDate"]
            assert len(columns) > 1 or table == "ProductModelProductDescription"


def test_nothing_is_deleted_except_where_planted(scaled):
    deleted = {
        (table, *key, number)
        for table in SNAPSHOTS
        for number in (2, 3)
        for key in by_key(table, scaled[number - 1][table]).keys() - by_key(table, scaled[number][table]).keys()
    }
    assert deleted == {
        ("Customer", str(PLANTED.customer_returned), 2),
        ("Customer", str(PLANTED.customer_returned_changed), 2),
        ("Customer", str(PLANTED.customer_deleted), 3),
        ("Address", "", 3),
        ("Address", str(PLANTED.address_deleted), 3),
        ("CustomerAddress", *map(str, PLANTED.customer_address_deleted), 2),
    }


def test_snapshot_row_is_not_modified_after_its_delivery(scaled):
    for number in NAMES:
        for table in SNAPSHOTS:
            assert all(STARTS[1] <= row["ModifiedDate"] < NAMES[number] for row in scaled[number][table])


@pytest.mark.parametrize("table", ["SalesOrderHeader", "SalesOrderDetail"])
def test_order_rows_are_modified_since_the_delivery_before_except_late_ones(scaled, table):
    for number in NAMES:
        outside = {
            row["SalesOrderID"]
            for row in scaled[number][table]
            if not STARTS[number] <= row["ModifiedDate"] < NAMES[number]
        }
        late = (
            {str(PLANTED.order_late)}
            if table == "SalesOrderDetail"
            else {
                str(PLANTED.order_late),
                str(PLANTED.order_older_version),
            }
        )
        assert outside == (late if number == 3 else set())


def test_open_order_comes_again_when_shipped(rows):
    first = by_key("SalesOrderHeader", rows[1]["SalesOrderHeader"])
    second = by_key("SalesOrderHeader", rows[2]["SalesOrderHeader"])
    again = first.keys() & second.keys()
    assert again == {key for key, row in first.items() if row["Status"] == "1"}
    assert {second[key]["Status"] for key in again} == {"5"}
    assert all(second[key]["ShipDate"] and not first[key]["ShipDate"] for key in again)


def test_line_of_an_open_order_can_change(rows):
    for number in (2, 3):
        before = by_key("SalesOrderDetail", rows[number - 1]["SalesOrderDetail"])
        after = by_key("SalesOrderDetail", rows[number]["SalesOrderDetail"])
        again = before.keys() & after.keys()
        assert again
        assert all(differing(before[key], after[key]) == {"OrderQty", "ModifiedDate"} for key in again)


# --- planted cases, at every scale


def test_customer_phone_goes_back(scaled):
    found = find(scaled, "Customer", PLANTED.customer_phone_back)
    (first,), (second,), (third,) = found
    assert first["Phone"] == third["Phone"] != second["Phone"]
    assert first["ModifiedDate"] < second["ModifiedDate"] < third["ModifiedDate"]
    assert differing(first, second) == {"Phone", "ModifiedDate"}


def test_customer_returns_with_equal_values(scaled):
    (first,), second, (third,) = find(scaled, "Customer", PLANTED.customer_returned)
    assert second == []
    assert first == third


def test_customer_returns_changed(scaled):
    (first,), second, (third,) = find(scaled, "Customer", PLANTED.customer_returned_changed)
    assert second == []
    assert differing(first, third) == {"Phone", "CompanyName", "ModifiedDate"}


def test_customer_is_deleted(scaled):
    (first,), (second,), third = find(scaled, "Customer", PLANTED.customer_deleted)
    assert first == second
    assert third == []


def test_customer_row_stands_twice(scaled):
    found = find(scaled, "Customer", PLANTED.customer_duplicate)
    assert [len(rows) for rows in found] == [2, 2, 2]
    assert all(row == found[0][0] for rows in found for row in rows)


def test_address_row_without_key(scaled):
    keyless = [[row["AddressLine1"] for row in scaled[n]["Address"] if not row["AddressID"]] for n in NAMES]
    assert keyless == [[], [PLANTED.address_without_key_line], []]


def test_address_is_deleted_and_only_an_old_order_names_it(scaled):
    address = str(PLANTED.address_deleted)
    assert [len(rows) for rows in find(scaled, "Address", address)] == [1, 1, 0]
    assert all(address not in numbers(scaled[n], "CustomerAddress", "AddressID") for n in NAMES)
    orders = [
        [row["SalesOrderID"] for row in scaled[n]["SalesOrderHeader"] if row["ShipToAddressID"] == address]
        for n in NAMES
    ]
    assert orders == [[str(PLANTED.orders_of_deleted_customers[0])], [], []]


def test_customer_address_is_deleted_and_its_customer_and_address_stay(scaled):
    customer, address = PLANTED.customer_address_deleted
    assert [len(rows) for rows in find(scaled, "CustomerAddress", customer, address)] == [1, 0, 0]
    for table, key in (("Customer", customer), ("Address", address)):
        (first,), (second,), (third,) = find(scaled, table, key)
        assert first == second == third


def test_deleted_customers_have_orders_only_before(scaled):
    deleted = [PLANTED.customer_returned, PLANTED.customer_returned_changed, PLANTED.customer_deleted]
    orders = [
        {
            row["CustomerID"]: row["SalesOrderID"]
            for row in scaled[n]["SalesOrderHeader"]
            if int(row["CustomerID"]) in deleted
        }
        for n in NAMES
    ]
    assert orders == [
        dict(zip(map(str, deleted), map(str, PLANTED.orders_of_deleted_customers), strict=True)),
        {},
        {},
    ]
    assert all(len(find(scaled, "SalesOrderHeader", order)[0]) == 1 for order in PLANTED.orders_of_deleted_customers)


def test_category_is_renamed(scaled):
    (first,), (second,), (third,) = find(scaled, "ProductCategory", PLANTED.category_renamed)
    assert differing(first, second) == {"Name", "ModifiedDate"}
    assert second == third


def test_product_moves_to_a_new_category(scaled):
    (first,), (second,), (third,) = find(scaled, "Product", PLANTED.product_category_changed)
    new = find(scaled, "ProductCategory", PLANTED.category_new)
    assert differing(first, second) == {"ProductCategoryID", "ModifiedDate"}
    assert second == third
    assert second["ProductCategoryID"] == str(PLANTED.category_new)
    assert [len(rows) for rows in new] == [0, 1, 1]


def test_product_model_goes_back(scaled):
    (first,), (second,), (third,) = find(scaled, "Product", PLANTED.product_model_back)
    assert first["ProductModelID"] == third["ProductModelID"] != second["ProductModelID"]
    assert first["ModifiedDate"] < second["ModifiedDate"] < third["ModifiedDate"]
    assert differing(first, third) == {"ModifiedDate"}


def test_product_without_model(scaled):
    (first,), (second,), (third,) = find(scaled, "Product", PLANTED.product_without_model)
    assert first == second == third
    without = {row["ProductID"] for n in NAMES for row in scaled[n]["Product"] if not row["ProductModelID"]}
    assert without == {str(PLANTED.product_without_model)}


def test_product_has_a_bad_price_once(scaled):
    (first,), (second,), (third,) = find(scaled, "Product", PLANTED.product_bad_price)
    assert second["ListPrice"] == "n/a"
    assert Decimal(first["ListPrice"]) != Decimal(third["ListPrice"])
    assert differing(first, second) == differing(first, third) == {"ListPrice", "ModifiedDate"}


def test_product_comes_after_the_line_that_names_it(scaled):
    product = str(PLANTED.product_early)
    assert [len(rows) for rows in find(scaled, "Product", product)] == [0, 0, 1]
    assert values(find(scaled, "SalesOrderDetail", *PLANTED.order_line_early), "ProductID") == [[], [product], []]
    named = [row for n in NAMES for row in scaled[n]["SalesOrderDetail"] if row["ProductID"] == product]
    assert len(named) == 1


def test_late_order_is_older_than_the_delivery_before(scaled):
    headers = find(scaled, "SalesOrderHeader", PLANTED.order_late)
    lines = [
        [row for row in scaled[n]["SalesOrderDetail"] if row["SalesOrderID"] == str(PLANTED.order_late)] for n in NAMES
    ]
    assert [len(rows) for rows in headers] == [0, 0, 1]
    assert [len(rows) for rows in lines] == [0, 0, 3]
    late = headers[2][0]
    assert NAMES[1] < late["OrderDate"] < late["ModifiedDate"] < NAMES[2]
    assert all(NAMES[1] < row["ModifiedDate"] < NAMES[2] for row in lines[2])


def test_older_version_of_an_order_comes_later(scaled):
    first, (second,), (third,) = find(scaled, "SalesOrderHeader", PLANTED.order_older_version)
    lines = [
        [row for row in scaled[n]["SalesOrderDetail"] if row["SalesOrderID"] == str(PLANTED.order_older_version)]
        for n in NAMES
    ]
    assert first == []
    assert third["ModifiedDate"] < second["ModifiedDate"]
    assert (second["Status"], third["Status"]) == ("5", "1")
    assert [len(rows) for rows in lines] == [0, 3, 0]


def test_order_has_three_versions_out_of_order(scaled):
    first, second, third = find(scaled, "SalesOrderHeader", PLANTED.order_versions)
    assert first == third == []
    assert [row["Status"] for row in second] == ["5", "1", "3"]
    assert [row["Status"] for row in sorted(second, key=lambda row: row["ModifiedDate"])] == ["1", "3", "5"]


def test_order_status_goes_back_within_a_delivery(scaled):
    first, second, third = find(scaled, "SalesOrderHeader", PLANTED.order_status_back)
    assert first == third == []
    assert [row["Status"] for row in sorted(second, key=lambda row: row["ModifiedDate"])] == ["1", "2", "1"]
    assert len({row["ModifiedDate"] for row in second}) == 3
    assert differing(second[0], second[2]) == {"ModifiedDate"}


def test_order_without_ship_to_address(scaled):
    found = find(scaled, "SalesOrderHeader", PLANTED.order_without_ship_to)
    assert values(found, "ShipToAddressID") == [[""], [], []]
    assert all(values(found, "BillToAddressID")[0])
    without = {
        row["SalesOrderID"] for n in NAMES for row in scaled[n]["SalesOrderHeader"] if not row["ShipToAddressID"]
    }
    assert without == {str(PLANTED.order_without_ship_to)}


def test_line_with_a_bad_quantity_is_never_right(scaled):
    assert values(find(scaled, "SalesOrderDetail", *PLANTED.order_line_bad), "OrderQty") == [[], ["two"], []]
    bad = [row for n in NAMES for row in scaled[n]["SalesOrderDetail"] if not row["OrderQty"].isdigit()]
    assert len(bad) == 1
