"""Scripts that put an environment's secrets into its workspace, for bash and PowerShell.

Rule: a value is read from the environment or asked for, goes to the Databricks CLI by standard input, and stands in no file, no
argument and no output.
"""

from __future__ import annotations

import re

from lakehouse.generate.text import MADE_BY
from lakehouse.metadata.environment import Environment, SqlServerControl
from lakehouse.metadata.project import Project

_SCOPE_AND_KEY = re.compile(r"([A-Za-z0-9._@-]{1,128})/([A-Za-z0-9._-]{1,128})")
_BASH = """\
#!/usr/bin/env bash
# Puts the secrets of {project} in {environment} into the workspace that the Databricks CLI is logged in to.
# {made_by}
set -euo pipefail

put_secret() {{  # scope, key, variable that may hold the value, what it is
  local value="${{!3:-}}"
  if [ -z "$value" ]; then
    read -r -s -p "$4 ($1/$2): " value
    echo
  fi
  if [ -z "$value" ]; then
    echo "$1/$2: no value was given" >&2
    exit 1
  fi
  local scopes
  scopes="$(databricks secrets list-scopes --output json)"
  if ! grep -q "\\"name\\": *\\"$1\\"" <<< "$scopes"; then
    databricks secrets create-scope "$1"
  fi
  printf '%s' "$value" | databricks secrets put-secret "$1" "$2"
  echo "$1/$2: put"
}}

{calls}
"""
_POWERSHELL = """\
# Puts the secrets of {project} in {environment} into the workspace that the Databricks CLI is logged in to.
# {made_by}
$ErrorActionPreference = 'Stop'

function Put-Secret($Scope, $Key, $Variable, $What) {{
    $value = [Environment]::GetEnvironmentVariable($Variable)
    if (-not $value) {{
        $secure = Read-Host -AsSecureString "$What ($Scope/$Key)"
        $value = [System.Net.NetworkCredential]::new('', $secure).Password
    }}
    if (-not $value) {{ throw "${{Scope}}/${{Key}}: no value was given" }}
    $scopes = databricks secrets list-scopes --output json | ConvertFrom-Json
    if ($LASTEXITCODE -ne 0) {{ throw 'databricks secrets list-scopes failed' }}
    if ($scopes.name -notcontains $Scope) {{
        databricks secrets create-scope $Scope
        if ($LASTEXITCODE -ne 0) {{ throw "scope ${{Scope}} was not made" }}
    }}
    $value | databricks secrets put-secret $Scope $Key
    if ($LASTEXITCODE -ne 0) {{ throw "${{Scope}}/${{Key}} was not put" }}
    Write-Output "${{Scope}}/${{Key}}: put"
}}

{calls}
"""
WHAT = 'login of the control catalog, as JSON {"server", "database", "user", "password"} or an ODBC connection string'


def secret_files(project: Project, environment: Environment) -> dict[str, str]:
    """The scripts of an environment by path; none where it needs no secret of the workspace."""
    needed = needed_secrets(environment)
    if not needed:
        return {}
    words = {"project": project.name, "environment": environment.name, "made_by": MADE_BY}
    calls = [(scope, key, variable_of(scope, key), WHAT) for scope, key in needed]
    bash = "\n".join("put_secret " + " ".join(f"'{word}'" for word in call) for call in calls)
    powershell = "\n".join("Put-Secret " + " ".join(f"'{word}'" for word in call) for call in calls)
    folder = f"secrets/{environment.name}"
    return {
        f"{folder}/bfx_setup_secrets.sh": _BASH.format(calls=bash, **words),
        f"{folder}/bfx_setup_secrets.ps1": _POWERSHELL.format(calls=powershell, **words),
    }


def needed_secrets(environment: Environment) -> tuple[tuple[str, str], ...]:
    """Scope and key of each secret that an environment reads from its workspace."""
    control = environment.control
    if not isinstance(control, SqlServerControl):
        return ()
    found = _SCOPE_AND_KEY.fullmatch(control.sql_server.secret)
    return ((found[1], found[2]),) if found else ()


def variable_of(scope: str, key: str) -> str:
    """The environment variable that may hold a secret's value.

    >>> variable_of("lakehouse", "control")
    'LAKEHOUSE_CONTROL'
    """
    return re.sub(r"[^A-Z0-9]", "_", f"{scope}_{key}".upper())
