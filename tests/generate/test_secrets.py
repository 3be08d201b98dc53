"""Scripts for secrets: an environment -> bash and PowerShell that put a value where nobody else sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lakehouse.errors import MetadataError
from lakehouse.generate.artefacts import make_artefacts
from lakehouse.generate.secrets import secret_files
from lakehouse.kinds import read_project
from lakehouse.samples.project import SAMPLES

SAMPLE = read_project(SAMPLES["awlt"])
FILES = secret_files(SAMPLE, SAMPLE.environment("prod"))
GOLDEN = Path(__file__).parents[1] / "golden" / "artefacts"
VALUE = "fake pa$$word \"quoted\" 'too'"
CLI = """\
#!/bin/sh
echo "$*" >> "$CALLS"
case "$2" in
  list-scopes) echo "$SCOPES" ;;
  put-secret) cat >> "$PUT" ;;
esac
"""


@pytest.fixture
def run(tmp_path):
    """Runs the bash script with a Databricks CLI that notes how it is called."""
    bash = shutil.which("bash")
    assert bash, "the scripts are tested where there is a bash"
    (tmp_path / "databricks").write_text(CLI)
    (tmp_path / "databricks").chmod(0o755)
    (tmp_path / "script.sh").write_text(FILES["secrets/prod/bfx_setup_secrets.sh"])

    def call(
        scopes: str = "[]", typed: str = "", **variables: str
    ) -> tuple[subprocess.CompletedProcess[str], str, str]:
        own = {"CALLS": str(tmp_path / "calls"), "PUT": str(tmp_path / "put"), "SCOPES": scopes, **variables}
        environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **own}
        done = subprocess.run([bash, str(tmp_path / "script.sh")], env=environment, input=typed, capture_output=True, text=True, check=False)  # fmt: skip
        noted = [(tmp_path / name).read_text() if (tmp_path / name).exists() else "" for name in ("calls", "put")]
        return done, noted[0], noted[1]

    return call


def test_value_of_the_environment_goes_by_standard_input_alone(run):
    done, calls, put = run(LAKEHOUSE_CONTROL=VALUE)

    assert (done.returncode, put) == (0, VALUE)
    assert calls.splitlines() == ["secrets list-scopes --output json", "secrets create-scope lakehouse", "secrets put-secret lakehouse control"]  # fmt: skip
    assert "fake" not in done.stdout + done.stderr + calls


def test_value_is_asked_for(run):
    done, _, put = run(typed=f"{VALUE}\n")

    assert (done.returncode, put) == (0, VALUE)


def test_scope_that_is_there_is_not_made_again(run):
    _, calls, _ = run('[{"backend_type": "DATABRICKS", "name": "lakehouse"}]', LAKEHOUSE_CONTROL=VALUE)

    assert "create-scope" not in calls


def test_without_a_value_nothing_is_put(run):
    done, calls, put = run(typed="\n")

    assert (done.returncode, calls, put) == (1, "", "")
    assert done.stderr.endswith("lakehouse/control: no value was given\n")


@pytest.mark.parametrize("path", FILES)
def test_sample_scripts_are_the_golden_ones(path):
    if os.environ.get("UPDATE_GOLDEN") == "1":
        (GOLDEN / path).parent.mkdir(parents=True, exist_ok=True)
        (GOLDEN / path).write_text(FILES[path], encoding="utf-8")

    assert FILES[path] == (GOLDEN / path).read_text(), "if so intended: UPDATE_GOLDEN=1"


def test_environment_without_a_secret_has_no_scripts():
    assert secret_files(SAMPLE, SAMPLE.environment("dev")) == {}
    assert list(make_artefacts(SAMPLE, "secrets")) == ["secrets prod"]
    with pytest.raises(MetadataError, match="no secret of a workspace is named here"):
        make_artefacts(SAMPLE, "secrets", "dev")
