"""A project: YAML -> frozen values, their settings, types and short forms, and the JSON Schema of all of it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lakehouse.errors import MetadataError
from lakehouse.kinds import read_project, registry
from lakehouse.metadata.batch import Batch
from lakehouse.metadata.connection import DeltaConnection, FilesConnection
from lakehouse.metadata.environment import Environment
from lakehouse.metadata.json_schema import project_schema
from lakehouse.metadata.located_yaml import read_yaml
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.source import Changes, Source, SourceColumn, overlap_interval
from lakehouse.samples.project import MINIMAL, SAMPLES
from lakehouse.sql.types import parse_type

SAMPLE = SAMPLES["awlt"]
PROJECT = """\
name: shop
settings:
  delete_guard: 10%
  unknown_text: none
  hash_algorithm: sha256
  open_end: "null"
connections:
  files:
    kind: files
    path: ./deliveries
    settings:
      delete_guard: 20%
      unknown_text: nothing
      checkpoint_rows: 7
batches:
  daily:
    select: [customer, "*_customer"]
    settings:
      delete_guard: 30%
      unknown_text: nobody
  weekly:
    select: purchase
    settings: {allow_empty: true}
sources:
  customer:
    connection: files
    object: customer
    key: id
    columns: {id: int, name: string}
    settings:
      delete_guard: 40%
  purchase:
    connection: files
    object: purchase
    key: [id, line]
    columns: {id: int, line: int}
tables:
  hub_customer:
    kind: hub
    business_key: customer_no
    sources: {customer: id}
    settings:
      delete_guard: 50
  sat_customer:
    kind: satellite
    parent: hub_customer
    source: customer
    columns: name
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The project above, read in its folder, so that places name the file alone."""
    (tmp_path / "lakehouse.yml").write_text(PROJECT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return read_project(".")


def resolved(project, name: str) -> dict[str, tuple[Any, str]]:
    """Each setting of a source or table: its value and where it came from."""
    return {setting.name: (setting.value, setting.origin) for setting in project.resolved_settings(name)}


def test_sample_has_no_problems():
    project = read_project(SAMPLE)

    assert (project.name, len(project.sources), len(project.tables)) == ("awlt", 10, 36)


def test_project_may_be_named_by_its_file():
    assert read_project(SAMPLE / "lakehouse.yml").tables.keys() == read_project(SAMPLE).tables.keys()


def test_every_file_adds_to_the_project(tmp_path):
    (tmp_path / "vault").mkdir()
    (tmp_path / "lakehouse.yml").write_text(PROJECT.partition("tables:")[0].replace('"*_customer"', '"*"'))
    (tmp_path / "vault" / "tables.yaml").write_text("tables:" + PROJECT.partition("tables:")[2])

    assert list(read_project(tmp_path).tables) == ["hub_customer", "sat_customer"]


@pytest.mark.parametrize("folder", ["deliveries", "warehouse", "tests", "bundles", ".hidden"])
def test_yaml_in_a_folder_of_something_else_is_not_read(folder, tmp_path):
    (tmp_path / folder).mkdir()
    (tmp_path / "lakehouse.yml").write_text(PROJECT)
    (tmp_path / folder / "other.yml").write_text("resources: {jobs: {}}\n")

    assert read_project(tmp_path).name == "shop"


def test_project_without_a_name_is_called_like_its_folder(tmp_path):
    (tmp_path / "lakehouse.yml").write_text(PROJECT.replace("name: shop\n", "", 1))

    assert read_project(tmp_path).name == tmp_path.name


def test_nearest_setting_wins_at_a_source(project):
    found = resolved(project, "customer")

    assert found["delete_guard"] == (40.0, "source customer (lakehouse.yml:31)")
    assert found["unknown_text"] == ("nobody", "batch daily (lakehouse.yml:20)")
    assert found["checkpoint_rows"] == (7, "connection files (lakehouse.yml:14)")
    assert found["hash_algorithm"] == ("sha256", "project shop (lakehouse.yml:5)")
    assert found["satellite_deletes"] == ("track", "default")


def test_nearest_setting_wins_at_a_table(project):
    found = resolved(project, "hub_customer")

    assert found["delete_guard"] == (50.0, "table hub_customer (lakehouse.yml:43)")
    assert found["unknown_text"] == ("nobody", "batch daily (lakehouse.yml:20)")
    assert found["checkpoint_rows"] == (7, "connection files (lakehouse.yml:14)")
    assert found["open_end"] == ("null", "project shop (lakehouse.yml:6)")


def test_batch_gives_its_settings_to_what_it_selects(project):
    assert resolved(project, "sat_customer")["delete_guard"] == (30.0, "batch daily (lakehouse.yml:19)")
    assert resolved(project, "purchase")["delete_guard"] == (20.0, "connection files (lakehouse.yml:12)")
    assert resolved(project, "purchase")["allow_empty"] == (True, "batch weekly (lakehouse.yml:23)")


def test_settings_that_hold_are_those_that_are_resolved(project):
    settings = project.settings_of("tables", "hub_customer")

    assert {name: value for name, (value, _) in resolved(project, "hub_customer").items()} == settings.model_dump()


def test_settings_reach_the_load(project):
    assert project.table("hub_customer").settings.hash_algorithm == "sha256"
    assert "sha2(" in project.table("hub_customer").select.template


def test_settings_of_an_unknown_name(project):
    with pytest.raises(MetadataError, match=r"no source or table 'hub_custmer'. .* Did you mean 'hub_customer'?"):
        project.resolved_settings("hub_custmer")


def test_table_of_an_unknown_name(project):
    with pytest.raises(MetadataError, match=r"no table 'sat_custmer'. .* Did you mean 'sat_customer'?"):
        project.table("sat_custmer")


def test_project_without_environments_has_a_local_one(project):
    assert project.environment() == Environment(name="local")


def test_unknown_environment():
    with pytest.raises(MetadataError, match=r"no environment 'nowhere'. Known: dev, local, prod."):
        read_project(SAMPLE).environment("nowhere")


def test_metadata_is_frozen(project):
    with pytest.raises(ValidationError, match="frozen"):
        project.sources["customer"].object = "other"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("integer", "int"),
        (" BIGINT ", "bigint"),
        ("long", "bigint"),
        ("datetime", "timestamp"),
        ("text", "string"),
        ("nvarchar", None),
        ("varchar(20)", "string"),
        ("char( 3 )", "string"),
        ("decimal", "decimal(10,0)"),
        ("numeric(19, 4)", "decimal(19,4)"),
        ("dec(38,38)", "decimal(38,38)"),
        ("decimal(9)", "decimal(9,0)"),
        ("decimal(0,0)", None),
        ("decimal(39,0)", None),
        ("decimal(5,6)", None),
        ("decimal(-1,0)", None),
        ("int(11)", None),
        ("array<int>", None),
        ("", None),
    ],
)
def test_type_word_to_canonical_name(text, expected):
    if expected is None:
        with pytest.raises(ValueError, match=re.escape(f"'{text}'")):
            parse_type(text)
    else:
        assert parse_type(text) == expected


def test_derived_columns_are_told_from_delivered_ones():
    header = read_project(SAMPLE).sources["sales_order_header"]

    assert list(header.derived) == ["SalesOrderNumber", "TotalDue"]
    assert set(header.delivered) == set(header.columns) - {"SalesOrderNumber", "TotalDue"}
    assert header.type_of("totaldue") == "decimal(19,4)"
    assert header.spelled("TOTALDUE") == "TotalDue"
    assert header.spelled("nothing") is None


def test_derived_column_may_use_the_derived_ones_before_it(tmp_path):
    columns = (
        'columns: {id: int, name: string, a: {type: int, expression: "id + 1"}, b: {type: int, expression: a * 2}}'
    )
    (tmp_path / "lakehouse.yml").write_text(PROJECT.replace("columns: {id: int, name: string}", columns))

    assert list(read_project(tmp_path).sources["customer"].derived) == ["a", "b"]


def test_derived_column_may_not_use_the_ones_after_it(tmp_path):
    columns = "columns: {id: int, name: string, b: {type: int, expression: a * 2}, a: {type: int, expression: id + 1}}"
    (tmp_path / "lakehouse.yml").write_text(PROJECT.replace("columns: {id: int, name: string}", columns))

    with pytest.raises(
        MetadataError, match=r"column 'b' with an expression that names column 'a', which does not exist"
    ):
        read_project(tmp_path)


def test_column_may_be_its_type():
    source = Source(connection="c", object="o", key="id", columns={"id": "integer"})

    assert source.columns["id"] == SourceColumn(type="int")


def test_key_may_be_one_name():
    assert Source(connection="c", object="o", key="id", columns={"id": "int"}).key == ("id",)


def test_changes_may_be_a_word():
    assert Source(connection="c", object="o", key="id", columns={}, changes="snapshot").changes == Changes(
        by="snapshot"
    )


def test_selection_may_be_one_pattern():
    assert Batch(select="hub_*").select == ("hub_*",)


@pytest.mark.parametrize(
    ("given", "expected"), [("20%", 20.0), (20, 20.0), ("20", 20.0), ("0.5%", 0.5), ("20 %", 20.0)]
)
def test_share_is_written_with_or_without_a_percent_sign(given, expected):
    assert Settings(delete_guard=given).delete_guard == expected


@pytest.mark.parametrize("given", ["0%", "-1%", "101%", "nan%", "%", "many"])
def test_share_is_above_0_and_at_most_100(given):
    with pytest.raises(ValidationError, match="delete_guard"):
        Settings(delete_guard=given)


def test_hub_source_may_be_one_column_a_composite_key_or_several_occurrences():
    hub = registry()["hub"]

    assert hub(business_key="k", sources={"s": "a"}).sources == {"s": (("a",),)}
    assert hub(business_key=["k", "l"], sources={"s": ["a", "b"]}).sources == {"s": (("a", "b"),)}
    assert hub(business_key="k", sources={"s": [["a"], ["b"]]}).sources == {"s": (("a",), ("b",))}


def test_dimension_column_may_be_its_type_or_nothing():
    dimension = registry()["dimension"].model_validate({"from": "hub", "columns": {"a": 2, "b": None}})

    assert [(c.type, c.expression) for c in dimension.columns.values()] == [(2, None), (1, None)]


def test_dimension_of_a_fact_may_be_its_name():
    fact = registry()["fact"].model_validate({"from": "link", "grain": "k", "dimensions": {"product": "dim_product"}})

    assert fact.dimensions["product"].dimension == "dim_product"


def test_words_of_yaml_1_1_stay_text(tmp_path):
    (tmp_path / "a.yml").write_text("on: no\nday: 2000-01-01\nnumber: 0123\nsize: 10_000\ntime: 12:30\n")

    assert read_yaml(tmp_path / "a.yml").value == {
        "on": "no", "day": "2000-01-01", "number": "0123", "size": "10_000", "time": "12:30",
    }  # fmt: skip


def test_dates_of_a_date_dimension_are_dates():
    dimension = read_project(SAMPLE).tables["dim_date"]

    assert (dimension.from_, dimension.to) == (datetime.date(2000, 1, 1), datetime.date(2030, 12, 31))


@pytest.mark.parametrize(
    ("overlap", "interval"),
    [
        ("3 days", "INTERVAL '3' DAY"),
        ("1 hour", "INTERVAL '1' HOUR"),
        ("2 weeks", "INTERVAL '14' DAY"),
        ("90minutes", "INTERVAL '90' MINUTE"),
    ],
)
def test_overlap_to_interval(overlap, interval):
    assert overlap_interval(overlap) == interval


def test_environment_gives_tables_their_names():
    local, cloud = Environment(), Environment(catalog="dev", schemas={"vault": "raw"})

    assert local.table("vault", "hub_customer") == "`vault`.`hub_customer`"
    assert cloud.table("vault", "hub_customer") == "`dev`.`raw`.`hub_customer`"


SCHEMA = project_schema(registry())
ENTITIES = (FilesConnection, DeltaConnection, Source, SourceColumn, Changes, Batch, Environment, Settings)


def test_schema_has_every_section():
    sections = {
        "name",
        "description",
        "settings",
        "connections",
        "sources",
        "tables",
        "batches",
        "environments",
    }

    assert SCHEMA["properties"].keys() == sections


def test_schema_has_every_kind():
    kinds = [
        entry["$ref"].rpartition("/")[2] for entry in SCHEMA["properties"]["tables"]["additionalProperties"]["anyOf"]
    ]
    words = [SCHEMA["$defs"][kind]["properties"]["kind"]["const"] for kind in kinds]

    assert words == list(registry())


@pytest.mark.parametrize("model", [*ENTITIES, *registry().values()], ids=lambda model: model.__name__)
def test_schema_has_every_key_with_its_meaning(model):
    keys = {field.alias or name for name, field in model.model_fields.items() if not field.exclude}

    assert SCHEMA["$defs"][model.__name__]["properties"].keys() == keys
    assert SCHEMA["$defs"][model.__name__]["additionalProperties"] is False


@pytest.mark.parametrize("file", sorted(SAMPLE.glob("*.yml")), ids=lambda file: file.name)
def test_sample_follows_the_schema(file):
    assert list(faults(read_yaml(file).value, SCHEMA)) == []


def test_minimal_project_follows_the_schema(tmp_path):
    (tmp_path / "lakehouse.yml").write_text(MINIMAL.format(name="shop"))

    assert list(faults(read_yaml(tmp_path / "lakehouse.yml").value, SCHEMA)) == []


def test_short_forms_follow_the_schema():
    assert list(faults(read_text(PROJECT), SCHEMA)) == []


@pytest.mark.parametrize(
    ("good", "broken"),
    [
        ("    object: customer\n", "    object: [customer]\n"),
        ("    object: customer\n", "    objekt: customer\n"),
        ("    kind: hub\n", "    kind: hubb\n"),
        ("delete_guard: 50", "delete_guard: true"),
        ("tables:", "table:"),
    ],
)
def test_mistake_does_not_follow_the_schema(good, broken):
    assert list(faults(read_text(PROJECT.replace(good, broken)), SCHEMA)) != []


def read_text(text: str) -> Any:
    """YAML as the project reads it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lakehouse.yml"
        path.write_text(text, encoding="utf-8")
        return read_yaml(path).value


TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def faults(value: Any, rule: dict[str, Any], place: str = "") -> Iterator[str]:
    """Where a value does not follow a JSON Schema; the few words that ours is made of."""
    if "$ref" in rule:
        yield from faults(value, SCHEMA["$defs"][rule["$ref"].rpartition("/")[2]], place)
    if choices := rule.get("anyOf") or rule.get("oneOf"):
        tried = [list(faults(value, choice, place)) for choice in choices]
        if all(tried):
            yield min(tried, key=len)[0]
    if "const" in rule and value != rule["const"]:
        yield f"{place}: {value!r} is not {rule['const']!r}"
    if "enum" in rule and value not in rule["enum"]:
        yield f"{place}: {value!r} is none of {rule['enum']}"
    if "pattern" in rule and isinstance(value, str) and not re.search(rule["pattern"], value):
        yield f"{place}: {value!r} is not like {rule['pattern']}"
    words = [rule["type"]] if isinstance(rule.get("type"), str) else rule.get("type", [])
    if words and not any(is_of(value, word) for word in words):
        yield f"{place}: {value!r} is not of type {rule['type']}"
    elif isinstance(value, dict):
        yield from faults_of_keys(value, rule, place)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from faults(item, rule.get("items", {}), f"{place}[{position}]")


def faults_of_keys(value: dict[str, Any], rule: dict[str, Any], place: str) -> Iterator[str]:
    """Where the keys of a mapping do not follow a JSON Schema."""
    for key in rule.get("required", []):
        if key not in value:
            yield f"{place}: {key} is missing"
    known, others = rule.get("properties", {}), rule.get("additionalProperties", {})
    for key, entry in value.items():
        inner = known.get(key, others)
        if inner is False:
            yield f"{place}: {key} is unknown"
        elif isinstance(inner, dict):
            yield from faults(entry, inner, f"{place}.{key}")


def is_of(value: Any, word: str) -> bool:
    """Whether a value is of a JSON type; true is no number."""
    if word == "null":
        return value is None
    return isinstance(value, TYPES[word]) and (word == "boolean" or not isinstance(value, bool))
