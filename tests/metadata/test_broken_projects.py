"""Broken projects: one thing is wrong in a good project -> one message with file, line, what was found and what exists."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from typer.testing import CliRunner

from lakehouse.cli import app
from lakehouse.errors import MetadataError
from lakehouse.kinds import read_project, registry
from lakehouse.metadata.checks import check_cycles
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Registry, Table

HERE = "# <-- here"
GOOD = """\
name: shop

settings:
  delete_guard: 20%

connections:
  files:
    kind: files
    path: ./deliveries

sources:
  customer:
    connection: files
    object: customer
    key: id
    columns:
      id: int
      name: string
      city: string
      label: {type: string, expression: "concat(name, city)"}

  purchase:
    connection: files
    object: purchase
    key: purchase_id
    changes: {by: watermark, column: changed_at, overlap: 3 days}
    columns:
      purchase_id: int
      customer_id: int
      recipient_id: int
      price: decimal(10,2)
      city: string
      bought_at: timestamp
      changed_at: timestamp

tables:
  hub_customer:
    kind: hub
    business_key: customer_no
    sources:
      customer: id
      purchase: customer_id

  hub_purchase:
    kind: hub
    business_key: purchase_no
    sources:
      purchase: purchase_id

  link_purchase:
    kind: link
    source: purchase
    references:
      - {hub: hub_purchase, columns: purchase_id}
      - {hub: hub_customer, columns: customer_id}
      - {hub: hub_customer, columns: recipient_id, role: recipient}

  sat_customer:
    kind: satellite
    parent: hub_customer
    source: customer
    columns:
      - name
      - city

  sat_shipping:
    kind: satellite
    parent: hub_customer
    source: purchase
    columns: [city, bought_at]

  sat_purchase:
    kind: satellite
    parent: hub_purchase
    source: purchase
    columns: [price, bought_at, customer_id]

  dim_customer:
    kind: dimension
    from: hub_customer
    columns:
      name: {type: 2}
      city: {expression: upper(sat_customer.city), type: 1}

  fact_purchase:
    kind: fact
    from: hub_purchase
    grain: purchase_no
    event_time: bought_at
    dimensions:
      customer: {dimension: dim_customer, key: customer_id}
    measures:
      price: {sum: price}

batches:
  daily:
    select: "*"

environments:
  local:
    paths:
      files: ./landing
"""

# rule: (what stands in the good project, what stands there now, what the message says)
ONE_MISTAKE = {
    "unknown key of a source": (
        "    object: customer",
        f"    object: customer\n    aplied: changed_at {HERE}",
        "source 'customer': unknown key 'aplied'. Known: applied, changes, columns, connection, delivery, description, "
        "files, key, null_keys, object, record_source, settings, text. Did you mean 'applied'?",
    ),
    "unknown key of a column": (
        '{type: string, expression: "concat(name, city)"}',
        f'{{type: string, expresion: "concat(name, city)"}} {HERE}',
        "unknown key 'columns.label.expresion'. Known: description, expression, hash, hash_diff, header, rank, type. Did you mean 'expression'?",
    ),
    "unknown key of a connection": (
        "    path: ./deliveries",
        f"    path: ./deliveries\n    fromat: csv {HERE}",
        "connection 'files': unknown key 'fromat'. Known: description, files, format, kind, options, path, "
        "record_source, settings, text. Did you mean 'format'?",
    ),
    "unknown setting": (
        "  delete_guard: 20%",
        f"  delete_gard: 20% {HERE}",
        "settings: unknown key 'delete_gard'. Known: allow_empty,",
    ),
    "unknown top-level section": (
        "batches:",
        f"batch: {HERE}",
        "unknown section 'batch'. Known: batches, connections, description, environments, name, settings, sources, "
        "tables. Did you mean 'batches'?",
    ),
    "unknown kind": (
        "  sat_customer:\n    kind: satellite",
        f"  sat_customer:\n    kind: satelite {HERE}",
        f"table 'sat_customer': unknown kind 'satelite'. Known: {', '.join(registry())}. Did you mean 'satellite'?",
    ),
    "no kind": (
        "  hub_purchase:\n    kind: hub",
        f"  hub_purchase: {HERE}",
        f"table 'hub_purchase': it has no kind. Known: {', '.join(registry())}.",
    ),
    "connection of an unknown kind": (
        "    kind: files",
        f"    kind: file {HERE}",
        "connection 'files': 'kind' is 'file'. Allowed: 'files', 'delta'.",
    ),
    "connection without a kind": (
        "  files:\n    kind: files\n",
        f"  files: {HERE}\n",
        "connection 'files': it has no kind. Known: files, delta.",
    ),
    "missing key": (
        "  purchase:\n    connection: files\n    object: purchase\n",
        f"  purchase: {HERE}\n    connection: files\n",
        "source 'purchase': 'object' is missing.",
    ),
    "missing parent": (
        "    parent: hub_customer\n    source: customer",
        f"    parent: hub_custmer {HERE}\n    source: customer",
        "satellite 'sat_customer' names parent 'hub_custmer', which is not in the project. Known: "
        "hub_customer, hub_purchase, link_purchase. Did you mean 'hub_customer'?",
    ),
    "missing source of a satellite": (
        "    parent: hub_customer\n    source: customer",
        f"    parent: hub_customer\n    source: custmer {HERE}",
        "satellite 'sat_customer' names source 'custmer', which is not in the project. Known: customer, purchase. "
        "Did you mean 'customer'?",
    ),
    "missing source of a hub": (
        "      customer: id\n",
        f"      customer: id\n      customers: id {HERE}\n",
        "hub 'hub_customer' names source 'customers', which is not in the project. Known: customer, purchase.",
    ),
    "missing source of a link": (
        "    kind: link\n    source: purchase",
        f"    kind: link\n    source: sale {HERE}",
        "link 'link_purchase' names source 'sale', which is not in the project. Known: customer, purchase.",
    ),
    "missing hub of a link": (
        "{hub: hub_purchase, columns: purchase_id}",
        f"{{hub: hub_puchase, columns: purchase_id}} {HERE}",
        "link 'link_purchase' refers to hub 'hub_puchase', which is not in the project. Known: hub_customer, "
        "hub_purchase. Did you mean 'hub_purchase'?",
    ),
    "satellite of a source that does not feed its parent": (
        "    parent: hub_purchase\n    source: purchase\n    columns: [price, bought_at, customer_id]",
        f"    parent: hub_purchase\n    source: customer {HERE}",
        "satellite 'sat_purchase' reads source 'customer', from which 'hub_purchase' gets no key. "
        "It gets keys from: purchase.",
    ),
    "missing connection": (
        "    connection: files\n    object: customer",
        f"    connection: fils {HERE}\n    object: customer",
        "source 'customer' names connection 'fils', which is not in the project. Known: files. Did you mean 'files'?",
    ),
    "missing column in a satellite": (
        "      - city",
        f"      - citi {HERE}",
        "satellite 'sat_customer' names, in source 'customer', column 'citi', which does not exist. "
        "Known: city, id, label, name. Did you mean 'city'?",
    ),
    "missing column in a hub": (
        "      customer: id\n",
        f"      customer: ident {HERE}\n",
        "hub 'hub_customer' names, in source 'customer', column 'ident', which does not exist. Known: city, id,",
    ),
    "missing column in a link": (
        "columns: recipient_id, role: recipient}",
        f"columns: recipent_id, role: recipient}} {HERE}",
        "link 'link_purchase' names column 'recipent_id', which does not exist. Known: bought_at, changed_at, city, "
        "customer_id, price, purchase_id, recipient_id. Did you mean 'recipient_id'?",
    ),
    "missing column in a key": (
        "    key: id",
        f"    key: ids {HERE}",
        "source 'customer' names, in its key, column 'ids', which does not exist. Known: city, id, label, name. "
        "Did you mean 'id'?",
    ),
    "missing column in a derived expression": (
        '{type: string, expression: "concat(name, city)"}',
        f'{{type: string, expression: "concat(nam, city)"}} {HERE}',
        "source 'customer' has column 'label' with an expression that names column 'nam', which does not exist. "
        "Known: city, id, name. Did you mean 'name'?",
    ),
    "missing column in a dimension expression": (
        "{expression: upper(sat_customer.city), type: 1}",
        f"{{expression: upper(sat_customer.citi), type: 1}} {HERE}",
        "dimension 'dim_customer' has column 'city' that names column 'sat_customer.citi', which does not exist. "
        "Known: bought_at, city, customer_no, name. Did you mean 'city'?",
    ),
    "missing column in a measure": (
        "      price: {sum: price}",
        f"      price: {{sum: prise}} {HERE}",
        "fact 'fact_purchase' has 'price' that names column 'prise', which does not exist. Known: bought_at, "
        "customer_id, price, purchase_no. Did you mean 'price'?",
    ),
    "ambiguous column": (
        "{expression: upper(sat_customer.city), type: 1}",
        f"{{expression: upper(city), type: 1}} {HERE}",
        "dimension 'dim_customer' has column 'city' that names column 'city', found more than once. "
        "Write one of: sat_customer.city, sat_shipping.city.",
    ),
    "expression that does not parse": (
        "{expression: upper(sat_customer.city), type: 1}",
        f"{{expression: upper(sat_customer.city, type: 1}} {HERE}",
        "dimension 'dim_customer' has column 'city' with an expression that is not Spark SQL: expecting ).",
    ),
    "derived expression that does not parse": (
        '{type: string, expression: "concat(name, city)"}',
        f"""{{type: string, expression: "concat(name, 'x)"}} {HERE}""",
        "source 'customer' has column 'label' with an expression that is not Spark SQL: ",
    ),
    "two expressions in one": (
        '{type: string, expression: "concat(name, city)"}',
        f'{{type: string, expression: "name, city"}} {HERE}',
        "column 'label' with an expression that is not Spark SQL: it is not a single expression.",
    ),
    "statement instead of an expression": (
        '{type: string, expression: "concat(name, city)"}',
        f'{{type: string, expression: "name WHERE id > 1"}} {HERE}',
        "source 'customer' has column 'label' with an expression that is not Spark SQL: ",
    ),
    "clock in a derived expression": (
        '{type: string, expression: "concat(name, city)"}',
        f'{{type: date, expression: "coalesce(city, current_date())"}} {HERE}',
        "source 'customer' has column 'label' that calls current_date(), so a repeated load would differ.",
    ),
    "clock in a dimension expression": (
        "{expression: upper(sat_customer.city), type: 1}",
        f"{{expression: 'concat(sat_customer.city, now())', type: 1}} {HERE}",
        "dimension 'dim_customer' has column 'city' that calls now(), so a repeated load would differ. "
        "Use a column instead.",
    ),
    "table named like a source": (
        "  link_purchase:",
        f"  purchase: {HERE}\n    kind: hub\n    business_key: n\n    sources: {{purchase: purchase_id}}\n"
        "  link_purchase:",
        "hub 'purchase' has the name of source 'purchase'. Give one of them another name.",
    ),
    "tables that differ in case only": (
        "  link_purchase:",
        f"  HUB_Purchase: {HERE}\n    kind: hub\n    business_key: n\n    sources: {{purchase: purchase_id}}\n"
        "  link_purchase:",
        "hub 'HUB_Purchase' has the name of table 'hub_purchase' in layer vault. Give one of them another name.",
    ),
    "table given twice in one file": (
        "  hub_purchase:\n    kind: hub",
        f"  hub_customer: {HERE}\n    kind: hub",
        "'hub_customer' is given twice; the first one is in line 37.",
    ),
    "name with a blank": (
        "  sat_purchase:",
        f"  sat purchase: {HERE}",
        "'sat purchase' is not a name: use letters, digits and underscores.",
    ),
    "wrong type word": (
        "      id: int",
        f"      id: integr {HERE}",
        "source 'customer': 'columns.id.type': 'integr' is not a data type. Known: tinyint, smallint, int,",
    ),
    "decimal scale above its precision": (
        "      price: decimal(10,2)",
        f"      price: decimal(2,10) {HERE}",
        "source 'purchase': 'columns.price.type': 'decimal(2,10)': a decimal has 1 to 38 digits, and its scale is not "
        "above them.",
    ),
    "decimal precision above 38": (
        "      price: decimal(10,2)",
        f"      price: decimal(39,2) {HERE}",
        "'decimal(39,2)': a decimal has 1 to 38 digits",
    ),
    "list where text is expected": (
        "    object: customer",
        f"    object: [customer] {HERE}",
        "source 'customer': 'object': text is expected, found a list.",
    ),
    "text where names and values are expected": (
        "    sources:\n      purchase: purchase_id",
        f"    sources: purchase {HERE}",
        "table 'hub_purchase': 'sources': names and values are expected, found 'purchase'.",
    ),
    "number where text is expected": (
        "    object: customer",
        f"    object: 7 {HERE}",
        "source 'customer': 'object': text is expected, found '7'.",
    ),
    "text where a number is expected": (
        '    select: "*"',
        f'    select: "*"\n    threads: many {HERE}',
        "batch 'daily': 'threads': a whole number is expected, found 'many'.",
    ),
    "section that is a list": (
        "environments:\n  local:\n    paths:\n      files: ./landing",
        f"environments: [local] {HERE}",
        "'environments' holds one entry per name.",
    ),
    "entity that is a text": (
        "environments:\n  local:\n    paths:\n      files: ./landing",
        f"environments:\n  local: here {HERE}",
        "environment 'local' holds keys and values.",
    ),
    "word that is not allowed": (
        "{by: watermark, column: changed_at, overlap: 3 days}",
        f"{{by: watermarks, column: changed_at}} {HERE}",
        "source 'purchase': 'changes.by' is 'watermarks'. Allowed: 'snapshot' or 'watermark'.",
    ),
    "share above 100 percent": (
        "  delete_guard: 20%",
        f"  delete_guard: 120% {HERE}",
        "settings: 'delete_guard': input should be less than or equal to 100, found '120",
    ),
    "share that is no number": (
        "  delete_guard: 20%",
        f"  delete_guard: some% {HERE}",
        "settings: 'delete_guard': a number or a share such as 20% is expected, found 'some%'.",
    ),
    "tab as indentation": (
        "  delete_guard: 20%",
        f"\tdelete_guard: 20% {HERE}",
        "not valid YAML: found character '\\t' that cannot start any token.",
    ),
    "bracket that is not closed": (
        "    columns: [price, bought_at, customer_id]\n\n  dim_customer:",
        f"    columns: [price, bought_at, customer_id\n\n  dim_customer: {HERE}",
        "not valid YAML: expected ',' or ']', but got ':'.",
    ),
    "pattern of dates that names no day": (
        "    path: ./deliveries",
        f"    path: ./deliveries\n    text: {{date: MM/yyyy}} {HERE}",
        "connection 'files': 'text.date': 'MM/yyyy' has no d. Write a pattern such as dd.MM.yyyy.",
    ),
    "pattern of timestamps that names no time": (
        "    object: customer",
        f"    object: customer\n    text: {{timestamp: dd.MM.yyyy}} {HERE}",
        "source 'customer': 'text.timestamp': 'dd.MM.yyyy' has no H, m. Write a pattern such as dd.MM.yyyy HH:mm:ss.",
    ),
    "unknown decimal sign": (
        "    object: customer",
        f"    object: customer\n    text: {{decimal: ;}} {HERE}",
        "source 'customer': 'text.decimal' is ';'. Allowed: '.' or ','.",
    ),
    "column with a name that Delta refuses": (
        "      city: string\n      label",
        f"      home town: string {HERE}\n      city: string\n      label",
        "source 'customer' has a column 'home town', which Delta refuses: blanks and , ; { } ( ) = cannot be in a name. "
        "Name it otherwise, and give the delivered name as its header: {header: 'home town'}.",
    ),
    "two columns from one header": (
        "      city: string\n      label",
        f"      city: string\n      town: {{type: string, header: City}} {HERE}\n      label",
        "source 'customer' reads its columns 'city' and 'town' from one delivered column, 'City'. Derive one of them with "
        "an expression.",
    ),
    "header of a derived column": (
        '      label: {type: string, expression: "concat(name, city)"}',
        f'      label: {{type: string, header: L, expression: "concat(name, city)"}} {HERE}',
        "source 'customer' derives column 'label', so it has no header. Leave one of them out.",
    ),
    "source column named like a system column": (
        "      name: string",
        f"      Load_Datetime: timestamp {HERE}\n      name: string",
        "source 'customer' has a column 'Load_Datetime', which is a system column. Name it otherwise",
    ),
    "source columns that differ in case only": (
        "      name: string",
        f"      name: string\n      NAME: string {HERE}",
        "source 'customer' has the columns 'name' and 'NAME', which Spark takes for one.",
    ),
    "hub key of two types": (
        "      purchase: customer_id",
        f"      purchase: city {HERE}",
        "hub 'hub_customer' gets one business key in two types: customer.id is int, purchase.city is string. "
        "Their hash keys would differ; give both the same type.",
    ),
    "hub key of another length": (
        "      purchase: customer_id",
        f"      purchase: [customer_id, city] {HERE}",
        "hub 'hub_customer' names 2 of source 'purchase' for the 1 of its business key (customer_no). "
        "Give one column for each.",
    ),
    "hub key of another length in its first source": (
        "    sources:\n      purchase: purchase_id",
        f"    sources:\n      purchase: [purchase_id, city] {HERE}",
        "hub 'hub_purchase' names 2 of source 'purchase' for the 1 of its business key (purchase_no).",
    ),
    "reference of another length": (
        "{hub: hub_purchase, columns: purchase_id}",
        f"{{hub: hub_purchase, columns: [purchase_id, city]}} {HERE}",
        "link 'link_purchase' gives 2 columns for the business key of 'hub_purchase' (purchase_no).",
    ),
    "link that refers twice to one hub": (
        "columns: recipient_id, role: recipient}",
        f"columns: recipient_id}} {HERE}",
        "link 'link_purchase' refers to hub 'hub_customer' twice under one name. Give each reference a role.",
    ),
    "watermark without column": (
        "{by: watermark, column: changed_at, overlap: 3 days}",
        f"watermark {HERE}",
        "source 'purchase': 'changes': a watermark needs its column: {by: watermark, column: ModifiedDate}.",
    ),
    "watermark without order": (
        "{by: watermark, column: changed_at, overlap: 3 days}",
        f"{{by: watermark, column: price}} {HERE}",
        "source 'purchase' has a watermark of type decimal(10,2), which has no order to rise in.",
    ),
    "overlap that is no span of time": (
        "overlap: 3 days}",
        f"overlap: three days}} {HERE}",
        "source 'purchase': 'changes.overlap': 'three days' is not a span of time. Write a number and a unit, such as "
        "3 days or 2 hours.",
    ),
    "batch that selects nothing": (
        '    select: "*"',
        f"    select: hub_custmer {HERE}",
        "batch 'daily' selects 'hub_custmer', which finds nothing. Known: customer,",
    ),
    "path for an unknown connection": (
        "      files: ./landing",
        f"      file: ./landing {HERE}",
        "environment 'local' gives a path for connection 'file'. Known: files. Did you mean 'files'?",
    ),
    "grain that is no key": (
        "    grain: purchase_no",
        f"    grain: bought_at {HERE}",
        "fact 'fact_purchase' has 'bought_at' in its grain, which is no key of 'hub_purchase' or of its hubs. "
        "Known: purchase_no.",
    ),
    "dimension of a fact that cannot be told": (
        "{dimension: dim_customer, key: customer_id}",
        f"dim_customer {HERE}",
        "fact 'fact_purchase' cannot tell how 'hub_purchase' names a member of 'dim_customer' as 'customer'. "
        "Give its key, or a role. Roles: none.",
    ),
    "dimension of a fact in a role that two references could have": (
        "    from: hub_purchase\n    grain: purchase_no\n    event_time: bought_at\n    dimensions:\n"
        "      customer: {dimension: dim_customer, key: customer_id}\n",
        "    from: link_purchase\n    grain: purchase_no\n    event_time: purchase.bought_at\n    dimensions:\n"
        f"      customer: dim_customer {HERE}\n",
        "cannot tell how 'link_purchase' names a member of 'dim_customer' as 'customer'. Give its key, or a role. "
        "Roles: purchase, customer, recipient.",
    ),
    "missing dimension": (
        "dimension: dim_customer, key",
        f"dimension: dim_custmer, {HERE}\n        key",
        "fact 'fact_purchase' names dimension 'dim_custmer', which is not in the project. Known: dim_customer. "
        "Did you mean 'dim_customer'?",
    ),
    "dimension made from a link": (
        "    kind: dimension\n    from: hub_customer",
        f"    kind: dimension\n    from: link_purchase {HERE}",
        "dimension 'dim_customer' is made from 'link_purchase', which is not a hub of the project. "
        "Known: hub_customer, hub_purchase.",
    ),
}


def problems(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> tuple[str, ...]:
    """The problems of a project of these files, read in its folder, so that messages name the file alone."""
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    with pytest.raises(MetadataError) as caught:
        read_project(".")
    return caught.value.problems


def with_mistake(rule: str) -> tuple[str, int, str]:
    """The text of a broken project, the line of the mistake, and what the message says."""
    good, broken, says = ONE_MISTAKE[rule]
    assert GOOD.count(good) == 1, f"{rule}: the good text stands {GOOD.count(good)} times"
    text = GOOD.replace(good, broken)
    return text, line_of(text, HERE), says


def line_of(text: str, mark: str) -> int:
    """The number of the one line that holds a mark."""
    (found,) = (number for number, line in enumerate(text.splitlines(), 1) if mark in line)
    return found


def lakehouse(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    code = "from lakehouse.cli import main; main()"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_good_project_has_no_problems(tmp_path):
    (tmp_path / "lakehouse.yml").write_text(GOOD, encoding="utf-8")

    assert len(read_project(tmp_path).tables) == 8


@pytest.mark.parametrize("rule", ONE_MISTAKE)
def test_mistake_is_one_message_with_file_and_line(rule, tmp_path, monkeypatch):
    text, line, says = with_mistake(rule)

    found = problems(tmp_path, monkeypatch, lakehouse=text)

    assert found[0].startswith(f"lakehouse.yml:{line}: ")
    assert says in found[0]
    assert len(found) == 1, "one mistake is reported once"


@pytest.mark.parametrize("rule", ["unknown kind", "missing parent", "tab as indentation", "missing source of a hub"])
def test_mistake_stops_the_command(rule, tmp_path, monkeypatch):
    text, line, says = with_mistake(rule)
    (tmp_path / "lakehouse.yml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(app, ["validate"])

    assert isinstance(result.exception, MetadataError)
    assert str(result.exception).startswith(f"lakehouse.yml:{line}: ")
    assert says in str(result.exception)
    assert result.output == ""


@pytest.mark.parametrize("rule", ["missing column in a satellite", "share above 100 percent"])
@pytest.mark.parametrize("command", ["validate", "plan", "show"])
def test_command_writes_the_message_and_no_traceback(command, rule, tmp_path):
    text, line, says = with_mistake(rule)
    (tmp_path / "lakehouse.yml").write_text(text, encoding="utf-8")

    result = lakehouse(command, *(["dim_customer"] if command == "show" else []), folder=tmp_path)

    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: lakehouse.yml:{line}: ")
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_missing_project_file_ends_the_command_with_exit_code_2(tmp_path):
    result = lakehouse("validate", folder=tmp_path)

    assert result.returncode == 2
    assert "no lakehouse.yml here. Name the project's folder, or make one: lakehouse init." in result.stderr
    assert "Traceback" not in result.stderr


def test_empty_project_file(tmp_path, monkeypatch):
    found = problems(tmp_path, monkeypatch, lakehouse="")

    assert found == ("lakehouse.yml:1: the file is empty. Write at least one section, or remove the file.",)


def test_file_of_comments_only_is_empty(tmp_path, monkeypatch):
    found = problems(tmp_path, monkeypatch, lakehouse=GOOD, more="# later\n")

    assert found == ("more.yml:1: the file is empty. Write at least one section, or remove the file.",)


def test_file_that_is_a_list(tmp_path, monkeypatch):
    found = problems(tmp_path, monkeypatch, lakehouse=GOOD, more="- hub_customer\n")

    assert found[0].startswith("more.yml:1: a project file holds sections (connections, sources, tables,")


def test_file_of_two_documents(tmp_path, monkeypatch):
    found = problems(tmp_path, monkeypatch, lakehouse=GOOD, more="tables: {}\n---\ntables: {}\n")

    assert found[0].startswith("more.yml:2: not valid YAML: but found another document.")


def test_file_that_is_not_utf_8(tmp_path, monkeypatch):
    (tmp_path / "more.yml").write_bytes(b"tables: {}  # caf\xe9\n")

    found = problems(tmp_path, monkeypatch, lakehouse=GOOD)

    assert found[0].startswith("more.yml:1: the file cannot be read as UTF-8 text: ")


def test_value_that_holds_itself(tmp_path, monkeypatch):
    found = problems(tmp_path, monkeypatch, lakehouse=GOOD, more="tables: &all {hub_more: *all}\n")

    assert found == ("more.yml:1: a value holds itself, by an alias. Write it out.",)


def test_value_of_a_python_type(tmp_path, monkeypatch):
    found = problems(tmp_path, monkeypatch, lakehouse=GOOD, more="tables:\n  a: !!python/name:os.system x\n")

    assert found[0].startswith("more.yml:2: not valid YAML: could not determine a constructor")


def test_settings_stand_in_the_project_file_only(tmp_path, monkeypatch):
    found = problems(tmp_path, monkeypatch, lakehouse=GOOD, more="\nsettings: {allow_empty: true}\n")

    assert found[0].startswith("more.yml:2: unknown section 'settings'. Known: batches, connections,")


def test_table_in_two_files(tmp_path, monkeypatch):
    again = "tables:\n  hub_customer:\n    kind: hub\n    business_key: n\n    sources: {customer: id}\n"

    found = problems(tmp_path, monkeypatch, lakehouse=GOOD, again=again)

    other = line_of(GOOD, "  hub_customer:")
    assert found == (f"again.yml:2: 'hub_customer' is in the project twice; the other one is lakehouse.yml:{other}.",)


def test_problems_of_all_files_are_reported_at_once(tmp_path, monkeypatch):
    text = GOOD.replace("    object: customer\n", "    object: [customer]\n")
    vault = "tables:\n  sat_more:\n    kind: satelite\n"
    broken = "tables: [\n"

    found = problems(tmp_path, monkeypatch, lakehouse=text, vault=vault, yaml=broken)

    line = line_of(text, "[customer]")
    places = [f"lakehouse.yml:{line}", "vault.yml:3", "yaml.yml:2"]
    assert [problem.split(": ")[0] for problem in found] == places


def test_problems_of_all_entities_are_reported_at_once(tmp_path, monkeypatch):
    text = (
        GOOD.replace("    connection: files\n    object: customer", "    connection: fils\n    object: customer")
        .replace("      - city", "      - citi")
        .replace("      files: ./landing", "      file: ./landing")
    )

    found = problems(tmp_path, monkeypatch, lakehouse=text)

    lines = [line_of(text, mark) for mark in ("connection: fils", "- citi", "file: ./landing")]
    assert [problem.split(": ")[0] for problem in found] == [f"lakehouse.yml:{line}" for line in lines]


def test_mart_waits_until_the_vault_is_right(tmp_path, monkeypatch):
    above, _, mart = GOOD.partition("  dim_customer:")
    head, _, vault = above.partition("tables:\n")
    batches = mart.index("batches:")
    broken = vault.replace("      customer: id\n", "      customer: no\n")
    text = f"{head}tables:\n  dim_customer:{mart[:batches]}{broken}{mart[batches:]}"

    found = problems(tmp_path, monkeypatch, lakehouse=text)

    assert [problem.split(" names")[0] for problem in found] == [
        f"lakehouse.yml:{line_of(text, 'customer: no')}: hub 'hub_customer'"
    ]


def test_fact_waits_until_its_dimensions_are_right(tmp_path, monkeypatch):
    text = GOOD.replace("upper(sat_customer.city)", "upper(sat_customer.citi)").replace("{sum: price}", "{sum: prise}")

    found = problems(tmp_path, monkeypatch, lakehouse=text)

    assert [problem.split(" has")[0] for problem in found] == [
        f"lakehouse.yml:{line_of(text, 'citi')}: dimension 'dim_customer'"
    ]


def test_problems_of_several_mart_tables_are_reported_at_once(tmp_path, monkeypatch):
    more = "tables:\n  dim_more:\n    kind: dimension\n    from: hub_customer\n    columns: {nam: 1}\n"
    text = GOOD.replace("{sum: price}", "{sum: prise}")

    found = problems(tmp_path, monkeypatch, lakehouse=text, more=more)

    assert [problem.split(": ")[0] for problem in found] == [
        "more.yml:5",
        f"lakehouse.yml:{line_of(text, 'prise')}",
    ]


class Reading(Table):
    """A table that reads another one, whatever it is: no two real kinds can read each other."""

    kind: Literal["reading"] = "reading"
    layer: ClassVar[Layer] = "mart"
    reads_from: str

    def reads(self, project: Project) -> tuple[Relation, ...]:
        return (Relation("mart", self.reads_from),)

    def columns_of(self, project: Project) -> Mapping[str, str]:
        return {}


class Writing(Reading):
    """Another kind."""

    kind: Literal["writing"] = "writing"  # type: ignore[assignment]


def test_tables_that_read_each_other_are_a_circle():
    chicken, egg = Reading(name="chicken", reads_from="egg"), Writing(name="egg", reads_from="chicken")
    project = Project("farm", Path("farm"), Registry([Reading, Writing]), tables={"chicken": chicken, "egg": egg})

    ((name, problem),) = check_cycles(project)

    assert name == "chicken"
    assert problem.message == "is part of a circle: chicken reads egg reads chicken."


def test_tables_that_read_one_another_in_a_row_are_no_circle():
    one, two = Reading(name="one", reads_from="two"), Writing(name="two", reads_from="three")
    project = Project("farm", Path("farm"), Registry([Reading, Writing]), tables={"one": one, "two": two})

    assert list(check_cycles(project)) == []
