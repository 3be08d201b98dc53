"""Where a secret comes from: an environment variable, a file, or a Databricks secret scope.

Rule: a reference says only where; one of no known form is not repeated in a message, because it may be the secret itself.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from importlib.util import find_spec
from pathlib import Path

from lakehouse.errors import SetupError

logger = logging.getLogger(__name__)

FORMS = "env:NAME, file:/path or scope/key (a Databricks secret scope)"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCOPE_AND_KEY = re.compile(r"([A-Za-z0-9._@-]{1,128})/([A-Za-z0-9._-]{1,128})")


def read_secret(reference: str) -> tuple[str, str]:
    """The text of a secret, and its origin for messages.

    Raises:
        SetupError: the secret is not there, cannot be read or is empty; or the reference has none of the known forms.
    """
    reference = reference.strip()
    kind, _, name = reference.partition(":")
    if kind == "env" and _VARIABLE.fullmatch(name):
        origin, text = f"environment variable {name}", _from_variable(name)
    elif kind == "file" and name and "\n" not in name:
        origin, text = f"file {name}", _from_file(Path(name).expanduser())
    elif found := _SCOPE_AND_KEY.fullmatch(reference):
        origin, text = f"Databricks secret {reference}", _from_databricks(found[1], found[2])
    else:
        raise SetupError(f"a secret's reference is {FORMS}; the one given is none of these.")
    if not text.strip():
        raise SetupError(f"{origin} is empty.")
    return text.strip("\r\n"), origin


def _from_variable(name: str) -> str:
    text = os.environ.get(name)
    if text is None:
        raise SetupError(f"environment variable {name} is not set; it is to hold a secret.")
    return text


def _from_file(path: Path) -> str:
    problem = "it is not UTF-8 text"
    try:
        text = path.read_text(encoding="utf-8-sig")
        _warn_if_public(path)
        return text
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        pass
    raise SetupError(f"file {path}: the secret in it cannot be read: {problem}.")


def _warn_if_public(path: Path) -> None:
    if os.name == "posix" and path.stat().st_mode & stat.S_IROTH:
        logger.warning("file %s holds a secret and every user of this machine can read it: chmod 600.", path)


def _from_databricks(scope: str, key: str) -> str:
    if find_spec("databricks") is None or find_spec("databricks.sdk") is None:
        raise SetupError(
            f"Databricks secret {scope}/{key}: databricks-sdk is missing: pip install 'lakehouse[databricks]'."
        )
    from databricks.sdk import WorkspaceClient

    try:
        return str(WorkspaceClient().dbutils.secrets.get(scope=scope, key=key))
    except Exception as error:
        unset = "no login is configured" if isinstance(error, ValueError) else type(error).__name__
        problem = getattr(error, "error_code", None) or unset
    raise SetupError(
        f"Databricks secret {scope}/{key} cannot be read: {problem}. Scope and key must exist, the caller needs READ on "
        "the scope, and outside a workspace a profile or DATABRICKS_HOST and a token."
    )
