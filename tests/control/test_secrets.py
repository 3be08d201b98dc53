"""Where secrets come from, and what is said when they do not come."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest

from lakehouse.control import connection_test, secrets
from lakehouse.control.secrets import read_secret
from lakehouse.errors import ControlError, SetupError

SECRET = '{"password": "Geheim-77"}'


def test_secret_of_an_environment_variable(monkeypatch):
    monkeypatch.setenv("CONTROL_SECRET", SECRET + "\n")

    assert read_secret("env:CONTROL_SECRET") == (SECRET, "environment variable CONTROL_SECRET")


def test_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("CONTROL_SECRET", raising=False)

    with pytest.raises(SetupError, match="environment variable CONTROL_SECRET is not set"):
        read_secret("env:CONTROL_SECRET")


def test_secret_that_is_blank_is_refused(monkeypatch):
    monkeypatch.setenv("CONTROL_SECRET", " \n")

    with pytest.raises(SetupError, match="environment variable CONTROL_SECRET is empty"):
        read_secret("env:CONTROL_SECRET")


def test_secret_of_a_file(tmp_path, caplog):
    path = tmp_path / "control.json"
    path.write_text("\ufeff" + SECRET + "\r\n", encoding="utf-8")
    path.chmod(0o600)

    assert read_secret(f"file:{path}") == (SECRET, f"file {path}")
    assert caplog.text == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no such rights there")
def test_file_that_everybody_can_read_is_warned_of(tmp_path, caplog):
    path = tmp_path / "control.json"
    path.write_text(SECRET)
    path.chmod(0o644)
    caplog.set_level(logging.WARNING)

    read_secret(f"file:{path}")

    assert f"file {path} holds a secret and every user of this machine can read it" in caplog.text
    assert "Geheim" not in caplog.text


def test_file_that_is_missing_or_no_text_is_named_without_its_content(tmp_path):
    path = tmp_path / "control.json"
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        read_secret(f"file:{path}")

    path.write_bytes(SECRET.encode("utf-16"))
    with pytest.raises(SetupError, match="it is not UTF-8 text") as error:
        read_secret(f"file:{path}")
    assert error.value.__context__ is None


@pytest.mark.parametrize(
    "reference",
    ["Server=host;Pwd=Geheim-77", SECRET, "Geheim-77", "env:Geheim 77", "env:", "file:", "a/b/Geheim", "/Geheim", ""],
)
def test_reference_of_no_known_form_is_not_repeated(reference):
    with pytest.raises(SetupError, match=r"^a secret's reference is env:NAME, file:/path or scope/key") as error:
        read_secret(reference)
    assert "Geheim" not in str(error.value)


class RefusedError(Exception):
    """What databricks-sdk raises; its text is never shown."""

    error_code = "PERMISSION_DENIED"


@pytest.fixture
def workspace(monkeypatch):
    """A stand-in for databricks-sdk: what its client and its config do is set on it."""
    sdk, config = ModuleType("databricks.sdk"), ModuleType("databricks.sdk.config")
    stand_in = SimpleNamespace(client=None, configured={})

    def make_config(**words):
        stand_in.configured = words
        return SimpleNamespace(host="https://adb-1.azuredatabricks.net", auth_type="pat")

    def make_client(config=None):
        if isinstance(stand_in.client, Exception):
            raise stand_in.client
        return SimpleNamespace(config=config, **stand_in.client)

    sdk.WorkspaceClient, config.Config = make_client, make_config
    for name, module in [("databricks.sdk", sdk), ("databricks.sdk.config", config)]:
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(secrets, "find_spec", lambda name: True)
    monkeypatch.setattr(connection_test, "find_spec", lambda name: True)
    return stand_in


def test_secret_of_a_databricks_scope(workspace):
    scopes = SimpleNamespace(get=lambda scope, key: f"{scope} {key}")
    workspace.client = {"dbutils": SimpleNamespace(secrets=scopes)}

    assert read_secret("lakehouse/control-catalog") == (
        "lakehouse control-catalog",
        "Databricks secret lakehouse/control-catalog",
    )


def test_secret_scope_that_refuses_is_named(workspace):
    workspace.client = RefusedError("Geheim-77")

    with pytest.raises(
        SetupError, match="Databricks secret lakehouse/control cannot be read: PERMISSION_DENIED"
    ) as error:
        read_secret("lakehouse/control")
    assert "Geheim" not in str(error.value)
    assert error.value.__context__ is None


def test_missing_databricks_sdk_is_named(monkeypatch):
    monkeypatch.setattr(secrets, "find_spec", lambda name: None)
    monkeypatch.setattr(connection_test, "find_spec", lambda name: None)

    with pytest.raises(SetupError, match=r"pip install 'lakehouse\[databricks\]'"):
        read_secret("lakehouse/control")
    with pytest.raises(SetupError, match=r"pip install 'lakehouse\[databricks\]'"):
        connection_test.test_databricks(host="https://adb-1.azuredatabricks.net")


def test_databricks_connection_test_tells_workspace_and_user(workspace):
    workspace.client = {"current_user": SimpleNamespace(me=lambda: SimpleNamespace(user_name="loader@example.com"))}

    told = connection_test.test_databricks(host="https://adb-1.azuredatabricks.net", token="Geheim-77")

    assert told == ["workspace: https://adb-1.azuredatabricks.net (authentication pat)", "login: loader@example.com"]
    assert workspace.configured["token"] == "Geheim-77"


def test_databricks_connection_test_that_is_refused_names_no_token(workspace):
    workspace.client = RefusedError("Geheim-77")

    with pytest.raises(ControlError, match="Databricks profile prod: PERMISSION_DENIED") as error:
        connection_test.test_databricks(profile="prod", token="Geheim-77")
    assert "Geheim" not in str(error.value)
