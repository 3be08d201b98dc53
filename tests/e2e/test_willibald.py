"""The Willibald case of the Data Vault user group: three deliveries in, each restored from the vault row for row.

Expected rows and figures come from plain Python over the publisher's files, or from the publisher's own text.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from lakehouse import BatchResult, MetadataError, make_views, read_project, restore
from tests.rows import FIRST_DAY, Lake

DATA = Path(__file__).parents[3] / "shared" / "data" / "willibald"
PROJECT = Path(__file__).parent / "willibald"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.load,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real Willibald files are not beside the project"),
]
DELIVERIES = (1, 2, 3)
DATES = {"Geburtsdatum", "Von", "Bis", "Bestelldatum", "Wunschdatum", "LieferDatum", "Kaufdatum"}
DECIMALS = {"Preis", "Rabatt"}
INTEGERS = {"LieferAdrID", "AllgLieferAdrID", "SpezLieferAdrID", "ProduktID", "PosID", "Menge", "Typ", "Rabatt1", "Rabatt2", "Rabatt3"}  # fmt: skip
FILES = {"termintreue": "href_termintreue", "produkt_typ": "ref_produkt_typ"}
"""The files that are not called like their source."""
WEBSHOP = ("kunde", "wohnort", "lieferadresse", "vereinspartner", "produktkategorie", "produkt", "bestellung",
           "position", "lieferung", "lieferdienst", "termintreue", "produkt_typ")  # fmt: skip

INSERTS_UPDATES_DELETES = {
    "kunde": [(50, 16, 1), (61, 43, 0)],
    "wohnort": [(103, 4, 8), (232, 10, 62)],
    "lieferadresse": [(115, 0, 16), (120, 89, 0)],
    "vereinspartner": [(1, 0, 0), (1, 1, 1)],
    "produktkategorie": [(64, 0, 64), (64, 0, 64)],
    "produkt": [(0, 126, 0), (0, 126, 0)],
    "bestellung": [(737, 0, 3), (525, 0, 2)],
    "position": [(1843, 0, 7), (525, 0, 6)],
    "lieferung": [(1818, 0, 0), (550, 0, 0)],
    "lieferdienst": [(2, 0, 2), (0, 0, 0)],
}
"""As the publisher's text says, which has the last two under each other's heading and says 42 for the 43 of the customers."""


@dataclass
class History:
    """The lake after all deliveries, with the result of each run."""

    lake: Lake
    results: dict[int, BatchResult]

    def restored(self, source: str, number: int | None = None) -> Counter:
        """A source's rows from the vault, as of a delivery or now."""
        frame = restore(self.lake.project, source, as_of=moment(number) if number else None,
                        environment=self.lake.environment, spark=self.lake.spark)  # fmt: skip
        return Counter(tuple(row) for row in frame.collect())


def moment(number: int) -> datetime:
    """The load date-time of a delivery."""
    return FIRST_DAY + timedelta(days=number - 1)


def copy_delivery(folder: Path, number: int) -> None:
    """Copies the files of one delivery."""
    shutil.copytree(DATA / "raw" / "Webshop" / f"Testdaten Periode {number}", folder / "webshop" / f"Periode {number}")
    shutil.copytree(DATA / "raw" / "Roadshow" / f"Tag {number}", folder / "roadshow" / f"Tag {number}")


@pytest.fixture(scope="module")
def history(spark, tmp_path_factory) -> Iterator[History]:
    """The project after a run per delivery."""
    lake = Lake(spark, read_project(PROJECT), tmp_path_factory.mktemp("willibald"))
    results = {}
    for number in DELIVERIES:
        copy_delivery(lake.folder / "deliveries", number)
        results[number] = lake.run()
        assert results[number].succeeded, [load.message for load in results[number].loads if load.message]
    yield History(lake, results)
    lake.drop()


def value(column: str, text: str):
    """A delivered value as its type."""
    if text == "":
        return None
    if column in DATES:
        return datetime.strptime(text, "%d.%m.%Y").date()
    if column in DECIMALS:
        return Decimal(text.replace(",", "."))
    return int(text) if column in INTEGERS else text


def rows_of(path: Path) -> list[tuple]:
    """The rows of a file with typed values."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        head, *lines = csv.reader(stream, delimiter=";")
    names = [name.strip() for name in head]
    return [tuple(value(name, text) for name, text in zip(names, line, strict=True)) for line in lines]


def webshop(source: str, number: int) -> list[tuple]:
    """The rows that hold after a delivery: its own file's, or the last file's where it has none."""
    name = f"{FILES.get(source, source)}.csv"
    folders = [DATA / "raw" / "Webshop" / f"Testdaten Periode {n}" for n in range(number, 0, -1)]
    return rows_of(next(path for folder in folders for path in folder.iterdir() if path.name.lower() == name))


def roadshow(number: int) -> list[tuple]:
    """The cash register's rows up to a day; a day's row with the key of a former one would stand for it."""
    days = [rows_of(DATA / "raw" / "Roadshow" / f"Tag {day}" / "RS_Bestellung.csv") for day in range(1, number + 1)]
    return list({(row[0], row[7]): row for rows in days for row in rows}.values())


@pytest.mark.parametrize("number", DELIVERIES)
@pytest.mark.parametrize("source", [source for source in WEBSHOP if source != "produkt_typ"])
def test_every_delivery_of_the_webshop_comes_back_row_for_row(history, source, number):
    expected = Counter(webshop(source, number))

    assert history.restored(source, number) == expected
    assert expected.total() == len(webshop(source, number)) > 0


@pytest.mark.parametrize("number", DELIVERIES)
def test_every_day_of_the_roadshow_comes_back_row_for_row(history, number):
    assert history.restored("rs_bestellung", number) == Counter(roadshow(number))


@pytest.mark.parametrize("source", [*WEBSHOP, "rs_bestellung"])
def test_without_a_moment_what_holds_now_comes_back(history, source):
    expected = roadshow(3) if source == "rs_bestellung" else webshop(source, 3)

    assert history.restored(source) == Counter(expected)


def test_a_reference_table_without_history_knows_only_now(history):
    with pytest.raises(MetadataError, match="ref_produkt_typ keeps no history, so only what holds now is known"):
        history.restored("produkt_typ", 1)


def test_before_the_first_load_there_is_nothing(history):
    frame = restore(history.lake.project, "kunde", as_of=FIRST_DAY - timedelta(days=1),
                    environment=history.lake.environment, spark=history.lake.spark)  # fmt: skip
    assert frame.collect() == []


@pytest.mark.parametrize("source", INSERTS_UPDATES_DELETES)
def test_changes_between_the_deliveries_are_those_that_the_publisher_names(history, source):
    told = [history.results[number][source].counts for number in (2, 3)]

    assert [(c["inserted"], c["updated"], c["deleted"]) for c in told] == INSERTS_UPDATES_DELETES[source]
    assert [history.results[number][source].counts["quarantined"] for number in DELIVERIES] == [0, 0, 0]


def test_hubs_hold_each_key_of_all_sources_once(history):
    lake = history.lake
    of = {
        name: [dict(zip(names(name), row, strict=True)) for n in DELIVERIES for row in webshop(name, n)]
        for name in WEBSHOP
    }
    shows = [dict(zip(names("rs_bestellung"), row, strict=True)) for row in roadshow(3)]

    def keys(*columns):
        return {row[column] for rows, column in columns for row in rows if row[column] is not None}

    orders = keys((of["bestellung"], "BestellungID"), (shows, "BestellungID"))
    lines = {(row["BestellungID"], row["PosID"]) for row in of["position"]}
    lines |= {(row["BestellungID"], row["ProduktID"]) for row in shows}
    customers = keys((of["kunde"], "KundeID"), (of["lieferadresse"], "KundeID"), (of["wohnort"], "KundeID"),
                     (of["bestellung"], "KundeID"), (of["vereinspartner"], "KundeIDVerein"), (shows, "KundeID"))  # fmt: skip
    categories = {k.strip().upper() for k in keys((of["produktkategorie"], "KatID"), (of["produkt"], "KatID"))}

    found = {hub: lake.rows("vault", hub, "count(*)")[0][0] for hub in lake.project.tables if hub.startswith("hub_")}
    assert found == {
        "hub_kunde": len(customers),
        "hub_vereinspartner": len(keys((of["vereinspartner"], "VereinsPartnerID"), (of["kunde"], "VereinsPartnerID"), (shows, "VereinsPartnerID"))),
        "hub_kategorie": len(categories),
        "hub_produkt": 126,
        "hub_lieferadresse": len(keys((of["lieferadresse"], "LieferAdrID"), (of["bestellung"], "AllgLieferAdrID"), (of["position"], "SpezLieferAdrID"), (of["lieferung"], "LieferAdrID"))),
        "hub_lieferdienst": len(keys((of["lieferdienst"], "LieferDienstID"))),
        "hub_bestellung": len(orders),
        "hub_position": len(lines),
    }  # fmt: skip
    assert sum(key.startswith("RS") for key in orders) == lake.rows("vault", "hub_bestellung", "count_if(bestellung_id LIKE 'RS%')")[0][0]  # fmt: skip


def names(source: str) -> list[str]:
    """The column names of a source's first file."""
    first = DATA / "raw" / ("Roadshow/Tag 1" if source == "rs_bestellung" else "Webshop/Testdaten Periode 1")
    wanted = f"{FILES.get(source, source)}.csv"
    path = next(path for path in first.iterdir() if path.name.lower() == wanted)
    return [name.strip() for name in path.read_text(encoding="utf-8-sig").splitlines()[0].split(";")]


def versions(history, table: str, key: str, columns: str) -> list[tuple]:
    """A customer's rows in a satellite, in load order."""
    lake = history.lake
    joined = f"{lake.name('vault', table)} JOIN {lake.name('vault', 'hub_kunde')} AS hub USING (kunde_hk)"
    rows = lake.spark.sql(f"SELECT s.load_datetime, {columns} FROM {joined.replace(' JOIN', ' AS s JOIN', 1)} WHERE kunde_id = '{key}'")  # fmt: skip
    return [tuple(row)[1:] for row in sorted(rows.collect())]


def test_customer_107_changes_and_changes_back(history):
    rows = versions(history, "sat_kunde", "107", "Vorname, Email, deleted_flag")

    assert rows == [
        ("Waltraud", "waltraudthier@web.none", False),
        ("Walter", "walterthier@web.none", False),
        ("Waltraud", "waltraudthier@web.none", False),
    ]


def test_customer_70_goes_and_reappears(history):
    assert versions(history, "sat_kunde", "70", "Name, deleted_flag") == [
        ("Göpfert", False), ("Göpfert", True), ("Göpfert", False),
    ]  # fmt: skip
    assert [sum(row[0] == "70" for row in history.restored("kunde", number)) for number in DELIVERIES] == [1, 0, 1]


def test_customers_of_addresses_alone_have_a_key_and_nothing_else(history):
    lake = history.lake
    keys = lake.rows("vault", "hub_kunde", "kunde_id", "kunde_id IN ('997', '998', '999')")
    assert keys == [("997",), ("998",), ("999",)]
    assert [versions(history, "sat_kunde", key, "Name") for (key,) in keys] == [[], [], []]
    assert sum(row[1] in ("997", "998", "999") for row in history.restored("lieferadresse", 1).elements()) == 6


CLUBS = {
    "12": ["VolleRose", None, "VolleRose"],
    "13": [None, "VolleRose", None],
    "16": ["GlückAuf", "VolleRose", "GlückAuf"],
    "6": ["Blaetterglueck", None, None],
    "213": ["Ruhrmorig", "Ruhrmorig", "Morgenstern"],
}


@pytest.mark.parametrize("customer", CLUBS)
def test_a_customer_changes_its_club_and_back(history, customer):
    """One combination holds at a time; each opening and closing is a row."""
    lake = history.lake
    rows = lake.spark.sql(
        f"SELECT CAST(s.load_datetime AS TIMESTAMP_NTZ), v.vereinspartner_id, s.active_flag FROM {lake.name('vault', 'sat_kunde_vereinspartner')} AS s "
        f"JOIN {lake.name('vault', 'link_kunde_vereinspartner')} AS l USING (link_kunde_vereinspartner_hk) "
        f"JOIN {lake.name('vault', 'hub_kunde')} AS k USING (kunde_hk) "
        f"LEFT JOIN {lake.name('vault', 'hub_vereinspartner')} AS v ON v.vereinspartner_hk = l.vereinspartner_hk "
        f"WHERE k.kunde_id = '{customer}'"
    ).collect()
    expected, before = [], "nothing"
    for number, club in enumerate(CLUBS[customer], 1):
        if club != before:
            expected += [(number, before, False)] if before != "nothing" else []
            expected += [(number, club, True)]
        before = club
    days = {(moment(number)).replace(tzinfo=None): number for number in DELIVERIES}
    assert sorted(((days[r[0]], r[1], r[2]) for r in rows), key=repr) == sorted(expected, key=repr)
    for number in DELIVERIES:
        assert [row[1] for row in history.restored("kunde", number) if row[0] == customer] == [
            CLUBS[customer][number - 1]
        ]


def test_deleted_orders_are_gone_from_their_delivery_on(history):
    gone = {2: {"99", "220", "465"}, 3: {"1470", "1288"}}
    there = {number: {row[0] for row in history.restored("bestellung", number)} for number in DELIVERIES}
    assert {number: there[number - 1] - there[number] for number in gone} == gone


def test_open_orders_are_those_that_the_publisher_counts(history):
    """An order is open while one of its positions was not delivered: 20 after the first week, then 30, then 32."""
    found = []
    for number in DELIVERIES:
        delivered = {row[:2] for row in history.restored("lieferung", number)}
        found.append(len({row[0] for row in history.restored("position", number) if row[:2] not in delivered}))
    assert found == [20, 30, 32]


def test_an_order_number_used_twice_by_the_roadshow_loses_nothing(history):
    """Its key has the product, so the two orders of the second day that the third day's take the number of stay: 336 EUR."""
    rows = list(history.restored("rs_bestellung").elements())
    revenue = sum(row[8] * row[9] for row in rows)
    last_day = {order: max(row[3] for row in rows if row[0] == order) for order in {row[0] for row in rows}}

    assert revenue == Decimal("340511.65")
    assert revenue - sum(row[8] * row[9] for row in rows if row[3] == last_day[row[0]]) == 336


def test_the_tree_of_categories_is_another_one_after_each_delivery(history):
    """The text says three different trees; in the files the third is the first one again."""
    trees = [{row[0].strip(): row[1] for row in history.restored("produktkategorie", number)} for number in DELIVERIES]

    assert [len(tree) for tree in trees] == [64, 64, 64]
    assert trees[0] != trees[1]
    assert trees[2] == trees[0]
    roots = [sum(parent is None for parent in tree.values()) for tree in trees]
    assert roots == [3, 3, 3]


def test_a_deliveries_punctuality_is_judged_by_the_codes_of_its_time(history):
    """The historised reference table: from the second delivery on, a day early is punctual."""
    judged = [{row[:2]: row[3] for row in history.restored("termintreue", number)} for number in DELIVERIES]
    assert [len(codes) for codes in judged] == [9, 10, 10]
    assert ("-1", "1") not in judged[0]
    assert judged[1][("-1", "1")] == judged[2][("-1", "1")] == "pünktlich"


def test_views_stand_beside_the_tables(history):
    lake = history.lake
    result = make_views(lake.project, environment=lake.environment, spark=lake.spark)

    assert result.passed_over == {}
    assert len(result.made) == 2 * 19 + 13
    assert Counter(lake.rows("vault", "kunde_as_of")) == Counter(sorted(webshop("kunde", 3), key=repr))
    assert len(lake.rows("vault", "sat_wohnort_current")) == 965
    held = "effective_from <= TIMESTAMP '2000-01-02' AND TIMESTAMP '2000-01-02' < effective_to AND NOT deleted_flag"
    assert len(lake.rows("vault", "sat_wohnort_history", where=held)) == 795
    assert len(lake.rows("vault", "sat_kunde_history", where=held)) == 349
    assert lake.rows("vault", "sat_kunde_history", "max(effective_to)") == lake.rows("vault", "hub_kunde", "TIMESTAMP '9999-12-31'")[:1]  # fmt: skip


def test_the_same_files_again_add_nothing(history):
    lake = history.lake
    shutil.copytree(
        DATA / "raw" / "Webshop" / "Testdaten Periode 3", lake.folder / "deliveries" / "webshop" / "Periode 4"
    )
    again = lake.run()

    assert again.succeeded
    assert again.written() == 0


def test_duplicates_and_rows_without_a_key_are_told(spark, tmp_path_factory):
    """The publisher's rows that "have the potential to cause an abort while loading", beside the first delivery."""
    lake = Lake(spark, read_project(PROJECT), tmp_path_factory.mktemp("extra"))
    folder = lake.folder / "deliveries" / "webshop" / "Periode 1"
    folder.mkdir(parents=True)
    raw = DATA / "raw" / "Webshop" / "Testdaten Periode 1"
    for name, extra in (("produkt", "produkt_dubletten"), ("lieferdienst", "lieferdienst_missing_bk")):
        shutil.copy(raw / f"{name}.csv", folder / f"{name}.csv")
        shutil.copy(DATA / "extra" / f"{extra}.csv", folder / f"{name}.{extra}.csv")
    result = lake.run("produkt", "lieferdienst", "hub_produkt", "hub_lieferdienst", "sat_produkt", "sat_lieferdienst")
    assert result.succeeded, [load.message for load in result.loads if load.message]

    counts = {name: result[name].counts for name in ("produkt", "lieferdienst")}
    assert {name: (c["read"], c["inserted"], c["duplicate"], c["quarantined"]) for name, c in counts.items()} == {
        "produkt": (128, 126, 1, 1),
        "lieferdienst": (82, 80, 0, 2),
    }
    rejected = lake.rows("persistent_stage", "quarantine", "source, rule, get_json_object(delivered_row, '$.Name')")  # fmt: skip
    assert [row for row in rejected if row[0] == "lieferdienst"] == [
        ("lieferdienst", "missing_key", "Femen AG"), ("lieferdienst", "missing_key", "Schalalala OHG"),
    ]  # fmt: skip
    assert [row[:2] for row in rejected if row[0] == "produkt"] == [("produkt", "key_not_unique")]

    restored = restore(lake.project, "lieferdienst", environment=lake.environment, spark=spark).collect()
    assert Counter(tuple(row) for row in restored) == Counter(rows_of(raw / "lieferdienst.csv"))
    products = {
        row[0]: tuple(row)
        for row in restore(lake.project, "produkt", environment=lake.environment, spark=spark).collect()
    }
    delivered = rows_of(raw / "produkt.csv")
    assert {key: row for key, row in products.items() if key != 21} == {
        row[0]: row for row in delivered if row[0] != 21
    }
    both = [row for row in [*delivered, *rows_of(DATA / "extra" / "produkt_dubletten.csv")] if row[0] == 21]
    assert len(both) == 2
    assert products[21] in both
    lake.drop()


def test_dates_are_dates(history):
    """What the files write as 05.03.2022 is the fifth of March."""
    assert min(row[3] for row in history.restored("bestellung", 1)) == date(2022, 3, 5)
