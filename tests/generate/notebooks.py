"""Runs a notebook in Databricks' source format with a small stand-in for ``dbutils``: widgets and exit as they are there."""

from __future__ import annotations

from typing import Any


class NotebookExit(Exception):  # noqa: N818 – it is no error
    """Ends a notebook, as ``dbutils.notebook.exit`` does; nothing after it runs."""


class Widgets:
    """Widgets: a declaration gives the default, whoever calls the notebook gives the value; both are text."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given = given
        self.declared: dict[str, str] = {}

    def text(self, name: str, default: str, label: str | None = None) -> None:
        assert isinstance(default, str), f"{name}: a widget's default is text"
        self.declared.setdefault(name, default)

    def get(self, name: str) -> str:
        if name not in self.declared:
            raise ValueError(f"InputWidgetNotDefined: no input widget named {name} is defined")
        return self.given.get(name, self.declared[name])


class Notebook:
    """``dbutils.notebook``."""

    def exit(self, value: str) -> None:
        assert isinstance(value, str), "a notebook's result is text"
        raise NotebookExit(value)


class Utilities:
    """``dbutils`` with widgets and notebook."""

    def __init__(self, given: dict[str, str]) -> None:
        self.widgets = Widgets(given)
        self.notebook = Notebook()


def cells(text: str) -> list[str]:
    """The Python cells of a notebook; cells with a magic command are left out."""
    head, _, rest = text.partition("\n")
    assert head == "# Databricks notebook source"
    found = [cell.strip("\n") for cell in rest.split("# COMMAND ----------")]
    return [cell for cell in found if not cell.startswith("# MAGIC")]


def run_notebook(text: str, spark: Any = None, **given: str) -> tuple[str, list[Any]]:
    """Runs a notebook with widget values; returns what it exits with, and what it displayed."""
    shown: list[Any] = []
    scope = {"dbutils": Utilities(given), "spark": spark, "display": shown.append, "__name__": "__main__"}
    try:
        for cell in cells(text):
            exec(compile(cell, "notebook", "exec"), scope)
    except NotebookExit as ended:
        return str(ended), shown
    raise AssertionError("the notebook did not exit with a result")
