"""Hashing presets: values -> hash, with the vectors of the tools they are named after and an independent computation."""

from __future__ import annotations

import hashlib
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse import read_project
from lakehouse.metadata.settings import Settings
from lakehouse.sql.presets import PRESETS, hashing_of
from lakehouse.vault.collisions import collision_select
from tests.rows import local_frame

NAMES = ("a", "b", "c")
PARTS = [(name, "string") for name in NAMES]
TEXT = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "-", "0:", "1:a", "~", "||", "^^", '"', "\\", "\n", "NVL", "ß", "é", "a", "A", "😀"]),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5),
)


def hashed(spark, expression, rows):
    """One value per row of texts a, b, c."""
    padded = [(number, *row, *[None] * (3 - len(row))) for number, row in enumerate(rows)]
    frame = local_frame(spark, padded, "n INT, a STRING, b STRING, c STRING")
    found = frame.selectExpr("n", f"{expression} AS h").collect()
    return [row.h for row in sorted(found, key=lambda row: row.n)]


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def key(preset, count, **options):
    return hashing_of(preset, **options).key(PARTS[:count])


def diff(preset, count, **options):
    return hashing_of(preset, **options).diff(dict(zip(NAMES, PARTS[:count], strict=False)))


@pytest.mark.parametrize(
    ("expression", "row", "expected"),
    [
        (key("automate_dv", 1), [" abc "], "902FBDD2B1DF0C4F70B4A5D23525E932"),
        (key("automate_dv", 1), [" "], None),
        (key("automate_dv", 2), [None, "x"], "A17D7DDEC7A7886BEEB8A094DFF38EE8"),
        (diff("automate_dv", 2), [None, " "], "8DCFFD779E848FF7273B6CAEB4698D1E"),
        (diff("automate_dv", 1), [None], "EA01662A5BCBE94A3236D555BBCB3DA3"),
        (key("automate_dv", 1, casing=False), [" abc "], md5("abc").upper()),
        (key("automate_dv", 1, algorithm="sha1"), ["a"], hashlib.sha1(b"A").hexdigest().upper()),
        (key("automate_dv", 1, algorithm="sha256"), ["a"], hashlib.sha256(b"A").hexdigest().upper()),
        (key("datavault4dbt_v2", 1), ["abc"], "d8603bd6d4e64e25a25bcb84f3ce391c"),
        (diff("datavault4dbt_v2", 1), ["abc"], "ebd9f4c7b06cb0aaf5d13d80e49d8b90"),
        (key("datavault4dbt_v1", 1), ["abc"], "ebd9f4c7b06cb0aaf5d13d80e49d8b90"),
        (diff("datavault4dbt_v1", 1), ["abc"], "d8603bd6d4e64e25a25bcb84f3ce391c"),
        (key("datavault4dbt_v2", 2), ["a", "b"], "ddba0f080f2252bae136fc88840b4079"),
        (key("datavault4dbt_v2", 1), [""], "9d4568c009d203ab10e33ea9953a0264"),
        (key("datavault4dbt_v2", 2), [None, None], "0" * 32),
        (diff("datavault4dbt_v2", 2), [None, None], "0" * 32),
        (diff("datavault4dbt_v2", 1), ['a"b'], md5('"adv4dbt-quote-replacementb"')),
        (diff("datavault4dbt_v2", 1), ["a^^b||c"], md5('"adv4dbt-null-replacementbdv4dbt-concat-replacementc"')),
        (diff("datavault4dbt_v2", 1), ["a\\b"], md5('"a\\\\b"')),
        (diff("datavault4dbt_v1", 1), ["a^^b"], md5('"A--B"')),
        (diff("datavault4dbt_v2", 2), [" a\n\tb\v\r ", None], md5('"ab"||^^')),
        (key("datavault4dbt_v2", 1, algorithm="sha512"), ["a"], hashlib.sha512(b'"A"').hexdigest()),
        (diff("bimlflex", 2), [" a ", None], hashlib.sha1(b"a~NVL").hexdigest().upper()),
    ],
)
def test_vectors(spark, expression, row, expected):
    assert hashed(spark, expression, [row]) == [expected]


def test_integration_key_of_bimlflex_leads_with_the_record_source(spark):
    text = f"SELECT {key('bimlflex', 2)} FROM VALUES ('awlt', ' x', CAST(NULL AS STRING)) AS t(record_source, a, b)"

    assert spark.sql(text).collect()[0][0] == hashlib.sha1(b"awlt~X~NVL").hexdigest().upper()


def test_timestamp_of_bimlflex_has_seven_digits(spark):
    expression = hashing_of("bimlflex").diff({"t": ("t", "timestamp")})
    frame = local_frame(spark, [(datetime(2024, 1, 2, 3, 4, 5, 600_000),)], "t TIMESTAMP")
    found = frame.selectExpr(expression, "date_format(t, 'yyyy-MM-dd HH:mm:ss.SSSSSS') AS text").collect()[0]

    assert found[0] == hashlib.sha1(f"{found.text}0".encode()).hexdigest().upper()


def test_columns_of_a_diff_are_sorted_by_name_in_automate_dv_alone():
    columns = {"b": PARTS[1], "A": PARTS[0], "C": PARTS[2]}
    turned = dict(reversed(columns.items()))

    for name in PRESETS:
        same = hashing_of(name).diff(columns) == hashing_of(name).diff(turned)
        assert same is (name == "automate_dv"), name


def test_binary_output_is_the_text_as_bytes(spark):
    for name in set(PRESETS) - {"bimlflex"}:
        text, binary = (key(name, 2, output=output) for output in ("string", "binary"))
        assert hashed(spark, f"hex({binary}) = upper({text})", [["a", "b"]]) == [True], name


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("output", ["binary", "string"])
def test_zero_key_is_as_long_as_a_hash_key(name, algorithm, output):
    hashes = hashing_of(name, algorithm, output)
    length = hashlib.new(algorithm).digest_size * 2

    assert "0" * length in hashes.zero_key
    assert "0" * (length + 1) not in hashes.zero_key
    assert hashes.zero_key.startswith("unhex(") is (output == "binary")


@pytest.mark.parametrize(
    ("name", "row", "missing"),
    [
        ("lakehouse", ["a", None], True),
        ("lakehouse", ["a", " "], True),
        ("lakehouse", ["a", "b"], False),
        ("automate_dv", ["a", None], False),
        ("automate_dv", [" ", None], True),
        ("datavault4dbt_v2", ["", None], False),
        ("datavault4dbt_v2", [None, None], True),
        ("bimlflex", ["a", None], False),
        ("bimlflex", [None, None], True),
    ],
)
def test_when_a_row_has_no_key(spark, name, row, missing):
    assert hashed(spark, hashing_of(name).is_missing(PARTS[:2]), [row]) == [missing]


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=150, max_size=200, unique=True))
def test_default_diff_is_injective(spark, rows):
    """The text before hashing differs for any two lists of values: NULL, blanks, delimiters, escapes, Unicode."""
    texts = hashed(spark, PRESETS["lakehouse"].diff_text(dict(zip(NAMES, PARTS, strict=True))), rows)

    assert len(set(texts)) == len(rows)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=150, max_size=200, unique=True))
def test_default_key_differs_where_trimmed_upper_cased_parts_do(spark, rows):
    texts = hashed(spark, PRESETS["lakehouse"].key_text(PARTS), rows)
    keys = hashed(spark, "to_json(array(upper(trim(a)), upper(trim(b)), upper(trim(c))))", rows)

    assert len(set(texts)) == len(set(keys)) == len(set(zip(texts, keys, strict=True)))


@pytest.mark.parametrize(
    ("preset", "collisions"), [("lakehouse", 0), ("automate_dv", 1), ("datavault4dbt_v2", 0), ("bimlflex", 0)]
)
def test_collisions_are_keys_that_share_a_hash(spark, tmp_path, preset, collisions):
    """('a||b', 'c') and ('a', 'b||c') are one text to AutomateDV; letters and blanks around make no other key."""
    (tmp_path / "lakehouse.yml").write_text(
        f"name: t\nsettings: {{hashing: {preset}}}\nconnections: {{f: {{kind: files, path: .}}}}\n"
        "sources: {s: {connection: f, object: s, key: [a, b], columns: {a: string, b: string}}}\n"
        "tables: {hub_s: {kind: hub, business_key: [a, b], sources: {s: [a, b]}}}\n"
    )
    project = read_project(tmp_path)
    rows = [
        ("a||b", "c", "I"),
        ("a", "b||c", "I"),
        (" A", "B||C", "U"),
        ("x", None, "I"),
        ("y", "z", "I"),
        ("g", "g", "D"),
    ]
    frame = local_frame(spark, rows, "a STRING, b STRING, change_type STRING").selectExpr("*", "'src' AS record_source")
    hub = project.keyed("hub_s")
    assert hub is not None
    row = collision_select(hub, project).on(spark, {"s": frame}).collect()[0]

    assert row["collisions"] == collisions
    assert row["business_keys"] == (3 if preset == "lakehouse" else 4)


def test_settings_choose_preset_algorithm_output_and_casing():
    hashes = Settings(hashing="automate_dv", hash_algorithm="sha1", hash_output="binary", hash_casing="keep").hashes

    assert hashes.key([("a", "string")]) == "unhex(sha1(nullif(trim(a), '')))"
    assert Settings(hashing="bimlflex").hashes.algorithm == "sha1"
