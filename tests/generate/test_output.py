"""The folder of artefacts: what is generated is written, what was generated is removed, all else is left alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lakehouse.cli import main
from lakehouse.errors import MetadataError
from lakehouse.generate.output import MANIFEST, check_folder, read_manifest, stale_files, write_files
from lakehouse.samples.project import SAMPLES
from tests.generate.projects import SHOP

OLD = {"bundle": {"databricks.yml": "a\n", "resources/old.yml": "b\n"}, "sql dev": {"sql/dev/x.sql": "c\n"}}
NEW = {"bundle": {"databricks.yml": "A\n", "resources/new.yml": "b\n"}}


def files(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST
    }


@pytest.fixture
def lakehouse(monkeypatch, capsys):
    """Runs the command: arguments -> exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lakehouse", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_rename_removes_the_old_file_and_nothing_else(tmp_path):
    write_files(tmp_path, OLD)
    (tmp_path / "resources" / "mine.yml").write_text("mine\n")

    done = write_files(tmp_path, NEW)

    assert (done.written, done.removed, done.kept) == (
        ("databricks.yml", "resources/new.yml"),
        ("resources/old.yml",),
        (),
    )
    assert files(tmp_path) == {
        "databricks.yml": "A\n",
        "resources/new.yml": "b\n",
        "resources/mine.yml": "mine\n",
        "sql/dev/x.sql": "c\n",
    }


def test_empty_folders_go_with_their_last_file(tmp_path):
    write_files(tmp_path, OLD)

    write_files(tmp_path, {"sql dev": {}})

    assert not (tmp_path / "sql").exists()
    assert (tmp_path / "databricks.yml").exists()


def test_file_changed_by_hand_is_kept_when_it_is_not_generated_any_more(tmp_path):
    write_files(tmp_path, OLD)
    (tmp_path / "resources" / "old.yml").write_text("mine now\n")

    done = write_files(tmp_path, NEW)

    assert (done.removed, done.kept) == ((), ("resources/old.yml",))
    assert "resources/old.yml" not in read_manifest(tmp_path)
    assert files(tmp_path)["resources/old.yml"] == "mine now\n"


def test_file_that_was_not_generated_is_not_overwritten(tmp_path):
    (tmp_path / "databricks.yml").write_text("mine\n")

    with pytest.raises(MetadataError, match=r"databricks.yml: is there and was not generated"):
        write_files(tmp_path, OLD)

    assert files(tmp_path) == {"databricks.yml": "mine\n"}


def test_second_build_writes_nothing_and_leaves_equal_bytes(tmp_path):
    write_files(tmp_path, OLD)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    done = write_files(tmp_path, OLD)

    assert (done.written, done.removed) == ((), ())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_stale_files_are_told_one_by_one(tmp_path):
    write_files(tmp_path, OLD)
    (tmp_path / "databricks.yml").write_text("by hand\n")

    assert stale_files(tmp_path, {"bundle": OLD["bundle"]}) == ["databricks.yml: differs"]
    assert stale_files(tmp_path, NEW) == [
        "databricks.yml: differs",
        "resources/new.yml: is missing",
        "resources/old.yml: is not generated any more",
    ]


def test_broken_manifest_is_told(tmp_path):
    (tmp_path / MANIFEST).write_text('{"files": []}')

    with pytest.raises(MetadataError, match="not a manifest of lakehouse build"):
        write_files(tmp_path, OLD)


def test_folder_whose_yaml_would_be_read_as_metadata_is_refused(tmp_path):
    check_folder(tmp_path, tmp_path / "bundles")
    check_folder(tmp_path, tmp_path / "deploy" / "bundles")
    check_folder(tmp_path, tmp_path.parent / "elsewhere")
    for folder in (tmp_path, tmp_path / "deploy"):
        with pytest.raises(MetadataError, match="would be read as the project's own"):
            check_folder(tmp_path, folder)


def test_build_writes_into_the_project_and_check_tells_when_it_is_stale(tmp_path, lakehouse):
    (tmp_path / "lakehouse.yml").write_text(SHOP)

    assert lakehouse("build", "bundle", "--check", "-p", tmp_path)[0] == 1
    assert lakehouse("build", "bundle", "-p", tmp_path)[0] == 0
    assert lakehouse("build", "bundle", "--check", "-p", tmp_path) == (0, f"{tmp_path / 'bundles'}: up to date\n", "")
    assert lakehouse("validate", "-p", tmp_path)[0] == 0, "the bundle's own YAML is not read as metadata"

    (tmp_path / "lakehouse.yml").write_text(SHOP.replace("  daily:", "  nightly:"))
    code, out, _ = lakehouse("build", "bundle", "--check", "-p", tmp_path)
    assert code == 1
    assert "resources/daily.job.yml: is not generated any more\n" in out
    assert "resources/nightly.job.yml: is missing\n" in out

    assert lakehouse("build", "bundle", "-p", tmp_path)[0] == 0
    assert [path.name for path in (tmp_path / "bundles" / "resources").iterdir()] == ["nightly.job.yml"]


def test_files_of_an_environment_that_is_gone_are_removed(tmp_path, lakehouse):
    (tmp_path / "lakehouse.yml").write_text(SHOP)
    assert lakehouse("build", "-p", tmp_path)[0] == 0
    assert (tmp_path / "bundles" / "sql" / "dev").is_dir()
    (tmp_path / "lakehouse.yml").write_text(SHOP.replace("  dev:\n", "  test:\n"))

    assert "sql/dev/deploy.sql: is not generated any more\n" in lakehouse("build", "--check", "-p", tmp_path)[1]
    assert lakehouse("build", "bundle", "-p", tmp_path)[0] == 0
    assert (tmp_path / "bundles" / "sql" / "dev").is_dir(), "only the bundle was asked for"
    assert lakehouse("build", "sql", "-e", "test", "-p", tmp_path)[0] == 0
    assert (tmp_path / "bundles" / "sql" / "dev").is_dir(), "only one environment was asked for"
    assert lakehouse("build", "-p", tmp_path)[0] == 0
    assert [path.name for path in (tmp_path / "bundles" / "sql").iterdir()] == ["test"]


def test_check_writes_nothing(tmp_path, lakehouse):
    (tmp_path / "lakehouse.yml").write_text(SHOP)

    lakehouse("build", "--check", "-p", tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["lakehouse.yml"]


def test_all_leaves_out_the_bundle_where_no_environment_has_one(tmp_path, lakehouse):
    text = SHOP.partition("    bundle:")[0]
    (tmp_path / "lakehouse.yml").write_text(text)

    assert lakehouse("build", "-p", tmp_path)[0] == 0
    code, _, err = lakehouse("build", "bundle", "-p", tmp_path)

    assert "databricks.yml" not in files(tmp_path / "bundles")
    assert code == 2
    assert "no environment has a bundle" in err


def test_unknown_artefact_is_exit_code_2(lakehouse):
    code, _, err = lakehouse("build", "bundel", "-p", SAMPLES["awlt"], "--check")

    assert code == 2
    assert err.startswith("Error: no artefact 'bundel'. Known: airflow, all, bundle, ")
    assert err.endswith("Did you mean 'bundle'?\n")


def test_manifest_holds_no_time_and_no_path_of_this_machine(tmp_path):
    write_files(tmp_path, OLD)

    entries = json.loads((tmp_path / MANIFEST).read_text())["files"]

    assert list(entries) == sorted(entries)
    assert {frozenset(entry) for entry in entries.values()} == {frozenset({"artefact", "mark"})}
