"""SQL text: names, types, hashes and expressions -> text, and the SQL of the sample's loads as golden files.

``UPDATE_GOLDEN=1`` writes the golden files anew.
"""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
from pathlib import Path

import pytest
import sqlglot

from lakehouse import sql
from lakehouse.errors import suggestion
from lakehouse.kinds import read_project
from lakehouse.names import PREFIXES, SYSTEM_COLUMNS
from lakehouse.names import hash_key as hash_key_name
from lakehouse.names import surrogate_key as surrogate_key_name
from lakehouse.samples.project import SAMPLES
from lakehouse.show import shown_sql
from lakehouse.sql.ddl import TableDefinition, TargetColumn, add_columns, create_table
from lakehouse.sql.expressions import column_references, infer_type, non_deterministic
from lakehouse.sql.hashing import (
    canonical_text,
    fingerprint,
    is_missing,
    joined,
    key_text,
    surrogate_key,
)
from lakehouse.sql.identifiers import literal, quote, quote_list, quote_table, verbatim
from lakehouse.sql.select import Select
from lakehouse.sql.types import PLAIN, convert, from_text, same_family

GOLDEN = Path(__file__).parents[1] / "golden"
MODULES = [
    *(module.name for module in pkgutil.iter_modules(sql.__path__, "lakehouse.sql.")),
    "lakehouse.names",
    "lakehouse.errors",
    "lakehouse.metadata.source",
]
TYPES = [*PLAIN, "decimal(19,4)"]


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings_hold(module):
    result = doctest.testmod(importlib.import_module(module))

    assert result.failed == 0


def test_there_are_examples():
    found = [doctest.DocTestFinder().find(importlib.import_module(module)) for module in MODULES]

    assert sum(len(test.examples) for tests in found for test in tests) >= 15


@pytest.mark.parametrize(
    ("name", "expected"),
    [("order", "`order`"), ("a`b", "`a``b`"), ("a b", "`a b`"), ("a{b}", "`a{{b}}`"), ("größe", "`größe`")],
)
def test_name_is_quoted(name, expected):
    assert quote(name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("it's", r"'it\'s'"), ("a\\b", r"'a\\b'"), ("{x}", "'{{x}}'"), ("", "''"), ("\\'", r"'\\\''")],
)
def test_text_is_a_literal(text, expected):
    assert literal(text) == expected


def test_levels_of_a_table_name_that_are_empty_are_left_out():
    assert quote_table("", "vault", "hub_customer") == "`vault`.`hub_customer`"
    assert quote_table("dev", "vault", "hub_customer") == "`dev`.`vault`.`hub_customer`"


def test_names_are_listed_under_an_alias():
    assert quote_list(["a", "b"]) == "`a`, `b`"
    assert quote_list(["a", "b"], alias="target") == "target.`a`, target.`b`"
    assert quote_list([]) == ""


def test_braces_of_user_text_are_no_markers():
    select = Select(f"SELECT {verbatim('map_filter(m, {x})')}, {literal('{y}')} FROM {{source}}")

    assert select.relations == ("source",)
    assert select.text(source="`t`") == "SELECT map_filter(m, {x}), '{y}' FROM `t`"


def test_relation_without_a_table_stands_under_its_own_name():
    assert Select("SELECT 1 FROM {source} JOIN {target}").text(target="`t`") == "SELECT 1 FROM source JOIN `t`"


@pytest.mark.parametrize(
    ("data_type", "expected"),
    [
        ("string", "x"),
        ("int", "CAST(x AS STRING)"),
        ("decimal(19,4)", "CAST(x AS STRING)"),
        ("boolean", "CAST(x AS STRING)"),
        ("date", "CAST(x AS STRING)"),
        ("binary", "hex(x)"),
        ("variant", "to_json(x)"),
        ("double", "CAST(CASE WHEN x = 0 THEN CAST(0 AS DOUBLE) ELSE x END AS STRING)"),
    ],
)
def test_value_has_one_text_per_type(data_type, expected):
    assert canonical_text("x", data_type) == expected


def test_text_of_a_timestamp_is_utc_in_every_session():
    assert "'timeZone', 'UTC'" in canonical_text("x", "timestamp")


def test_only_text_is_trimmed_and_upper_cased_in_a_key():
    assert key_text("x", "string") == "upper(trim(x))"
    assert key_text("x", "int") == "CAST(x AS STRING)"


def test_parts_of_a_text_carry_their_length_and_null_its_own_sign():
    assert joined(["a", "b"]) == (
        "concat(coalesce(concat(char_length(a), ':', a), '-'), coalesce(concat(char_length(b), ':', b), '-'))"
    )


def test_fingerprint_tells_null_from_any_value():
    assert fingerprint([("a", "int"), ("b", "variant")]) == "xxhash64(a IS NULL, a, b IS NULL, to_json(b))"
    assert fingerprint([]) == "CAST(0 AS BIGINT)"


def test_surrogate_key_is_a_hash_of_the_canonical_texts():
    assert surrogate_key([("a", "string")]) == "xxhash64(coalesce(concat(char_length(a), ':', a), '-'))"


def test_blank_text_is_a_missing_key():
    assert is_missing("a", "string") == "(a IS NULL OR trim(a) = '')"
    assert is_missing("a", "int") == "a IS NULL"


@pytest.mark.parametrize("data_type", TYPES)
def test_texts_of_a_type_are_one_expression_each(data_type):
    for text in (canonical_text("a", data_type), key_text("a", data_type), from_text("a", data_type)):
        assert {name for _, name in column_references(text)} == {"a"}


@pytest.mark.parametrize("data_type", TYPES)
def test_value_that_cannot_be_read_is_null_and_no_error(data_type):
    assert from_text("a", data_type) == "a" or from_text("a", data_type).startswith("try_")
    assert convert("a", data_type) == "a" or convert("a", data_type).startswith("try_")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("int", "bigint", True),
        ("tinyint", "smallint", True),
        ("string", "string", True),
        ("int", "string", False),
        ("date", "timestamp", False),
        ("float", "double", False),
        ("decimal(10,0)", "int", False),
        ("decimal(10,2)", "decimal(12,2)", False),
    ],
)
def test_types_of_one_key_have_the_same_texts(left, right, same):
    assert same_family(left, right) is same_family(right, left) is same


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("upper(a.name) || city", [("a", "name"), ("", "city")]),
        ("`we ird`", [("", "we ird")]),
        ("count(*)", []),
        ("transform(xs, x -> x + y)", [("", "xs"), ("", "y")]),
        ("xs[0]", [("", "xs")]),
        ("concat(a, '--', b)", [("", "a"), ("", "b")]),
        ("a /* why */ + b", [("", "a"), ("", "b")]),
        ("CASE WHEN a THEN b END", [("", "a"), ("", "b")]),
        ("interval 3 days", []),
    ],
)
def test_expression_to_the_columns_that_it_names(expression, names):
    assert list(column_references(expression)) == names


@pytest.mark.parametrize(
    "text",
    ["", " ", "*", "a.*", "a, b", "a,", "a AS b", "a b", "a FROM t", "a WHERE b", "a LIMIT 1", "a ORDER BY b",
     "a UNION SELECT b", "a; b", "DISTINCT a", "a +", "upper(a", "'a", "a -- why", "a) + (b"],
)  # fmt: skip
def test_text_that_is_no_single_expression(text):
    with pytest.raises(ValueError, match=r"^[a-z].*[^.]$") as caught:
        column_references(text)

    assert "sqlglot" not in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    ["now()", "current_date", "current_date()", "CURRENT_TIMESTAMP", "unix_timestamp()", "rand()", "rand(7)", "randn()",
     "random()", "uuid()", "shuffle(a)", "localtimestamp()", "monotonically_increasing_id()", "date_add(now(), a)"],
)  # fmt: skip
def test_clock_and_chance_are_found(expression):
    assert non_deterministic(expression)


@pytest.mark.parametrize("expression", ["a", "unix_timestamp(a)", "to_date(a)", "'now()'", "year(current_day)"])
def test_expression_over_columns_repeats(expression):
    assert non_deterministic(expression) is None


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", "int"),
        ("A", "int"),
        ("`a`", "int"),
        ("s.b", "date"),
        ("unknown", ""),
        ("a + 1", ""),
        ("upper(c)", "string"),
        ("concat_ws(' ', c, c)", "string"),
    ],
)
def test_type_of_an_expression_where_it_is_sure(expression, expected):
    assert infer_type(expression, {"a": "int", "s.b": "date", "c": "string"}) == expected


def test_definition_of_a_table_to_create_table():
    columns = (TargetColumn("id", "int", required=True), TargetColumn("name", "string", "It's {a}"))

    assert create_table("`v`.`t`", TableDefinition(columns, "All", ("id",), (("delta.x", "1"),))) == (
        "CREATE TABLE IF NOT EXISTS `v`.`t` (\n  `id` INT NOT NULL,\n  `name` STRING COMMENT 'It\\'s {a}'\n)\n"
        "USING DELTA\nCLUSTER BY (`id`)\nCOMMENT 'All'\nTBLPROPERTIES ('delta.x' = '1')"
    )


def test_added_column_is_never_required():
    assert add_columns("`t`", [TargetColumn("id", "int", required=True)]) == "ALTER TABLE `t` ADD COLUMNS (`id` INT)"


def test_hub_and_link_of_one_noun_have_two_hash_keys():
    assert hash_key_name("hub_sales_order") != hash_key_name("link_sales_order")


def test_prefix_alone_is_a_name():
    assert [surrogate_key_name(prefix) for prefix in PREFIXES] == [f"{prefix}_key" for prefix in PREFIXES]


def test_system_columns_are_lower_case():
    assert all(name == name.lower() for name in SYSTEM_COLUMNS)


def test_suggestion_finds_a_name_in_other_letters():
    assert suggestion("HUB_CUSTOMER", ["hub_customer"]) == "Known: hub_customer. Did you mean 'hub_customer'?"


def test_suggestion_shows_30_names_at_most():
    text = suggestion("x", [f"t{number:02}" for number in range(31)])

    assert text.startswith("Known: t00, t01,")
    assert text.endswith("t29, … (31 in all).")


PROJECT = read_project(SAMPLES["awlt"])
SHOWN = [
    "hub_customer",
    "link_sales_order",
    "sat_customer_contact",
    "dim_product",
    "fact_sales_line",
    "customer",
]


KINDS = read_project(GOLDEN / "kinds")
OTHER_KINDS = ["sat_phone", "sat_membership", "sat_customer_status", "sat_customer_seen", "link_sale", "sat_sale_remark",
               "ref_culture", "ref_culture_history", "pit_customer", "bridge_club", "bridge_club_now"]  # fmt: skip
EXTERNAL = read_project(GOLDEN / "external")
EXTERNAL_TABLES = ["hub_customer", "link_order", "sat_customer", "sat_phone", "sat_order", "sat_pair"]


@pytest.mark.parametrize(
    ("project", "folder", "name"),
    [
        *((PROJECT, GOLDEN, name) for name in SHOWN),
        *((KINDS, GOLDEN / "kinds", name) for name in OTHER_KINDS),
        *((EXTERNAL, GOLDEN / "external", name) for name in EXTERNAL_TABLES),
    ],
    ids=[*SHOWN, *OTHER_KINDS, *(f"external {name}" for name in EXTERNAL_TABLES)],
)
def test_sql_of_a_load_is_the_golden_one(project, folder, name):
    file = folder / f"{name}.sql"
    text = shown_sql(project, project.environment(), name) + "\n"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.write_text(text, encoding="utf-8")

    assert text == file.read_text(encoding="utf-8"), f"{file.name} differs; if so intended: UPDATE_GOLDEN=1"


@pytest.mark.parametrize("name", [*PROJECT.sources, *PROJECT.tables])
def test_shown_sql_does_not_depend_on_the_order_of_reading(name):
    again = read_project(SAMPLES["awlt"])

    assert shown_sql(PROJECT, PROJECT.environment(), name) == shown_sql(again, again.environment(), name)


@pytest.mark.parametrize("name", PROJECT.tables)
def test_select_of_a_load_parses_and_never_writes_star_to_the_target(name):
    load = PROJECT.table(name)

    tree = sqlglot.parse_one(load.select.text(), dialect="spark")

    assert {*load.definition.names} - {"load_position"} <= {*tree.named_selects} or tree.is_star
