"""The SQL text of the vault's views, and why a source has none; no Spark.

``UPDATE_GOLDEN=1`` writes the golden files anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlglot
from typer.testing import CliRunner

from lakehouse import MetadataError, read_project
from lakehouse.cli import app
from lakehouse.samples.project import SAMPLES
from lakehouse.vault.restore import restored
from lakehouse.vault.views import views_of

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS, AWLT = read_project(GOLDEN / "kinds"), read_project(SAMPLES["awlt"])
VIEWS = [(KINDS, view) for view in views_of(KINDS).made]
VIEWS += [(AWLT, view) for view in views_of(AWLT, select=["sales_order_detail", "customer_address"]).made]

SHOP = """
name: shop
connections: {files: {kind: files, path: ./deliveries}}
sources:
  orders:
    connection: files
    object: orders
    key: id
    columns: {id: int, buyer: string, note: string}
tables:
  hub_orders: {kind: hub, business_key: order_id, sources: {orders: id}}
  hub_customer: {kind: hub, business_key: customer_no, sources: {orders: buyer}}
  link_orders:
    kind: link
    source: orders
    references: [{hub: hub_orders, columns: id}, {hub: hub_customer, columns: buyer}]
"""
SATELLITE = "  sat_orders: {kind: satellite, parent: hub_orders, source: orders, columns: note}\n"
EFFECTIVITY = "  sat_buyer: {kind: effectivity_satellite, parent: link_orders, source: orders, driving_key: orders}\n"


def shop(tmp_path, text: str):
    (tmp_path / "lakehouse.yml").write_text(text, encoding="utf-8")
    return read_project(tmp_path)


def refusal(project, source="orders") -> str:
    with pytest.raises(MetadataError) as error:
        restored(project, source)
    return str(error.value).replace(f"{project.folder}/", "")


@pytest.mark.parametrize(("project", "view"), VIEWS, ids=[view.name for _, view in VIEWS])
def test_sql_of_a_view_is_the_golden_one(project, view):
    file = GOLDEN / "views" / f"{view.name}.sql"
    text = view.statement(project.environment()) + ";\n"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.write_text(text, encoding="utf-8")

    assert text == file.read_text(encoding="utf-8"), f"{file.name} differs; if so intended: UPDATE_GOLDEN=1"
    assert sqlglot.parse_one(text, dialect="spark").find(sqlglot.exp.Select)


@pytest.mark.parametrize("source", AWLT.sources)
def test_every_source_of_the_sample_is_restored_with_exactly_its_delivered_columns(source):
    tree = sqlglot.parse_one(restored(AWLT, source).select.text(), dialect="spark")

    assert tree.named_selects == list(AWLT.sources[source].delivered)


def test_columns_that_the_vault_does_not_keep_are_named_with_their_lines(tmp_path):
    without_note = SATELLITE.replace(", columns: note", "")
    text = SHOP + without_note + EFFECTIVITY

    assert refusal(shop(tmp_path, text)) == (
        "lakehouse.yml:9: source 'orders' cannot be restored: the vault does not keep its column 'note'. "
        "Keep it in a satellite, or relate it by a link with an effectivity satellite."
    )


def test_a_reference_without_an_effectivity_satellite_is_not_known_for_a_row(tmp_path):
    assert refusal(shop(tmp_path, SHOP + SATELLITE)) == (
        "lakehouse.yml:9: source 'orders' cannot be restored: the vault does not keep its column 'buyer'. 'link_orders' "
        "relates it to 'hub_customer', but nothing tells which of its combinations holds. Keep it in a satellite, or relate "
        "it by a link with an effectivity satellite."
    )
    assert "`sat_buyer_held`" in restored(shop(tmp_path, SHOP + SATELLITE + EFFECTIVITY), "orders").select.text()


def test_a_hub_that_takes_no_key_from_the_source_may_lack_it(tmp_path):
    other = "  buyer: {connection: files, object: buyer, key: no, columns: {no: string}}\ntables:\n"
    text = SHOP.replace("tables:\n", other).replace("sources: {orders: buyer}", "sources: {buyer: no}")

    assert "'link_orders' relates it to 'hub_customer', which takes no key from it." in refusal(
        shop(tmp_path, text + SATELLITE + EFFECTIVITY)
    )


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("", "No table keeps more of it than keys."),
        (SATELLITE.replace("columns: note", "columns: note, where: id > 1"), "'sat_orders' takes only the rows of its filter."),
        (SATELLITE.replace("columns: note", "columns: note, settings: {satellite_deletes: ignore}"), "'sat_orders' keeps no deletes."),
        (SATELLITE.replace("hub_orders", "hub_customer"), "'sat_orders' has one row for several of the source's."),
        (SATELLITE.replace("hub_orders", "link_orders"), "'sat_orders' keeps a row under its former key, too, when its buyer changes."),
        (EFFECTIVITY.replace("driving_key: orders", "driving_key: customer"), "'sat_buyer' has no row where buyer is missing."),
    ],
    ids=["nothing", "filter", "deletes", "coarse", "moves", "driving"],
)  # fmt: skip
def test_a_source_whose_rows_no_table_tells_is_refused_with_the_reason(tmp_path, lines, reason):
    assert refusal(shop(tmp_path, SHOP + lines)) == (
        "lakehouse.yml:5: source 'orders' cannot be restored: no table of the vault tells which rows it has. "
        f"{reason} A satellite or status satellite whose parent has the source's key (id) would, or an effectivity satellite "
        "of a link with it."
    )


def test_a_link_that_leaves_rows_out_is_used_only_where_nothing_is_lost(tmp_path):
    excluding = "\nsettings: {null_references: exclude}\n" + SHOP
    assert "`sat_buyer_held`" in restored(shop(tmp_path, excluding + SATELLITE + EFFECTIVITY), "orders").select.text()

    payer = excluding.replace("note: string}", "note: string, payer: string}").replace(
        "columns: buyer}]", "columns: buyer}, {hub: hub_customer, role: payer, columns: payer}]"
    ).replace("{orders: buyer}", "{orders: [[buyer], [payer]]}")  # fmt: skip
    refused = refusal(shop(tmp_path, payer + SATELLITE + EFFECTIVITY))
    assert "its column 'buyer'" in refused
    assert "its column 'payer'" in refused


def test_views_are_named_by_setting_and_never_like_a_table(tmp_path):
    named = "\nsettings: {current_view: \"now_{name}\", history_view: \"all_{name}\", source_view: \"src_{name}\"}\n" + SHOP + SATELLITE + EFFECTIVITY  # fmt: skip
    assert [view.name for view in views_of(shop(tmp_path, named)).made] == [
        "now_sat_orders", "all_sat_orders", "now_sat_buyer", "all_sat_buyer", "src_orders",
    ]  # fmt: skip

    clash = SHOP.replace("hub_orders", "orders_as_of") + SATELLITE.replace("hub_orders", "orders_as_of") + EFFECTIVITY.replace("driving_key: orders", "driving_key: orders_as_of")  # fmt: skip
    with pytest.raises(MetadataError, match=r"lakehouse.yml:5: 'orders': its view 'orders_as_of' would have the name of table 'orders_as_of'"):  # fmt: skip
        views_of(shop(tmp_path, clash))


def test_a_ghost_record_is_no_row_of_a_source_and_not_current(tmp_path):
    project = shop(tmp_path, "\nsettings: {ghost_records: true}\n" + SHOP + SATELLITE + EFFECTIVITY)
    zero = project.hashes_of("hub_orders").zero_key
    ended = f"AND NOT (`orders_hk` = {zero} OR deleted_flag)"

    assert ended in restored(project, "orders").select.text()
    (current, _) = (view for view in views_of(project, select=["sat_orders"]).made)
    assert ended in current.select.text()


def test_a_view_name_without_a_place_for_the_name_is_a_mistake(tmp_path):
    with pytest.raises(MetadataError, match=r"lakehouse.yml:2: .*'current_view': 'current' is no name of a view"):
        shop(tmp_path, "\nsettings: {current_view: current}\n" + SHOP)


def test_views_prints_statements_and_tells_what_has_no_view():
    result = CliRunner().invoke(app, ["views", "--print", "-p", str(GOLDEN / "kinds")])

    assert result.exit_code == 0
    assert result.stdout.count("CREATE OR REPLACE VIEW") == len(views_of(KINDS).made)
    assert "source 'customer' cannot be restored: the vault does not keep its column 'MemberSince'" in result.stdout


def test_views_as_of_a_moment_reads_up_to_then():
    result = CliRunner().invoke(
        app, ["views", "--print", "--as-of", "2024-01-31", "-s", "sale", "-p", str(GOLDEN / "kinds")]
    )

    assert result.stdout.count("WHERE load_datetime < TIMESTAMP '2024-01-31 00:00:00+00:00' + INTERVAL '1' SECOND") == 2
    assert "9999" not in result.stdout


def test_a_named_source_that_cannot_be_restored_is_an_error():
    with pytest.raises(MetadataError, match="source 'customer' cannot be restored"):
        views_of(KINDS, select=["customer"])
    with pytest.raises(MetadataError, match="--select nothing: no source of that name"):
        views_of(KINDS, select=["nothing"])
