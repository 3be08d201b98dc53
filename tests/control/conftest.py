"""Which tests of the shared suite run on a Delta table: every call is a commit, so all of them take minutes.

The rules are those of the event log in memory, which runs all; LAKEHOUSE_TEST_DELTA_CATALOG=all runs all here, too.
"""

from __future__ import annotations

import os

ON_DELTA = (
    "test_the_second_start_of_a_running_batch_is_aborted_and_the_first_left_alone",
    "test_a_table_is_held_by_one_run_and_free_when_that_ends",
    "test_a_failed_load_is_repeated_with_its_position_and_slice",
    "test_two_stores_that_write_in_turn_see_each_other",
    "test_threads_of_a_run_lose_nothing",
)


def pytest_collection_modifyitems(config, items):
    if os.environ.get("LAKEHOUSE_TEST_DELTA_CATALOG") == "all":
        return
    left_out = [item for item in items if item.name.endswith("[delta]") and item.originalname not in ON_DELTA]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
