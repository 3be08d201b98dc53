"""Multi-active, effectivity and status satellites: snapshots of a source -> the rows that they keep."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse import read_project
from tests.vault.simulation import Log, Simulation

pytestmark = pytest.mark.load

PROJECT = """
name: shop
connections: {files: {kind: files, path: ./deliveries}}
sources:
  phone: {connection: files, object: phone, key: [no, type], columns: {no: string, type: string, number: string}}
  device: {connection: files, object: device, key: [id], columns: {id: int, owner: string, model: string}}
  member:
    connection: files
    object: member
    key: [no]
    columns: {no: string, club: string, since: date, until: date}
tables:
  hub_customer: {kind: hub, business_key: customer_no, sources: {phone: no, device: owner, member: no}}
  hub_club: {kind: hub, business_key: club_no, sources: {member: club}}
  link_membership:
    kind: link
    source: member
    references: [{hub: hub_customer, columns: no}, {hub: hub_club, columns: club}]
    settings: {null_references: exclude}
  sat_phone: {kind: multi_active_satellite, parent: hub_customer, source: phone, multi_active_key: type, columns: [number]}
  sat_device: {kind: multi_active_satellite, parent: hub_customer, source: device, multi_active_key: id, columns: [model]}
  sat_given: {kind: multi_active_satellite, parent: hub_customer, source: phone, multi_active_key: type, columns: [number], sets: delivered}
  sat_membership: {kind: effectivity_satellite, parent: link_membership, source: member, driving_key: customer}
  sat_dated: {kind: effectivity_satellite, parent: link_membership, source: member, driving_key: customer, starts: since, ends: until}
  sat_fixed: {kind: multi_active_satellite, parent: hub_customer, source: phone, multi_active_key: type, columns: [number], where: "type <> 'mobile'"}
  sat_model: {kind: satellite, parent: hub_customer, source: member, columns: [club], where: "club <> 'B'"}
  sat_status: {kind: status_satellite, parent: hub_customer, source: device}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    (folder / "lakehouse.yml").write_text(PROJECT, encoding="utf-8")
    return read_project(folder)


def phones(spark, project, table="sat_phone"):
    return Simulation(spark, project.table(table), Log("no STRING, type STRING, number STRING", keys=2))


def devices(spark, project, table="sat_device"):
    return Simulation(spark, project.table(table), Log("id INT, owner STRING, model STRING"))


def members(spark, project, table="sat_membership"):
    return Simulation(spark, project.table(table), Log("no STRING, club STRING, since DATE, until DATE"))


PHONE = ("type", "number", "deleted_flag", "load_datetime")


def test_a_set_is_inserted_whole_when_one_of_its_rows_changes_comes_or_goes(spark, project):
    lake = phones(spark, project)
    lake.log.snapshot(("1", "home", "11"), ("1", "work", "12"), ("2", "home", "21"))
    assert lake.run() == Counter(inserted=3)
    lake.log.snapshot(("1", "home", "11"), ("1", "work", "99"), ("2", "home", "21"))
    assert lake.run() == Counter(inserted=2)
    lake.log.snapshot(("1", "home", "11"), ("1", "work", "99"), ("1", "mobile", "13"), ("2", "home", "21"))
    assert lake.run() == Counter(inserted=3)
    lake.log.snapshot(("1", "mobile", "13"), ("1", "work", "99"), ("2", "home", "21"))
    assert lake.run() == Counter(inserted=2)

    assert lake.rows(*PHONE) == sorted(
        [("home", "11", False, 1), ("work", "12", False, 1), ("home", "21", False, 1),
         ("home", "11", False, 2), ("work", "99", False, 2),
         ("home", "11", False, 3), ("work", "99", False, 3), ("mobile", "13", False, 3),
         ("work", "99", False, 4), ("mobile", "13", False, 4)],
        key=repr,
    )  # fmt: skip
    assert not lake.again()["inserted"]


def test_a_parent_without_rows_is_marked_deleted_once_and_may_return_with_the_same_values(spark, project):
    lake = phones(spark, project)
    for rows in (
        [("1", "home", "11"), ("1", "work", "12")],
        [("2", "home", "1")],
        [("1", "home", "11"), ("1", "work", "12")],
    ):
        lake.log.snapshot(*rows)
        lake.run()

    assert lake.rows(*PHONE) == sorted(
        [("home", "11", False, 1), ("work", "12", False, 1), ("home", "11", True, 2), ("work", "12", True, 2),
         ("home", "1", False, 2), ("home", "11", False, 3), ("work", "12", False, 3), ("home", "1", True, 3)],
        key=repr,
    )  # fmt: skip
    assert lake.again() == Counter(unchanged=8)


def test_several_versions_of_a_member_in_one_delivery_are_several_sets(spark, project):
    lake = phones(spark, project)
    lake.log.versions(("1", "home", "A"), ("1", "work", "12"), ("1", "home", "B"), ("1", "home", "A"))
    lake.run()

    assert lake.rows(*PHONE) == sorted(
        [("home", "A", False, 1), ("work", "12", False, 1), ("home", "B", False, "1.1"), ("work", "12", False, "1.1"),
         ("home", "A", False, "1.2"), ("work", "12", False, "1.2")],
        key=repr,
    )  # fmt: skip
    assert lake.again() == Counter(unchanged=6)


def test_a_member_that_moves_changes_both_sets(spark, project):
    lake = devices(spark, project)
    lake.log.snapshot((1, "a", "x"), (2, "a", "y"), (3, "b", "z"))
    lake.run()
    lake.log.snapshot((1, "b", "x"), (2, "a", "y"), (3, "b", "z"))
    lake.run()
    lake.log.snapshot((1, "b", "x"), (2, "b", "y"), (3, "b", "z"))
    lake.run()

    assert lake.rows("id", "deleted_flag", "load_datetime") == sorted(
        [(1, False, 1), (2, False, 1), (3, False, 1), (2, False, 2), (1, False, 2), (3, False, 2), (2, True, 3),
         (1, False, 3), (2, False, 3), (3, False, 3)],
        key=repr,
    )  # fmt: skip
    assert not lake.again()["inserted"]


def test_a_row_without_a_parent_is_excluded(spark, project):
    lake = devices(spark, project)
    lake.log.snapshot((1, None, "x"), (2, " ", "y"), (3, "b", "z"))

    assert lake.run() == Counter(excluded=2, inserted=1)


def test_delivered_sets_are_taken_as_they_are(spark, project):
    lake = phones(spark, project, "sat_given")
    lake.log.versions(("1", "home", "11"), ("1", "work", "12"))
    assert lake.run() == Counter(inserted=2)
    lake.log.versions(("1", "home", "11"), ("1", "work", "12"))
    assert lake.run() == Counter(unchanged=2)
    lake.log.versions(("1", "home", "11"))
    assert lake.run() == Counter(inserted=1)
    assert lake.again() == Counter(unchanged=5)


MEMBERSHIP = ("active_flag", "starts_at", "ends_at", "load_datetime")


def test_the_driving_key_closes_what_it_leaves_and_opens_what_it_takes(spark, project):
    lake = members(spark, project)
    for club in ("A", "B", "A"):
        lake.log.snapshot(("1", club, None, None), ("2", "A", None, None))
        lake.run()

    assert lake.rows(*MEMBERSHIP) == sorted(
        [(True, 1, "open", 1), (True, 1, "open", 1), (False, 1, 2, 2), (True, 2, "open", 2), (False, 2, 3, 3), (True, 3, "open", 3)],
        key=repr,
    )  # fmt: skip
    assert not lake.again()["inserted"]


def test_a_to_b_to_a_in_one_delivery(spark, project):
    lake = members(spark, project)
    lake.log.versions(("1", "A", None, None), ("1", "B", None, None), ("1", "A", None, None))
    lake.run()

    assert lake.rows("active_flag", "load_datetime") == sorted(
        [(True, 1), (False, "1.1"), (True, "1.1"), (False, "1.2"), (True, "1.2")], key=repr
    )
    assert not lake.again()["inserted"]


def test_a_deleted_driving_key_closes_and_a_return_opens_again(spark, project):
    lake = members(spark, project)
    for rows in ([("1", "A", None, None)], [], [("1", "A", None, None)], [("1", None, None, None)]):
        lake.log.snapshot(*rows)
        lake.run()

    assert lake.rows(*MEMBERSHIP) == sorted(
        [(True, 1, "open", 1), (False, 1, 2, 2), (True, 3, "open", 3), (False, 3, 4, 4)], key=repr
    )


def test_dates_of_the_source_and_an_end_that_becomes_known(spark, project):
    lake = members(spark, project, "sat_dated")
    lake.log.snapshot(("1", "A", date(2023, 12, 31), None))
    lake.run()
    lake.log.snapshot(("1", "A", date(2023, 12, 31), date(2024, 1, 20)))
    lake.run()

    assert lake.rows(*MEMBERSHIP) == [(True, 0, "open", 1), (True, 0, 20, 2)]
    assert not lake.again()["inserted"]


def test_status_of_a_key_with_several_rows(spark, project):
    lake = devices(spark, project, "sat_status")
    for rows in ([(1, "a", "x"), (2, "a", "y")], [(1, "a", "x")], [], [], [(1, "a", "x")], [(1, "a", "z")]):
        lake.log.snapshot(*rows)
        lake.run()

    assert lake.rows("status", "load_datetime") == sorted([("I", 1), ("U", 2), ("D", 3), ("I", 5), ("U", 6)], key=repr)
    assert not lake.again()["inserted"]
    assert not lake.again(since=3)["inserted"]


def test_a_filtered_row_is_no_part_of_a_set(spark, project):
    lake = phones(spark, project, "sat_fixed")
    lake.log.snapshot(("1", "home", "11"), ("1", "mobile", "12"), ("2", "mobile", "21"))
    assert lake.run() == Counter(inserted=1)
    lake.log.snapshot(("1", "home", "11"), ("1", "mobile", "99"))
    lake.run()

    assert lake.rows(*PHONE) == [("home", "11", False, 1)]


@pytest.mark.parametrize(
    ("clubs", "expected"),
    [
        (["A", "B", "A"], [("A", False, 1)]),
        (["A", "B", "C"], [("A", False, 1), ("C", False, 3)]),
        (["A", "B", None], [("A", False, 1), ("B", True, 3)]),
        (["B", None, "A"], [("A", False, 3)]),
    ],
)
def test_a_filter_hides_a_change_but_never_a_delete(spark, project, clubs, expected):
    lake = members(spark, project, "sat_model")
    for club in clubs:
        lake.log.snapshot(*([("1", club, None, None)] if club else []))
        lake.run()

    assert lake.rows("club", "deleted_flag", "load_datetime") == expected
    assert not lake.again()["inserted"]


ROWS = st.dictionaries(
    st.tuples(st.sampled_from(["1", "2"]), st.sampled_from(["h", "w"])), st.sampled_from(["A", "B"]), max_size=4
)


@pytest.mark.classic
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(snapshots=st.lists(ROWS, min_size=2, max_size=5), cut=st.integers(1, 4))
def test_any_cut_of_the_deliveries_gives_the_same_sets_and_a_replay_nothing(spark, project, snapshots, cut):
    """The table says of every delivery exactly which rows each parent had then."""
    at_once, in_two = phones(spark, project), phones(spark, project)
    in_two.log = at_once.log
    for rows in snapshots:
        at_once.log.snapshot(*((*key, value) for key, value in sorted(rows.items())))
    at_once.run()
    in_two.run(min(cut, len(snapshots)))
    in_two.run()

    assert at_once.contents() == in_two.contents()
    assert not in_two.again(since=cut - 1)["inserted"]
    for day, rows in enumerate(snapshots, start=1):
        for parent in ("1", "2"):
            expected = sorted((kind, value) for (no, kind), value in rows.items() if no == parent)
            assert told(at_once, parent, day) == expected


def told(lake, parent, day):
    """What the satellite says of a parent as of a day; parents are told apart by their hash key."""
    key = hashlib.md5(f"1:{parent}".encode()).hexdigest()
    rows = [r for r in lake.rows("customer_hk", *PHONE) if r[0] == key and float(r[4]) <= day]
    newest = max((float(r[4]) for r in rows), default=0)
    return sorted((r[1], r[2]) for r in rows if float(r[4]) == newest and not r[3])


OWNERS = st.dictionaries(st.sampled_from([1, 2, 3]), st.sampled_from(["1", "2"]), max_size=3)


@pytest.mark.classic
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(snapshots=st.lists(OWNERS, min_size=2, max_size=5), cut=st.integers(1, 4))
def test_members_that_move_between_parents_are_where_each_delivery_says(spark, project, snapshots, cut):
    at_once, in_two = devices(spark, project), devices(spark, project)
    in_two.log = at_once.log
    for owners in snapshots:
        at_once.log.snapshot(*((number, owner, "m") for number, owner in sorted(owners.items())))
    at_once.run()
    in_two.run(min(cut, len(snapshots)))
    in_two.run()

    assert at_once.contents() == in_two.contents()
    assert not in_two.again(since=cut - 1)["inserted"]
    for day, owners in enumerate(snapshots, start=1):
        for parent in ("1", "2"):
            assert held_by(at_once, parent, day) == sorted(
                number for number, owner in owners.items() if owner == parent
            )


def held_by(lake, parent, day):
    """The devices of an owner as of a day."""
    key = hashlib.md5(f"1:{parent}".encode()).hexdigest()
    rows = [r for r in lake.rows("customer_hk", "id", "deleted_flag", "load_datetime") if r[0] == key and r[3] <= day]
    newest = max((r[3] for r in rows), default=0)
    return sorted(r[1] for r in rows if r[3] == newest and not r[2])


CLUBS = st.dictionaries(st.sampled_from(["1", "2"]), st.sampled_from(["A", "B"]), max_size=2)


@pytest.mark.classic
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(snapshots=st.lists(CLUBS, min_size=2, max_size=5), cut=st.integers(1, 4))
def test_combinations_that_hold_are_those_of_each_delivery(spark, project, snapshots, cut):
    at_once, in_two = members(spark, project), members(spark, project)
    in_two.log = at_once.log
    for clubs in snapshots:
        at_once.log.snapshot(*((no, club, None, None) for no, club in sorted(clubs.items())))
    at_once.run()
    in_two.run(min(cut, len(snapshots)))
    in_two.run()

    assert at_once.contents() == in_two.contents()
    assert not in_two.again(since=cut - 1)["inserted"]
    for day, clubs in enumerate(snapshots, start=1):
        rows = sorted(
            (r for r in at_once.rows("link_membership_hk", "active_flag", "load_datetime") if r[2] <= day),
            key=lambda r: r[2],
        )
        holds = {key for key, active in {key: active for key, active, _ in rows}.items() if active}
        assert holds == {hashlib.md5(f"1:{no}1:{club}".encode()).hexdigest() for no, club in clubs.items()}
