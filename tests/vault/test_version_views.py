"""Current and history views: rows of a table in, rows of the view out, on DataFrames."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse import read_project
from lakehouse.vault.version_views import current_select, history_select
from tests.rows import local_frame

pytestmark = pytest.mark.load
PROJECT = read_project(Path(__file__).parents[1] / "golden" / "kinds")
END = "9999-12-31 00:00:00"


def day(number: int) -> str:
    return f"2024-01-{number:02} 00:00:00"


@pytest.fixture
def shown(spark):
    """Rows that a view shows over a table's rows, given by some of its columns and sorted; keys and times are text."""

    def show(select, table, columns, rows, *, wanted, project=PROJECT):
        names, types = [name.strip() for name in columns.split(",")], {}
        for column in project.table(table).definition.columns:
            types[column.name] = "string" if column.type == "binary" else column.type
        texts = [[value if value is None else str(value) for value in row] for row in rows]
        given = local_frame(spark, texts, ", ".join(f"`{name}` STRING" for name in names))
        values = {**dict.fromkeys(types, "NULL"), **{name: f"`{name}`" for name in names}}
        full = given.selectExpr(*(f"CAST({values[name]} AS {kind}) AS `{name}`" for name, kind in types.items()))
        view = select(project, table).on(spark, {table: full})
        kinds = dict(view.dtypes)
        shown = [
            f"CAST(`{name}` AS STRING)" if kinds[name] == "timestamp" else f"`{name}`" for name in wanted.split(", ")
        ]
        return sorted((tuple(row) for row in view.selectExpr(*shown).collect()), key=repr)

    return show


def codes(rows):
    return "ref_culture_history", "CultureID, Name, deleted_flag, load_datetime", rows


EN_DE = codes([("en", "English", False, day(1)), ("de", "German", False, day(1)), ("de", "Deutsch", False, day(3))])


def test_current_is_the_last_version_of_each_key(shown):
    assert shown(current_select, *EN_DE, wanted="CultureID, Name") == [("de", "Deutsch"), ("en", "English")]


def test_a_version_holds_until_the_next_one_of_its_key(shown):
    assert shown(history_select, *EN_DE, wanted="CultureID, Name, effective_from, effective_to") == [
        ("de", "Deutsch", day(3), END),
        ("de", "German", day(1), day(3)),
        ("en", "English", day(1), END),
    ]


def test_a_late_version_splits_the_one_before_it(shown):
    _, columns, rows = EN_DE
    late = [*rows, ("de", "Alemannic", False, day(2))]
    assert shown(history_select, "ref_culture_history", columns, late, wanted="Name, effective_from, effective_to") == [
        ("Alemannic", day(2), day(3)),
        ("Deutsch", day(3), END),
        ("English", day(1), END),
        ("German", day(1), day(2)),
    ]


def test_a_deleted_key_is_not_current_and_ends_the_version_before(shown):
    given = codes([("de", "German", False, day(1)), ("de", "German", True, day(2))])
    assert shown(current_select, *given, wanted="CultureID") == []
    assert shown(history_select, *given, wanted="deleted_flag, effective_from, effective_to") == [
        (False, day(1), day(2)),
        (True, day(2), END),
    ]


def test_a_key_that_returns_is_current_again(shown):
    given = codes([("de", "German", False, day(1)), ("de", "German", True, day(2)), ("de", "German", False, day(3))])
    assert shown(current_select, *given, wanted="CultureID, load_datetime") == [("de", day(3))]


def test_the_open_end_is_null_by_setting(shown, tmp_path):
    text = (Path(__file__).parents[1] / "golden" / "kinds" / "lakehouse.yml").read_text(encoding="utf-8")
    (tmp_path / "lakehouse.yml").write_text(text + "settings: {open_end: 'null'}\n", encoding="utf-8")
    project = read_project(tmp_path)
    assert shown(history_select, *EN_DE, wanted="Name, effective_to", project=project) == [
        ("Deutsch", None),
        ("English", None),
        ("German", day(3)),
    ]


PHONES = "customer_hk, PhoneType, Number, deleted_flag, load_datetime"
SETS = [
    ("k1", "home", "1", False, day(1)), ("k1", "work", "2", False, day(1)),
    ("k1", "home", "1", False, day(2)), ("k1", "work", "3", False, day(2)), ("k1", "car", "4", False, day(2)),
    ("k2", "home", "9", False, day(1)), ("k2", "home", "9", True, day(3)),
]  # fmt: skip


def test_a_set_is_current_as_a_whole(shown):
    assert shown(current_select, "sat_phone", PHONES, SETS, wanted="customer_hk, PhoneType, Number") == [
        ("k1", "car", "4"), ("k1", "home", "1"), ("k1", "work", "3"),
    ]  # fmt: skip


def test_a_set_holds_until_the_next_set_of_its_key(shown):
    wanted = "customer_hk, PhoneType, Number, effective_from, effective_to"
    assert shown(history_select, "sat_phone", PHONES, SETS, wanted=wanted) == [
        ("k1", "car", "4", day(2), END),
        ("k1", "home", "1", day(1), day(2)),
        ("k1", "home", "1", day(2), END),
        ("k1", "work", "2", day(1), day(2)),
        ("k1", "work", "3", day(2), END),
        ("k2", "home", "9", day(1), day(3)),
        ("k2", "home", "9", day(3), END),
    ]


def test_an_equal_row_twice_in_a_set_is_shown_twice_and_not_four_times(shown):
    rows = [("k1", "home", "1", False, day(1)), ("k1", "home", "1", False, day(1))]
    assert len(shown(history_select, "sat_phone", PHONES, rows, wanted="PhoneType")) == 2


def test_combinations_that_hold_and_keys_that_are_there_are_current(shown):
    memberships = [
        ("a", True, day(1)),
        ("a", False, day(2)),
        ("b", True, day(2)),
        ("c", False, day(1)),
        ("c", True, day(3)),
    ]
    columns = "link_membership_hk, active_flag, load_datetime"
    assert shown(current_select, "sat_membership", columns, memberships, wanted="link_membership_hk") == [
        ("b",),
        ("c",),
    ]

    states = [("a", "I", day(1)), ("a", "D", day(2)), ("b", "I", day(1)), ("b", "U", day(4))]
    columns = "customer_hk, status, load_datetime"
    assert shown(current_select, "sat_customer_status", columns, states, wanted="customer_hk, status") == [("b", "U")]
    assert shown(history_select, "sat_customer_status", columns, states, wanted="customer_hk, effective_to") == [
        ("a", day(2)), ("a", END), ("b", day(4)), ("b", END),
    ]  # fmt: skip


@pytest.mark.parametrize("table", ["hub_customer", "link_sale", "sat_customer_seen", "sat_sale_remark", "ref_culture"])
def test_what_has_no_versions_has_no_such_view(table):
    assert current_select(PROJECT, table) is None
    assert history_select(PROJECT, table) is None
