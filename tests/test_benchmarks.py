"""The benchmark's peers are text over the library's functions: they are made here, and measured by ``python -m benchmarks``."""

from __future__ import annotations

import pytest

from benchmarks import peers
from lakehouse.sql.presets import hashing_of


class Place:
    """Where a warehouse would be."""

    def __init__(self, folder):
        self.deliveries = folder

    def schema(self, layer):
        return layer


def test_every_peer_has_its_statement(tmp_path):
    found = peers.peers(Place(tmp_path))

    assert {"hub_customer", "sat_customer", "dim_customer", "link_order"} <= set(found)


@pytest.mark.parametrize("column", ["CustomerID"])
def test_a_peer_hashes_as_the_library_does(column):
    assert peers._hashed(column) == hashing_of().key([(column, peers.TYPES[column])])
