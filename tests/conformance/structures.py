"""AutomateDV's structures as tables of this library: the metadata of one table, and which columns of both are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lakehouse.names import APPLIED_DATETIME, ENDS_AT, HASH_DIFF, LOAD_DATETIME, RECORD_SOURCE, SNAPSHOT, STARTS_AT
from tests.conformance.scenario import column, listed

DATES = "as_of_dates"


def staged(table: str) -> str:
    """The one source of a table: everything that is staged for it."""
    return f"staged_{table}"


@dataclass(frozen=True)
class Neighbours:
    """The tables beside one: the hub or link of each key."""

    parents: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    def parent(self, keys: list[str]) -> str | None:
        """The hub or link with this key, if there is one."""
        return self.parents.get(tuple(keys))


@dataclass(frozen=True)
class Structure:
    """One table of the original as metadata here."""

    tables: dict[str, Any]
    """The metadata of the table under its name, and of those that it needs to exist."""
    columns: dict[str, str]
    """Column of the original to column here."""


def structure(
    kind: str,
    name: str,
    said: Mapping[str, Any],
    *,
    stage: list[str],
    base: bool = False,
    automatic: bool = False,
    beside: Neighbours | None = None,
) -> Structure:
    """The table ``name`` of a kind of the original; ``stage`` are the columns that are staged for it."""
    beside = beside or Neighbours()
    if kind == "eff_sat":
        return _effectivity(name, said, beside, base=base, automatic=automatic)
    makers = {
        "hub": _hub,
        "link": _link,
        "sat": _satellite,
        "ma_sat": _multi_active,
        "t_link": _transaction,
        "xts": _tracking,
        "ref_table": _reference,
    }
    return makers[kind](name, dict(said), stage, beside)


def _stamps(said: Mapping[str, Any]) -> dict[str, str]:
    found = {said["src_ldts"]: LOAD_DATETIME}
    if said.get("src_source"):
        found[said["src_source"]] = RECORD_SOURCE
    if said.get("src_eff"):
        found[said["src_eff"]] = APPLIED_DATETIME
    return found


def _same(*names: str) -> dict[str, str]:
    return {name: column(name) for name in names}


def _payload(said: Mapping[str, Any], stage: list[str]) -> list[str]:
    """The payload by name, or all columns of the stage but these and those with a part of their own."""
    payload = said.get("src_payload")
    if not isinstance(payload, Mapping):
        return listed(payload)
    own = {
        name.lower() for key in ("src_pk", "src_cdk", "src_fk", "src_extra_columns") for name in listed(said.get(key))
    }
    own |= {name.lower() for key in ("src_eff", "src_ldts", "src_source") for name in listed(said.get(key))}
    own.add(_diff(said)[0].lower())
    left = own | {name.lower() for name in listed(payload.get("columns") or payload.get("exclude_columns"))}
    return [name for name in stage if name.lower() not in left]


def _diff(said: Mapping[str, Any]) -> tuple[str, str]:
    """The stage's column with the hash diff, and its name in the table."""
    given = said.get("src_hashdiff", "")
    if isinstance(given, Mapping):
        return given["source_column"], given.get("alias", given["source_column"])
    return given, given


def _stub(keys: list[str], table: str) -> dict[str, Any]:
    return {"kind": "hub", "key": [column(key) for key in keys], "sources": {staged(table): []}}


def _parent(keys: list[str], table: str, beside: Neighbours) -> tuple[str, dict[str, Any]]:
    """The hub or link that a table describes; a stub hub where there is none beside it."""
    known = beside.parent(keys)
    return (known, {}) if known else (f"parent_of_{table}", {f"parent_of_{table}": _stub(keys, table)})


def _hub(name: str, said: dict[str, Any], stage: list[str], beside: Neighbours) -> Structure:
    keys, business, extra = listed(said["src_pk"]), listed(said.get("src_nk")), listed(said.get("src_extra_columns"))
    own = [key for key in business if key not in keys]
    table = {
        "kind": "hub",
        "key": [column(key) for key in keys],
        "business_key": [column(key) for key in own],
        "sources": {staged(name): [column(key) for key in own]},
        "columns": [column(key) for key in extra],
    }
    return Structure({name: table}, {**_same(*keys, *business, *extra), **_stamps(said)})


def _references(name: str, said: Mapping[str, Any], beside: Neighbours) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The hub of each foreign key, a stub where there is none beside, and the references to them."""
    keys = listed(said.get("src_fk")) or [*listed(said.get("src_dfk")), *listed(said.get("src_sfk"))]
    named = {key: beside.parent([key]) or f"hub_{key}" for key in keys}
    stubs = {hub: _stub([key], name) for key, hub in named.items() if hub == f"hub_{key}"}
    return stubs, [{"hub": hub, "role": key, "key": [column(key)]} for key, hub in named.items()]


def _link(name: str, said: dict[str, Any], stage: list[str], beside: Neighbours) -> Structure:
    hubs, references = _references(name, said, beside)
    keys, extra = listed(said["src_pk"]), listed(said.get("src_extra_columns"))
    table = {
        "kind": "link",
        "source": staged(name),
        "key": [column(key) for key in keys],
        "references": references,
        "columns": [column(key) for key in extra],
        "settings": {"null_references": "exclude"},
    }
    return Structure({**hubs, name: table}, {**_same(*keys, *listed(said["src_fk"]), *extra), **_stamps(said)})


def _transaction(name: str, said: dict[str, Any], stage: list[str], beside: Neighbours) -> Structure:
    payload = [*_payload(said, stage), *listed(said.get("src_extra_columns"))]
    found = _link(name, {**said, "src_extra_columns": None}, stage, beside)
    table = {**found.tables[name], "kind": "non_historised_link", "corrections": "ignore"}
    table["columns"] = [column(item) for item in payload]
    return Structure({**found.tables, name: table}, {**found.columns, **_same(*payload), **_stamps(said)})


def _satellite(name: str, said: dict[str, Any], stage: list[str], beside: Neighbours) -> Structure:
    keys = listed(said["src_pk"])
    payload = [*_payload(said, stage), *listed(said.get("src_extra_columns"))]
    given, alias = _diff(said)
    parent, stubs = _parent(keys, name, beside)
    table = {
        "kind": "satellite",
        "parent": parent,
        "source": staged(name),
        "columns": [column(item) for item in payload],
        "hash_diff": column(given),
        "ties": "keep",
    }
    columns = {**_same(*keys, *payload), alias: HASH_DIFF, **_stamps(said)}
    return Structure({**stubs, name: table}, columns)


def _multi_active(name: str, said: dict[str, Any], stage: list[str], beside: Neighbours) -> Structure:
    found = _satellite(name, said, stage, beside)
    members = listed(said["src_cdk"])
    table = {**found.tables[name], "kind": "multi_active_satellite", "sets": "delivered"}
    del table["ties"]
    table["multi_active_key"] = [column(item) for item in members]
    table["columns"] = [item for item in table["columns"] if item not in table["multi_active_key"]]
    return Structure({**found.tables, name: table}, {**found.columns, **_same(*members)})


def _tracking(name: str, said: dict[str, Any], stage: list[str], beside: Neighbours) -> Structure:
    keys, extra = listed(said["src_pk"]), listed(said.get("src_extra_columns"))
    parent, stubs = _parent(keys, name, beside)
    table = {
        "kind": "record_tracking_satellite",
        "parent": parent,
        "source": staged(name),
        "columns": [column("SATELLITE_NAME"), column("HASHDIFF"), *(column(key) for key in extra)],
    }
    columns = {**_same(*keys, "SATELLITE_NAME", "HASHDIFF", *extra), **_stamps(said)}
    return Structure({**stubs, name: table}, columns)


def tracked(said: Mapping[str, Any]) -> list[dict[str, str]]:
    """Per tracked satellite the stage's columns that become SATELLITE_NAME and HASHDIFF."""
    return [
        {
            "SATELLITE_NAME": next(iter(entry["sat_name"].values())),
            "HASHDIFF": next(iter(entry["hashdiff"].values())),
        }
        for entry in said["src_satellite"].values()
    ]


def _reference(name: str, said: dict[str, Any], stage: list[str], beside: Neighbours) -> Structure:
    keys, extra = listed(said["src_pk"]), listed(said.get("src_extra_columns"))
    table = {
        "kind": "reference_table",
        "source": staged(name),
        "key": [column(key) for key in keys],
        "columns": [column(key) for key in extra],
    }
    return Structure({name: table}, {**_same(*keys, *extra), **_stamps(said)})


def _effectivity(name: str, said: Mapping[str, Any], beside: Neighbours, *, base: bool, automatic: bool) -> Structure:
    """A base load keeps the source's start dates; automatic end-dating starts what comes later at its effective date."""
    hubs, references = _references(name, said, beside)
    keys, driving = listed(said["src_pk"]), listed(said["src_dfk"])
    extra = listed(said.get("src_extra_columns"))
    parent = beside.parent(keys) or f"parent_of_{name}"
    link = {
        "kind": "link",
        "source": staged(name),
        "key": [column(key) for key in keys],
        "references": references,
        "settings": {"null_references": "exclude"},
    }
    table: dict[str, Any] = {
        "kind": "effectivity_satellite",
        "parent": parent,
        "source": staged(name),
        "driving_key": driving,
        "ends": column(said["src_end_date"]),
        "sets": "delivered",
        "end_dating": "automatic" if automatic else "source",
        "columns": [column(key) for key in extra],
    }
    if base or not automatic:
        table["starts"] = column(said["src_start_date"])
    dates = {said["src_start_date"]: STARTS_AT, said["src_end_date"]: ENDS_AT}
    ends = [*driving, *listed(said["src_sfk"])]
    columns = {**_same(*keys, *ends, *extra), **dates, **_stamps(said)}
    stubs = {} if beside.parent(keys) else {**hubs, parent: link}
    return Structure({**stubs, name: table}, columns)


def point_in_time(name: str, said: Mapping[str, Any], dates: str) -> Structure:
    """A point-in-time table over tables that are in the project already."""
    satellites = list(said["satellites"])
    key, extra = said["src_pk"], listed(said.get("src_extra_columns"))
    table = {
        "kind": "point_in_time",
        "parent": said["source_model"],
        "satellites": satellites,
        "columns": [column(item) for item in extra],
        "snapshots": {"source": DATES, "column": column(dates)},
        "before_first": "zero_key",
    }
    columns = {**_same(key, *extra), dates: SNAPSHOT}
    for satellite in satellites:
        entry = said["satellites"][satellite]
        columns[f"{satellite}_{next(iter(entry['pk']))}"] = f"{satellite}_hk"
        columns[f"{satellite}_{next(iter(entry['ldts']))}"] = f"{satellite}_{LOAD_DATETIME}"
    return Structure({name: table}, columns)


def bridge(name: str, said: Mapping[str, Any], dates: str) -> Structure:
    """A bridge over tables that are in the project already."""
    walk = list(said["bridge_walk"].values())
    key, extra = said["src_pk"], listed(said.get("src_extra_columns"))
    table = {
        "kind": "bridge",
        "parent": said["source_model"],
        "links": [{"link": step["link_table"], "effectivity": step["eff_sat_table"]} for step in walk],
        "columns": [column(item) for item in extra],
        "snapshots": {"source": DATES, "column": column(dates)},
    }
    columns = {**_same(key, *extra), dates: SNAPSHOT}
    columns |= {step["bridge_link_pk"]: column(step["link_pk"]) for step in walk}
    return Structure({name: table}, columns)
