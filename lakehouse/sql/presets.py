"""Hashing presets: how business keys and descriptive columns become hash keys and hash diffs.

Rule: a preset fixes the text of a value, how texts are joined, what NULL is, the case, the algorithm and the output; a
project has one, a table may have another. ``lakehouse`` is injective by construction. The others are exactly those of
the tools they are named after, so that their tables can be loaded on: values that differ only in blanks or case, and
some that hold delimiters, share a hash there.
Source: the documented hashing of AutomateDV, datavault4dbt (v1 and v2) and BimlFlex; https://automate-dv.readthedocs.io,
https://www.datavault4dbt.com, https://docs.varigence.com/bimlflex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from lakehouse.names import RECORD_SOURCE
from lakehouse.sql import hashing
from lakehouse.sql.hashing import Part
from lakehouse.sql.identifiers import literal

Algorithm = Literal["md5", "sha1", "sha256", "sha512"]
Output = Literal["binary", "string"]
PresetName = Literal["lakehouse", "automate_dv", "datavault4dbt_v1", "datavault4dbt_v2", "bimlflex"]

FUNCTIONS: dict[Algorithm, str] = {
    "md5": "md5({})",
    "sha1": "sha1({})",
    "sha256": "sha2({}, 256)",
    "sha512": "sha2({}, 512)",
}
BYTES: dict[Algorithm, int] = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
_CONTROL = "concat(char(10), char(9), char(11), char(13))"
"""The characters that datavault4dbt takes out: line feed, tab, vertical tab, carriage return."""


class Preset(Protocol):
    """The text that is hashed, and when there is no key."""

    @property
    def algorithm(self) -> Algorithm:
        """What it hashes with, unless a setting says otherwise."""

    @property
    def output(self) -> Output:
        """What a hash is, unless a setting says otherwise."""

    @property
    def upper(self) -> bool:
        """Whether hexadecimal text is in upper case."""

    @property
    def zero_where_missing(self) -> bool:
        """Whether a key or diff whose parts are all NULL is the zero key."""

    @property
    def keys_name_their_source(self) -> bool:
        """Whether the record source is part of a key."""

    def key_text(self, parts: Sequence[Part]) -> str:
        """SQL for the text of a business key."""

    def diff_text(self, columns: Mapping[str, Part]) -> str:
        """SQL for the text of descriptive columns, by name."""

    def is_missing(self, parts: Sequence[Part]) -> str:
        """SQL condition: the row has no business key."""


@dataclass(frozen=True)
class Lakehouse:
    """The default: injective, text trimmed and upper-cased in keys, exact in diffs; a key needs all its parts."""

    algorithm: Algorithm = "md5"
    output: Output = "binary"
    upper: bool = False
    zero_where_missing: bool = False
    keys_name_their_source: bool = False

    def key_text(self, parts: Sequence[Part]) -> str:
        """``<length>:<text>`` per part, in key order."""
        return hashing.joined([hashing.key_text(*part) for part in parts])

    def diff_text(self, columns: Mapping[str, Part]) -> str:
        """``<length>:<text>`` per column, in metadata order, NULL as ``-``."""
        return hashing.joined([hashing.canonical_text(*part) for part in columns.values()])

    def is_missing(self, parts: Sequence[Part]) -> str:
        """Any part is NULL or blank."""
        return " OR ".join(hashing.is_missing(*part) for part in parts)


@dataclass(frozen=True)
class AutomateDv:
    """Trimmed, upper-cased text joined by ``||``, NULL and blank as ``^^``; diffs sorted by column name."""

    casing: bool = True
    algorithm: Algorithm = "md5"
    output: Output = "string"
    upper: bool = True
    zero_where_missing: bool = False
    keys_name_their_source: bool = False

    def _text(self, part: Part) -> str:
        text = f"trim({_as_string(part)})"
        return f"nullif({f'upper({text})' if self.casing else text}, '')"

    def key_text(self, parts: Sequence[Part]) -> str:
        """A key of one part has no marker: a blank one is NULL."""
        if len(parts) == 1:
            return self._text(parts[0])
        return _concat([f"coalesce({self._text(part)}, '^^')" for part in parts], "||")

    def diff_text(self, columns: Mapping[str, Part]) -> str:
        """Never NULL; the order of the columns in the metadata does not matter."""
        ordered = sorted(columns.items(), key=lambda item: item[0].lower())
        return _concat([f"coalesce({self._text(part)}, '^^')" for _, part in ordered], "||")

    def is_missing(self, parts: Sequence[Part]) -> str:
        """All parts are NULL or blank."""
        return _all_missing([f"{self._text(part)} IS NULL" for part in parts])


@dataclass(frozen=True)
class Datavault4dbt:
    """Trimmed text in quotes joined by ``||``, NULL as ``^^``; one of keys and diffs in upper case."""

    escapes: tuple[tuple[str, str], ...]
    upper_keys: bool
    upper_diffs: bool
    algorithm: Algorithm = "md5"
    output: Output = "string"
    upper: bool = False
    zero_where_missing: bool = True
    keys_name_their_source: bool = False

    def _text(self, part: Part) -> str:
        text = f"trim({_as_string(part)})"
        for found, written in self.escapes:
            text = f"replace({text}, {literal(found)}, {literal(written)})"
        return f"""coalesce(concat('"', {text}, '"'), '^^')"""

    def _whole(self, parts: Sequence[Part], *, upper: bool) -> str:
        text = f"translate({_concat([self._text(part) for part in parts], '||')}, {_CONTROL}, '')"
        return f"upper({text})" if upper else text

    def key_text(self, parts: Sequence[Part]) -> str:
        """In the given order."""
        return self._whole(parts, upper=self.upper_keys)

    def diff_text(self, columns: Mapping[str, Part]) -> str:
        """In the given order, never sorted."""
        return self._whole(list(columns.values()), upper=self.upper_diffs)

    def is_missing(self, parts: Sequence[Part]) -> str:
        """All parts are NULL; empty text is a value."""
        return _all_missing([f"{expression} IS NULL" for expression, _ in parts])


@dataclass(frozen=True)
class BimlFlex:
    """Keys lead with the record source; parts trimmed and joined by ``~``, NULL as ``NVL``; SHA-1."""

    algorithm: Algorithm = "sha1"
    output: Output = "string"
    upper: bool = True
    zero_where_missing: bool = False
    keys_name_their_source: bool = True

    def _text(self, part: Part) -> str:
        expression, data_type = part
        text = _as_string(part)
        if data_type == "timestamp":
            text = f"concat({hashing.canonical_text(expression, data_type)}, '0')"
        return f"coalesce(trim({text}), 'NVL')"

    def key_text(self, parts: Sequence[Part]) -> str:
        """The integration key: the record source as written, then the parts in upper case."""
        return _concat([RECORD_SOURCE, *(f"upper({self._text(part)})" for part in parts)], "~")

    def diff_text(self, columns: Mapping[str, Part]) -> str:
        """In metadata order, case kept."""
        return _concat([self._text(part) for part in columns.values()], "~")

    def is_missing(self, parts: Sequence[Part]) -> str:
        """All parts are NULL."""
        return _all_missing([f"{expression} IS NULL" for expression, _ in parts])


_NULL_IN_V1 = (("^^", "--"),)
_ESCAPES_OF_V2 = (
    ("\\", "\\\\"),
    ('"', "dv4dbt-quote-replacement"),
    ("^^", "dv4dbt-null-replacement"),
    ("||", "dv4dbt-concat-replacement"),
)
PRESETS: dict[PresetName, Preset] = {
    "lakehouse": Lakehouse(),
    "automate_dv": AutomateDv(),
    "datavault4dbt_v1": Datavault4dbt(_NULL_IN_V1, upper_keys=False, upper_diffs=True),
    "datavault4dbt_v2": Datavault4dbt(_ESCAPES_OF_V2, upper_keys=True, upper_diffs=False),
    "bimlflex": BimlFlex(),
}
assert set(PRESETS) == set(get_args(PresetName))


@dataclass(frozen=True)
class Hashing:
    """How one table hashes: a preset with the algorithm and output that the settings chose."""

    preset: Preset
    algorithm: Algorithm
    output: Output

    @property
    def type(self) -> Output:
        """The data type of hash keys and hash diffs."""
        return self.output

    def key(self, parts: Sequence[Part]) -> str:
        """SQL for the hash key of a business key, its parts in business-key order.

        >>> hashing_of("automate_dv").key([("`id`", "int")])
        "upper(md5(nullif(upper(trim(CAST(`id` AS STRING))), '')))"
        """
        key = self._hash(self.preset.key_text(parts))
        if not self.preset.zero_where_missing:
            return key
        return f"CASE WHEN {self.preset.is_missing(parts)} THEN {self.zero_key} ELSE {key} END"

    def diff(self, columns: Mapping[str, Part]) -> str:
        """SQL for the hash diff of descriptive columns; never NULL. Without columns it is the zero key."""
        if not columns:
            return self.zero_key
        diff = self._hash(self.preset.diff_text(columns))
        if not self.preset.zero_where_missing:
            return diff
        return f"CASE WHEN {self.preset.is_missing(list(columns.values()))} THEN {self.zero_key} ELSE {diff} END"

    def is_missing(self, parts: Sequence[Part]) -> str:
        """SQL condition: a row with these key parts has no business key."""
        return self.preset.is_missing(parts)

    @property
    def zero_key(self) -> str:
        """SQL for the key that stands for "no reference": zero bytes as long as a hash key."""
        return self._constant("00")

    @property
    def error_key(self) -> str:
        """SQL for the key that stands for "not to be read": bytes of all ones."""
        return self._constant("FF" if self.preset.upper else "ff")

    def _constant(self, byte: str) -> str:
        text = literal(byte * BYTES[self.algorithm])
        return f"unhex({text})" if self.output == "binary" else text

    def _hash(self, text: str) -> str:
        digest = FUNCTIONS[self.algorithm].format(text)
        if self.output == "binary":
            return f"unhex({digest})"
        return f"upper({digest})" if self.preset.upper else digest


def hashing_of(
    name: PresetName = "lakehouse",
    algorithm: Algorithm | None = None,
    output: Output | None = None,
    *,
    casing: bool = True,
) -> Hashing:
    """A preset with its own algorithm and output where none are given; ``casing=False``: AutomateDV without upper case."""
    preset = PRESETS[name] if casing or name != "automate_dv" else AutomateDv(casing=False)
    return Hashing(preset, algorithm or preset.algorithm, output or preset.output)


def _as_string(part: Part) -> str:
    expression, data_type = part
    return expression if data_type == "string" else f"CAST({expression} AS STRING)"


def _concat(texts: Sequence[str], delimiter: str) -> str:
    return texts[0] if len(texts) == 1 else f"concat_ws({literal(delimiter)}, {', '.join(texts)})"


def _all_missing(conditions: Sequence[str]) -> str:
    return conditions[0] if len(conditions) == 1 else f"({' AND '.join(conditions)})"
