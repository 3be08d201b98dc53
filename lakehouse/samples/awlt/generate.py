"""Deliveries of the AdventureWorksLT sample: ten CSV files per delivery, in the layout of the SalesLT schema.

Rule: same arguments, same bytes. Eight tables come as full snapshots; order headers and lines come only
when new or modified since the delivery before. Between ordinary inserts and changes sit the cases of
``PLANTED``. Nothing is deleted except where planted.
Source: Microsoft AdventureWorksLT, schema SalesLT, for columns and formats; names and numbers are made up.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from random import Random
from typing import NamedTuple

TABLES: tuple[str, ...] = (
    "Address",
    "Customer",
    "CustomerAddress",
    "Product",
    "ProductCategory",
    "ProductDescription",
    "ProductModel",
    "ProductModelProductDescription",
    "SalesOrderDetail",
    "SalesOrderHeader",
)
DELIVERIES = 3


@dataclass(frozen=True)
class Planted:
    """Keys of the planted cases, equal for every number of customers; ordinary changes leave them alone."""

    customer_phone_back: int = 1
    """CustomerID whose Phone goes A, B, A over the three deliveries; ModifiedDate rises."""
    customer_returned: int = 2
    """CustomerID absent in delivery 2, back in delivery 3 with equal values, ModifiedDate included."""
    customer_returned_changed: int = 3
    """CustomerID absent in delivery 2, back in 3 with another Phone, CompanyName and ModifiedDate."""
    customer_deleted: int = 4
    """CustomerID in deliveries 1 and 2 (equal), absent in delivery 3."""
    customer_duplicate: int = 6
    """CustomerID whose row stands twice, in every column equal, in each delivery; it never changes."""
    address_without_key_line: str = "1 Nowhere Lane"
    """AddressLine1 of the one row with an empty AddressID, in delivery 2 only."""
    address_deleted: int = 2
    """AddressID absent in delivery 3; only an order of delivery 1 refers to it."""
    customer_address_deleted: tuple[int, int] = (5, 5)
    """(CustomerID, AddressID) in delivery 1, absent in 2 and 3; the customer and the address stay."""
    category_renamed: int = 7
    """ProductCategoryID with another Name from delivery 2 on."""
    category_new: int = 40
    """ProductCategoryID that first comes in delivery 2, for ``product_category_changed``."""
    product_without_model: int = 681
    """ProductID with an empty ProductModelID in every delivery; otherwise unchanged too."""
    product_category_changed: int = 682
    """ProductID that moves from category 6 to ``category_new`` in delivery 2 and stays there."""
    product_model_back: int = 683
    """ProductID whose ProductModelID goes 3, 4, 3 over the three deliveries; ModifiedDate rises."""
    product_bad_price: int = 684
    """ProductID with ListPrice ``n/a`` in delivery 2; good in delivery 1 and, with another price, in 3."""
    product_early: int = 685
    """ProductID that an order line of delivery 2 names, but whose own row first comes in delivery 3."""
    order_late: int = 71701
    """SalesOrderID first delivered in delivery 3, lines too, with every date before delivery 2."""
    order_older_version: int = 71702
    """SalesOrderID with Status 5 in delivery 2; in 3 comes its older version (Status 1), without lines."""
    order_versions: int = 71703
    """SalesOrderID with Status 1, 3, 5 at rising ModifiedDate in delivery 2; in the file as 5, 1, 3."""
    order_status_back: int = 71704
    """SalesOrderID with Status 1, 2, 1 at rising ModifiedDate in delivery 2; first and last else equal."""
    order_line_early: tuple[int, int] = (71705, 110042)
    """(SalesOrderID, SalesOrderDetailID) of delivery 2 whose ProductID is ``product_early``."""
    order_without_ship_to: int = 71706
    """SalesOrderID of delivery 1 with an empty ShipToAddressID."""
    order_line_bad: tuple[int, int] = (71707, 110063)
    """(SalesOrderID, SalesOrderDetailID) with OrderQty ``two``, only in delivery 2; SubTotal counts 2."""
    orders_of_deleted_customers: tuple[int, int, int] = (71708, 71709, 71710)
    """SalesOrderIDs of delivery 1, the only ones of the returned, returned changed and deleted customer.

    They ship to the address with the customer's number, the first one so to ``address_deleted``.
    """


PLANTED = Planted()

Row = dict[str, str]
Key = tuple[str, ...]

# Delivery n holds [_CUTS[n - 1], _CUTS[n]); its date is _CUTS[n].
_CUTS = (datetime(2023, 6, 1), datetime(2024, 1, 15), datetime(2024, 2, 15), datetime(2024, 3, 15))
_NAMESPACE = uuid.UUID("6f1d2c1e-3c52-4f0b-9d5e-1f3f8f6b7a10")
_QUOTED = re.compile(r'[",\r\n]|^\s|\s$')
_KEYS: Mapping[str, tuple[str, ...]] = {
    "Address": ("AddressID",),
    "Customer": ("CustomerID",),
    "CustomerAddress": ("CustomerID", "AddressID"),
    "Product": ("ProductID",),
    "ProductCategory": ("ProductCategoryID",),
    "ProductDescription": ("ProductDescriptionID",),
    "ProductModel": ("ProductModelID",),
    "ProductModelProductDescription": ("ProductModelID", "ProductDescriptionID", "Culture"),
    "SalesOrderDetail": ("SalesOrderID", "SalesOrderDetailID"),
    "SalesOrderHeader": ("SalesOrderID",),
}
_FIRST_PRODUCT, _FIRST_PLANTED_LINE, _FIRST_ORDER, _FIRST_LINE = 680, 110001, 71774, 110562
_WITHOUT_ORDINARY_ORDERS = frozenset(
    (PLANTED.customer_returned, PLANTED.customer_returned_changed, PLANTED.customer_deleted)
)

_FIRST_NAMES = (
    "Ada",
    "Bruno",
    "Carla",
    "Dario",
    "Edda",
    "Felix",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kira",
    "Lars",
    "Mona",
    "Nils",
    "Olga",
    "Pavel",
    "Quinn",
    "Rosa",
    "Sven",
    "Tilda",
    "Umar",
    "Vera",
    "Willem",
    "Xenia",
    "Yusuf",
    "Zora",
)
_LAST_NAMES = (
    "Abbott",
    "Bergström",
    "Calder",
    "Dvořák",
    "Ellery",
    "Fontaine",
    "Garrick",
    "Hallam",
    "Ibsen",
    "Jansen",
    "Keller",
    "Lindqvist",
    "Moreau",
    "Núñez",
    "O'Dell",
    "Pruitt",
    "Quist",
    "Radley",
    "Søren",
    "Thorne",
    "Ueda",
    "Vance",
    "Whitlock",
    "Ximenes",
    "Yardley",
    "Zeller",
)
_COMPANY_WORDS = (
    ("Alpine", "Chain", "Downhill", "Freewheel", "Granite", "Harbor", "Juniper", "Kestrel", "Lakeshore"),
    ("Bike", "Cycle", "Wheel", "Pedal", "Touring", "Velo"),
    ("Shop", "Works", "Outlet", "Supply, Inc.", "& Sons", "Company", "Traders"),
)
_SALES_PEOPLE = tuple(f"wheelhouse\\{name}0" for name in ("anouk", "bert", "celia", "dmitri", "esther"))
_STREETS = ("Cedar Lane", "Mill Road", "Quarry St.", "Old Ferry Way", "Rue du Pont", "Station Row")
_PLACES = (
    ("Portland", "Maine", "United States", "04101"),
    ("Boise", "Idaho", "United States", "83702"),
    ("Madison", "Wisconsin", "United States", "53703"),
    ("Flagstaff", "Arizona", "United States", "86001"),
    ("Montréal", "Quebec", "Canada", "H2Y 1C6"),
    ("Halifax", "Nova Scotia", "Canada", "B3H 4R2"),
    ("Leeds", "England", "United Kingdom", "LS1 4AP"),
    ("Bristol", "England", "United Kingdom", "BS1 5TR"),
)
_CATEGORIES: Mapping[str, tuple[str, ...]] = {  # parent, then its children in the singular
    "Bicycles": ("Gravel Bike", "City Bike", "Cargo Bike", "Trail Bike"),
    "Parts": (
        "Gravel Frame",
        "City Frame",
        "Cargo Frame",
        "Trail Frame",
        "Crank",
        "Cassette",
        "Hub",
        "Rim",
        "Rotor",
        "Stem",
        "Seatpost",
        "Saddle",
        "Shifter",
        "Derailleur",
        "Headset",
    ),
    "Apparel": ("Jersey", "Jacket", "Cap", "Glove", "Warmer", "Overshoe", "Bib", "Vest"),
    "Gear": (
        "Helmet",
        "Light",
        "Lock",
        "Pump",
        "Bottle",
        "Cage",
        "Rack",
        "Pannier",
        "Fender",
        "Repair Stand",
    ),
}
_CHILD_CATEGORIES = tuple(chain.from_iterable(_CATEGORIES.values()))
_SERIES = (
    "Ridge",
    "Heron",
    "Comet",
    "Fjord",
    "Basalt",
    "Tempo",
    "Willow",
    "Onyx",
    "Drift",
    "Summit",
    "Delta",
    "Aspen",
)
_COLORS: tuple[str | None, ...] = ("Black", "Red", "Silver", None, "Blue", "Green", "Multi", "Orange")
_SIZES: tuple[str | None, ...] = ("44", "48", "52", "S", "M", "L", None)
_FEATURES = (
    ("sealed bearings", "roulements étanches"),
    ("a hollow axle", "un axe creux"),
    ("light alloy tubes", "des tubes en alliage léger"),
    ('a 29" fit', "un montage 29 pouces"),
    ("reflective seams", "des coutures réfléchissantes"),
    ("tool-free fitting, one hand", "un montage sans outil, d'une seule main"),
)
_QUALITIES = (("Sturdy", "Solide"), ("Quiet", "Discret"), ("All-round", "Polyvalent"), ("Proven", "Éprouvé"))

# Table, key, delivery: the columns set there. From delivery 2 on ModifiedDate is bumped as well.
_EDITS: Mapping[str, Mapping[Key, Mapping[int, Row]]] = {
    "Customer": {
        (f"{PLANTED.customer_phone_back}",): {
            1: {"Phone": "212-555-0101"},
            2: {"Phone": "646-555-0102"},
            3: {"Phone": "212-555-0101"},
        },
        (f"{PLANTED.customer_returned_changed}",): {
            3: {"Phone": "917-555-0103", "CompanyName": "Second Wind Cycles"},
        },
        (f"{PLANTED.customer_address_deleted[0]}",): {},
        (f"{PLANTED.customer_duplicate}",): {},
    },
    "Address": {(f"{PLANTED.customer_address_deleted[1]}",): {}},
    "Product": {
        (f"{PLANTED.product_without_model}",): {1: {"ProductModelID": ""}},
        (f"{PLANTED.product_category_changed}",): {
            1: {"ProductCategoryID": "6"},
            2: {"ProductCategoryID": f"{PLANTED.category_new}"},
        },
        (f"{PLANTED.product_model_back}",): {
            1: {"ProductModelID": "3"},
            2: {"ProductModelID": "4"},
            3: {"ProductModelID": "3"},
        },
        (f"{PLANTED.product_bad_price}",): {2: {"ListPrice": "n/a"}, 3: {"ListPrice": "2345.6700"}},
        (f"{PLANTED.product_early}",): {3: {}},
    },
    "ProductCategory": {
        ("6",): {},
        (f"{PLANTED.category_renamed}",): {2: {"Name": "Freight Bikes"}},
        (f"{PLANTED.category_new}",): {},
    },
    "ProductModel": {("3",): {}, ("4",): {}},
}
# Table, key: the deliveries that lack the row.
_ABSENT: Mapping[str, Mapping[Key, tuple[int, ...]]] = {
    "Customer": {
        (f"{PLANTED.customer_returned}",): (2,),
        (f"{PLANTED.customer_returned_changed}",): (2,),
        (f"{PLANTED.customer_deleted}",): (3,),
    },
    "Address": {(f"{PLANTED.address_deleted}",): (3,)},
    "CustomerAddress": {tuple(map(str, PLANTED.customer_address_deleted)): (2, 3)},
    "Product": {(f"{PLANTED.product_early}",): (1, 2)},
}


class _Stages(NamedTuple):
    """The versions of one planted order: (delivery, Status, ModifiedDate), in the order of the file."""

    customer: int
    ordered: str
    versions: tuple[tuple[int, int, str], ...]


_PLANTED_ORDERS: Mapping[int, _Stages] = {
    PLANTED.order_late: _Stages(7, "2024-01-20", ((3, 5, "2024-01-27"),)),
    PLANTED.order_older_version: _Stages(8, "2024-01-26", ((2, 5, "2024-02-02"), (3, 1, "2024-01-26"))),
    PLANTED.order_versions: _Stages(
        9,
        "2024-01-22",
        (
            (2, 5, "2024-01-29 16:45:00.500"),
            (2, 1, "2024-01-22 08:15:00.000"),
            (2, 3, "2024-01-24 10:30:00.250"),
        ),
    ),
    PLANTED.order_status_back: _Stages(
        11,
        "2024-02-05",
        (
            (2, 1, "2024-02-05 09:00:00.000"),
            (2, 2, "2024-02-06 09:00:00.000"),
            (2, 1, "2024-02-07 09:00:00.000"),
        ),
    ),
    PLANTED.order_line_early[0]: _Stages(12, "2024-01-30", ((2, 5, "2024-02-06"),)),
    PLANTED.order_without_ship_to: _Stages(13, "2023-11-20", ((1, 5, "2023-11-27"),)),
    PLANTED.order_line_bad[0]: _Stages(14, "2024-02-01", ((2, 5, "2024-02-08"),)),
    PLANTED.orders_of_deleted_customers[0]: _Stages(PLANTED.customer_returned, "2023-08-14", ((1, 5, "2023-08-21"),)),
    PLANTED.orders_of_deleted_customers[1]: _Stages(
        PLANTED.customer_returned_changed, "2023-09-04", ((1, 5, "2023-09-11"),)
    ),
    PLANTED.orders_of_deleted_customers[2]: _Stages(PLANTED.customer_deleted, "2023-10-02", ((1, 5, "2023-10-09"),)),
}


class _Line(NamedTuple):
    number: int
    quantity: int
    product: int
    discount: int
    """Percent."""


class _Version(NamedTuple):
    """One state of an order as delivered: its header and the lines it had then."""

    delivery: int
    status: int
    modified: datetime
    lines: tuple[_Line, ...]


class _Order(NamedTuple):
    number: int
    ordered: datetime
    customer: int
    ship_to: int | None
    bill_to: int
    versions: tuple[_Version, ...]
    """In the order of the file."""


def write_delivery(folder: Path, number: int, *, name: str | None = None, customers: int = 400) -> Path:
    """Write delivery ``number`` (1 to 3) as ten CSV files into ``folder/name`` and return that folder.

    ``name`` defaults to the date of the delivery, such as ``2024-01-15``. ``customers`` (20 or more) is the
    number of ordinary customers after delivery 3; the other tables scale with it. Same arguments, same bytes;
    no delivery needs the one before on disk. Files that exist are overwritten, other files are left.

    Raises:
        ValueError: ``number`` is not 1 to 3, or ``customers`` is below 20.
    """
    if not 1 <= number <= DELIVERIES:
        raise ValueError(f"Delivery {number} does not exist; the sample has deliveries 1 to {DELIVERIES}.")
    if customers < 20:
        raise ValueError(f"{customers} customers are too few for the planted cases; pass 20 or more.")
    target = folder / (name or f"{_CUTS[number]:%Y-%m-%d}")
    target.mkdir(parents=True, exist_ok=True)
    orders = [*_generate_planted_orders(), *_generate_orders(customers)]
    for table in _GENERATE_BORN:
        _write_csv(target / f"{table}.csv", _generate_snapshot(table, number, customers=customers))
    _write_csv(target / "SalesOrderDetail.csv", _generate_lines(orders, number))
    _write_csv(target / "SalesOrderHeader.csv", _generate_headers(orders, number))
    return target


def _write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as UTF-8 CSV, NULL as empty; by hand, as csv does not quote a value for an outer blank."""
    remaining = iter(rows)
    first = next(remaining)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(first) + "\n")
        for row in chain((first,), remaining):
            file.write(",".join(map(_quote, row.values())) + "\n")


def _quote(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if _QUOTED.search(value) else value


def _generate_snapshot(table: str, number: int, *, customers: int) -> list[Row]:
    """All rows of a table in delivery ``number``: ordinary changes, new rows, planted edits and deletions."""
    absent, edits = _ABSENT.get(table, {}), _EDITS.get(table, {})
    born = [(delivery, _key(table, row), row) for delivery, row in _GENERATE_BORN[table](customers)]
    state: dict[Key, Row] = {}
    for delivery in range(1, number + 1):
        rng = Random(f"{table} changed in delivery {delivery}")
        if delivery > 1:
            free = [key for key in state if key not in absent and key not in edits]
            for key in rng.sample(free, max(1, len(free) // 25)):
                changed = _change(table, state[key], rng=rng, delivery=delivery)
                state[key] = _modify(state[key], changed, _instant(rng, delivery))
        state.update((key, row) for first, key, row in born if first == delivery)
        for key, edit in edits.items():
            if delivery in edit:
                bumped = _instant(rng, delivery) if delivery > 1 else None
                state[key] = _modify(state[key], edit[delivery], bumped)
    rows = [row for key, row in state.items() if number not in absent.get(key, ())]
    if table == "Customer":
        return rows + _generate_bad_customers(rows)
    return rows + _generate_bad_addresses(rows, number) if table == "Address" else rows


def _modify(row: Row, changed: Row, modified: datetime | None) -> Row:
    return row | changed | ({"ModifiedDate": _stamp(modified)} if modified else {})


def _generate_bad_customers(rows: Sequence[Row]) -> list[Row]:
    """The duplicate row of each delivery."""
    return [next(row for row in rows if row["CustomerID"] == f"{PLANTED.customer_duplicate}")]


def _generate_bad_addresses(rows: Sequence[Row], number: int) -> list[Row]:
    """The row without a key of delivery 2."""
    if number != 2:
        return []
    keyless = rows[-1] | {
        "AddressID": "",
        "AddressLine1": PLANTED.address_without_key_line,
        "rowguid": _guid("Address", ("",)),
        "ModifiedDate": "2024-02-01 12:00:00.000",
    }
    return [keyless]


def _key(table: str, row: Row) -> Key:
    return tuple(row[column] for column in _KEYS[table])


def _guid(table: str, key: Key) -> str:
    return str(uuid.uuid5(_NAMESPACE, "|".join((table, *key)))).upper()


def _row(table: str, modified: datetime, **columns: str | int | None) -> Row:
    """The columns as text (None is NULL), with the rowguid of the key and ModifiedDate at the end."""
    row = {name: "" if value is None else str(value) for name, value in columns.items()}
    row["rowguid"] = _guid(table, _key(table, row))
    row["ModifiedDate"] = _stamp(modified)
    return row


def _stamp(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="milliseconds")


def _money(units: int) -> str:
    """Text of an amount in 1/10000 of the currency, with 4 decimals."""
    return f"{units // 10000}.{units % 10000:04d}"


def _day(rng: Random, delivery: int) -> datetime:
    """A midnight since the delivery before."""
    start = _CUTS[delivery - 1]
    return start + timedelta(days=rng.randrange((_CUTS[delivery] - start).days))


def _instant(rng: Random, delivery: int) -> datetime:
    return _day(rng, delivery) + timedelta(milliseconds=rng.randrange(86_400_000))


def _born(index: int, count: int) -> int:
    """The first delivery of row ``index`` of ``count``: 3 percent, at least one, new in 2, as many in 3."""
    added = max(1, count * 3 // 100)
    if index < count - 2 * added:
        return 1
    return 2 if index < count - added else 3


def _generate_addresses(customers: int) -> Iterator[tuple[int, Row]]:
    rng = Random("Address")
    count = customers * 12 // 10
    for index in range(count):
        born = _born(index, count)
        city, state, country, postal_code = rng.choice(_PLACES)
        yield (
            born,
            _row(
                "Address",
                _day(rng, born),
                AddressID=index + 1,
                AddressLine1=f"{rng.randrange(1, 9999)} {rng.choice(_STREETS)}",
                AddressLine2=f"Suite 1{rng.randrange(100):02d}" if rng.random() < 0.05 else None,
                City=city,
                StateProvince=state,
                CountryRegion=country,
                PostalCode=postal_code,
            ),
        )


def _generate_customers(customers: int) -> Iterator[tuple[int, Row]]:
    rng = Random("Customer")
    for index in range(customers):
        born = _born(index, customers)
        first_name = rng.choice(_FIRST_NAMES)
        secret = hashlib.sha256(f"{first_name} {index}".encode()).digest()
        yield (
            born,
            _row(
                "Customer",
                _day(rng, born),
                CustomerID=index + 1,
                NameStyle=0,
                Title=rng.choice(("Mr.", "Ms.", "Mr.", "Ms.", None)),
                FirstName=first_name,
                MiddleName=f"{rng.choice('ABCDEFGHJKLMNPRSTW')}." if rng.random() < 0.6 else None,
                LastName=rng.choice(_LAST_NAMES),
                Suffix="Jr." if rng.random() < 0.05 else None,
                CompanyName=" ".join(map(rng.choice, _COMPANY_WORDS)),
                SalesPerson=rng.choice(_SALES_PEOPLE),
                EmailAddress=f"{first_name.lower()}{index}@wheelhouse.example",
                Phone=f"{rng.randrange(100, 700)}-555-01{rng.randrange(100):02d}",
                PasswordHash=base64.b64encode(secret).decode(),
                PasswordSalt=base64.b64encode(secret[:5]).decode(),
            ),
        )


def _generate_customer_addresses(customers: int) -> Iterator[tuple[int, Row]]:
    """Main office of each customer, shipping address of each tenth; none for customers deleted once."""
    rng = Random("CustomerAddress")
    addresses = customers * 12 // 10
    for customer in range(1, customers + 1):
        if customer in _WITHOUT_ORDINARY_ORDERS:
            continue
        pairs = [(customer, "Main Office")]
        if customer % 10 == 0:
            pairs.append((_shipping_address(customer, customers), "Shipping"))
        for address, kind in pairs:
            born = max(_born(customer - 1, customers), _born(address - 1, addresses))
            yield (
                born,
                _row("CustomerAddress", _day(rng, born), CustomerID=customer, AddressID=address, AddressType=kind),
            )


def _shipping_address(customer: int, customers: int) -> int:
    return customers + customer // 10 if customer % 10 == 0 else customer


def _generate_categories(_customers: int) -> Iterator[tuple[int, Row]]:
    """Two levels, parents first; always 41 rows."""
    named: list[tuple[int | None, str]] = [(None, name) for name in _CATEGORIES]
    for parent, children in enumerate(_CATEGORIES.values(), start=1):
        named += [(parent, f"{child}s") for child in children]
    for index, (parent_number, name) in enumerate(named):
        born = _born(index, len(named))
        yield (
            born,
            _row(
                "ProductCategory",
                _CUTS[born - 1],
                ProductCategoryID=index + 1,
                ParentProductCategoryID=parent_number,
                Name=name,
            ),
        )


def _count_models(customers: int) -> int:
    return max(30, customers // 4)


def _count_born(count: int, delivery: int) -> int:
    """How many of ``count`` rows are there in ``delivery``."""
    return count - max(1, count * 3 // 100) * (DELIVERIES - delivery)


def _model_child_category(index: int) -> int:
    """Index of the model's child category; the last two are new in deliveries 2 and 3, so not used."""
    return index % (len(_CHILD_CATEGORIES) - 2)


def _model_name(index: int) -> str:
    return f"{_SERIES[index % len(_SERIES)]}-{100 + index} {_CHILD_CATEGORIES[_model_child_category(index)]}"


def _catalog(model: str, revision: int) -> str:
    return f'<?xml version="1.0"?><catalog revision="{revision}"><p>Ride on, {model}.</p></catalog>'


def _generate_models(customers: int) -> Iterator[tuple[int, Row]]:
    rng = Random("ProductModel")
    count = _count_models(customers)
    for index in range(count):
        born, name = _born(index, count), _model_name(index)
        yield (
            born,
            _row(
                "ProductModel",
                _day(rng, born),
                ProductModelID=index + 1,
                Name=name,
                CatalogDescription=_catalog(name, 1) if index % 20 == 0 else None,
            ),
        )


def _generate_descriptions(customers: int) -> Iterator[tuple[int, Row]]:
    """Two per model: an English and a French text."""
    rng = Random("ProductDescription")
    count = _count_models(customers)
    for index in range(count):
        born = _born(index, count)
        quality, feature = rng.choice(_QUALITIES), rng.choice(_FEATURES)
        noun = _CHILD_CATEGORIES[_model_child_category(index)].lower()
        for offset, text in enumerate(
            (
                f"{quality[0]} {noun} with {feature[0]}.",
                f"{quality[1]}, avec {feature[1]} : {_model_name(index)}.",
            )
        ):
            yield (
                born,
                _row(
                    "ProductDescription",
                    _day(rng, born),
                    ProductDescriptionID=2 * index + offset + 1,
                    Description=text,
                ),
            )


def _generate_model_descriptions(customers: int) -> Iterator[tuple[int, Row]]:
    rng = Random("ProductModelProductDescription")
    count = _count_models(customers)
    for index in range(count):
        born = _born(index, count)
        for offset, culture in enumerate(("en", "fr")):
            yield (
                born,
                _row(
                    "ProductModelProductDescription",
                    _day(rng, born),
                    ProductModelID=index + 1,
                    ProductDescriptionID=2 * index + offset + 1,
                    Culture=culture.ljust(6),
                ),
            )


def _generate_products(customers: int) -> Iterator[tuple[int, Row]]:
    """Two per model, born with it, so that a product never names a model that is not delivered."""
    rng = Random("Product")
    models = _count_models(customers)
    for index in range(2 * models):
        model, number = index // 2, _FIRST_PRODUCT + index
        born, price = _born(model, models), _list_price(number)
        color, size = _COLORS[index % len(_COLORS)], rng.choice(_SIZES)
        started, series = _day(rng, born), _SERIES[model % len(_SERIES)]
        yield (
            born,
            _row(
                "Product",
                started,
                ProductID=number,
                Name=f"{_model_name(model)} - {', '.join(filter(None, (color or 'Plain', size)))}",
                ProductNumber=f"{series[:2].upper()}-{number:04d}-{size or 'U'}",
                Color=color,
                StandardCost=_money(price * 55),
                ListPrice=_money(price * 100),
                Size=size,
                Weight=f"{rng.randrange(100, 15000)}.{rng.randrange(100):02d}" if rng.random() < 0.7 else None,
                ProductCategoryID=len(_CATEGORIES) + _model_child_category(model) + 1,
                ProductModelID=model + 1,
                SellStartDate=_stamp(started),
                SellEndDate=None,
                DiscontinuedDate=None,
                ThumbNailPhoto=f"0x474946383961{number:08X}",
                ThumbnailPhotoFileName=f"{series.lower()}_small.gif",
            ),
        )


def _list_price(product: int) -> int:
    """First list price in cents, from the number alone so that orders need no product row."""
    return (product * 7919 % 1990 + 10) * 100 - 1


_GENERATE_BORN: Mapping[str, Callable[[int], Iterator[tuple[int, Row]]]] = {
    "Address": _generate_addresses,
    "Customer": _generate_customers,
    "CustomerAddress": _generate_customer_addresses,
    "Product": _generate_products,
    "ProductCategory": _generate_categories,
    "ProductDescription": _generate_descriptions,
    "ProductModel": _generate_models,
    "ProductModelProductDescription": _generate_model_descriptions,
}


def _change(table: str, row: Row, *, rng: Random, delivery: int) -> Row:
    """The columns of an ordinary change, with at least one new value.

    None in ProductModelProductDescription, which has no column but key, rowguid and ModifiedDate.
    """
    match table:
        case "Address":
            return {"AddressLine2": f"Suite {delivery}{rng.randrange(100):02d}"}
        case "Customer":
            return _change_customer(row, rng=rng, delivery=delivery)
        case "CustomerAddress":
            return {"AddressType": "Shipping" if row["AddressType"] == "Main Office" else "Main Office"}
        case "Product":
            return _change_product(row, rng=rng, delivery=delivery)
        case "ProductCategory":
            return {"Name": f"{row['Name'].partition(' (')[0]} (Line {delivery})"}
        case "ProductDescription":
            return {"Description": f"{row['Description'].partition(' [')[0]} [{delivery}]"}
        case "ProductModel":
            return {"CatalogDescription": _catalog(row["Name"], delivery)}
        case _:
            return {}


def _change_customer(row: Row, *, rng: Random, delivery: int) -> Row:
    """A second last name, or a new phone, at times with a new sales person."""
    kind = rng.randrange(3)
    if kind == 0:
        return {"LastName": f"{row['LastName']}-{rng.choice(_LAST_NAMES)}"}
    phone = {"Phone": f"{delivery + 5}{rng.randrange(100):02d}-555-01{rng.randrange(100):02d}"}
    return phone | {"SalesPerson": rng.choice(_SALES_PEOPLE)} if kind == 1 else phone


def _change_product(row: Row, *, rng: Random, delivery: int) -> Row:
    """Price and cost up by 4 percent; one in four is also no longer sold."""
    raised = {
        column: str((Decimal(row[column]) * Decimal("1.04")).quantize(Decimal("0.0001")))
        for column in ("StandardCost", "ListPrice")
    }
    return raised | {"SellEndDate": _stamp(_CUTS[delivery])} if rng.randrange(4) == 0 else raised


def _generate_planted_orders() -> Iterator[_Order]:
    """The planted orders, each with three lines; customer n is shipped to and billed at address n."""
    for number, stages in _PLANTED_ORDERS.items():
        first_line = _FIRST_PLANTED_LINE + 10 * (number - PLANTED.order_late)
        lines = tuple(_Line(line, 2, _planted_product((number, line)), 0) for line in range(first_line, first_line + 3))
        yield _Order(
            number=number,
            ordered=datetime.fromisoformat(stages.ordered),
            customer=stages.customer,
            ship_to=None if number == PLANTED.order_without_ship_to else stages.customer,
            bill_to=stages.customer,
            versions=tuple(
                _Version(delivery, status, datetime.fromisoformat(modified), lines)
                for delivery, status, modified in stages.versions
            ),
        )


def _planted_product(line: tuple[int, int]) -> int:
    return PLANTED.product_early if line == PLANTED.order_line_early else PLANTED.product_early + line[1] % 10


def _generate_orders(customers: int) -> Iterator[_Order]:
    """Ordinary orders by rising number and OrderDate: 70 percent in delivery 1, 15 in 2 and 15 in 3."""
    rng = Random("SalesOrderHeader")
    count = customers * 3 // 2 - len(_PLANTED_ORDERS)
    added = count * 15 // 100
    number, line = _FIRST_ORDER, _FIRST_LINE
    for delivery, orders in ((1, count - 2 * added), (2, added), (3, added)):
        days = (_CUTS[delivery] - _CUTS[delivery - 1]).days
        products = _orderable_products(customers, delivery)
        for left in range(orders - 1, -1, -1):
            ordered = _CUTS[delivery] - timedelta(days=1 + days * left // orders)
            customer = _pick_customer(rng, _count_born(customers, delivery))
            lines = tuple(
                _Line(line + offset, rng.randrange(1, 13), product, rng.choice((0, 0, 0, 0, 0, 0, 2, 5, 10)))
                for offset, product in enumerate(rng.sample(products, rng.randrange(1, 8)))
            )
            yield _Order(
                number,
                ordered,
                customer,
                _shipping_address(customer, customers),
                customer,
                _ordinary_versions(number, delivery, ordered=ordered, lines=lines),
            )
            number, line = number + 1, line + len(lines)


def _orderable_products(customers: int, delivery: int) -> Sequence[int]:
    count = 2 * _count_born(_count_models(customers), delivery)
    return [n for n in range(_FIRST_PRODUCT, _FIRST_PRODUCT + count) if n != PLANTED.product_early]


def _pick_customer(rng: Random, count: int) -> int:
    customer = rng.randrange(1, count + 1)
    while customer in _WITHOUT_ORDINARY_ORDERS:
        customer = rng.randrange(1, count + 1)
    return customer


def _ordinary_versions(
    number: int, delivery: int, *, ordered: datetime, lines: tuple[_Line, ...]
) -> tuple[_Version, ...]:
    """Shipped after a week; if that is a delivery later, the first line of one in three grows by one then."""
    shipped = ordered + timedelta(days=7)
    if shipped < _CUTS[delivery]:
        return (_Version(delivery, 5, shipped, lines),)
    grown = (lines[0]._replace(quantity=lines[0].quantity + 1), *lines[1:]) if number % 3 == 0 else lines
    return _Version(delivery, 1, ordered, lines), _Version(delivery + 1, 5, shipped, grown)


def _generate_headers(orders: Iterable[_Order], number: int) -> Iterator[Row]:
    for order in orders:
        for version in order.versions:
            if version.delivery == number:
                yield _header(order, version)


def _header(order: _Order, version: _Version) -> Row:
    """The header of one version; SubTotal is the exact sum of its lines, tax 8, freight 2.5 percent."""
    subtotal = sum(_line_total(line) for line in version.lines)
    online = order.number % 10 == 0
    return _row(
        "SalesOrderHeader",
        version.modified,
        SalesOrderID=order.number,
        RevisionNumber=1 if version.status == 1 else 2,
        OrderDate=_stamp(order.ordered),
        DueDate=_stamp(order.ordered + timedelta(days=12)),
        ShipDate=_stamp(order.ordered + timedelta(days=7)) if version.status == 5 else None,
        Status=version.status,
        OnlineOrderFlag=int(online),
        PurchaseOrderNumber=None if online else f"PO{order.number * 7919 % 10**9:09d}",
        AccountNumber=f"10-4020-{order.customer:06d}",
        CustomerID=order.customer,
        ShipToAddressID=order.ship_to,
        BillToAddressID=order.bill_to,
        ShipMethod="CARGO TRANSPORT 5",
        CreditCardApprovalCode=f"{order.number * 31}Vi" if online else None,
        SubTotal=_money(subtotal),
        TaxAmt=_money((subtotal * 8 + 50) // 100),
        Freight=_money((subtotal * 25 + 500) // 1000),
        Comment=None,
    )


def _unit_price(product: int) -> int:
    """Reseller price in cents: 60 percent of the first list price; it ignores later price changes."""
    return _list_price(product) * 60 // 100


def _line_total(line: _Line) -> int:
    """UnitPrice * (1 - UnitPriceDiscount) * OrderQty in 1/10000, exact as cents times percent."""
    return _unit_price(line.product) * (100 - line.discount) * line.quantity


def _generate_lines(orders: Iterable[_Order], number: int) -> Iterator[Row]:
    """Lines that are new (dated by the order) or differ from the version before (dated by the version)."""
    for order in orders:
        known: tuple[_Line, ...] = ()
        for version in order.versions:
            if version.delivery == number:
                modified = version.modified if known else order.ordered
                yield from (_line(order, line, modified) for line in version.lines if line not in known)
            known = version.lines


def _line(order: _Order, line: _Line, modified: datetime) -> Row:
    bad = (order.number, line.number) == PLANTED.order_line_bad
    return _row(
        "SalesOrderDetail",
        modified,
        SalesOrderID=order.number,
        SalesOrderDetailID=line.number,
        OrderQty="two" if bad else line.quantity,
        ProductID=line.product,
        UnitPrice=_money(_unit_price(line.product) * 100),
        UnitPriceDiscount=_money(line.discount * 100),
    )
