"""The folder that artefacts are written to, and the manifest of what was generated there.

Rule: only files that the manifest knows are changed or removed; one that somebody changed by hand and that is not generated
any more is kept and told. The manifest holds no time and no path of this machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from lakehouse.errors import MetadataError
from lakehouse.metadata.project import SKIPPED_FOLDERS

MANIFEST = ".lakehouse-build.json"
Made = Mapping[str, Mapping[str, str]]
"""Per artefact, such as ``bundle`` or ``sql dev``: the text of its files by path."""


@dataclass(frozen=True)
class Known:
    """A file that was generated: by which artefact, and the mark of its text."""

    artefact: str
    mark: str


@dataclass(frozen=True)
class Written:
    """What a build did."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    """Files that are not generated any more, but were changed by hand."""


def check_folder(project: Path, out: Path) -> None:
    """A folder inside the project must be one whose YAML is not read as metadata.

    Raises:
        MetadataError: it is not.
    """
    inner = out.resolve()
    if not inner.is_relative_to(project.resolve()):
        return
    parts = inner.relative_to(project.resolve()).parts
    if not SKIPPED_FOLDERS.intersection(parts) and not any(part.startswith(".") for part in parts):
        raise MetadataError(
            f"--out {out}: YAML there would be read as the project's own. Use bundles/ or a folder outside of the project."
        )


def with_gone(out: Path, made: Made, kinds: Collection[str]) -> Made:
    """What is made, and, empty, what was made of these kinds before and is not any more: of an environment that is gone."""
    known = {entry.artefact for entry in read_manifest(out).values()}
    gone = sorted(name for name in known if name not in made and name.partition(" ")[0] in kinds)
    return {**made, **{name: {} for name in gone}}


def stale_files(out: Path, made: Made) -> list[str]:
    """What a build would change: one line per file, in order of paths."""
    wanted = {path: text for files in made.values() for path, text in files.items()}
    told = {path: _difference(out / path, text) for path, text in wanted.items()}
    told |= dict.fromkeys(_leftover(out, made), "is not generated any more")
    return [f"{path}: {word}" for path, word in sorted(told.items()) if word]


def write_files(out: Path, made: Made) -> Written:
    """Writes what is generated, and removes what was and is not any more.

    Raises:
        MetadataError: a file is in the way that was not generated; nothing was written then.
    """
    known, leftover = read_manifest(out), _leftover(out, made)
    _refuse_foreign(out, made, known)
    kept = tuple(path for path in leftover if _mark_of(out / path) != known[path].mark)
    removed = tuple(path for path in leftover if path not in kept)
    for path in removed:
        _remove(out, path)
    written = []
    for artefact, files in made.items():
        for path, text in files.items():
            if _difference(out / path, text):
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                (out / path).write_text(text, encoding="utf-8", newline="\n")
                written.append(path)
            known[path] = Known(artefact, mark(text))
    _write_manifest(out, {path: entry for path, entry in known.items() if path not in leftover})
    return Written(tuple(sorted(written)), removed, kept)


def read_manifest(out: Path) -> dict[str, Known]:
    """What was generated into a folder, by path.

    Raises:
        MetadataError: the manifest cannot be read.
    """
    try:
        found = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        return {path: Known(entry["artefact"], entry["mark"]) for path, entry in found["files"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetadataError(
            f"{out / MANIFEST}: not a manifest of lakehouse build. Remove it and build anew."
        ) from error


def mark(text: str) -> str:
    """The mark of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _write_manifest(out: Path, known: Mapping[str, Known]) -> None:
    files = {path: {"artefact": known[path].artefact, "mark": known[path].mark} for path in sorted(known)}
    note = "What lakehouse build generated here; keep it beside the files."
    text = json.dumps({"note": note, "files": files}, indent=1) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).write_text(text, encoding="utf-8", newline="\n")


def _leftover(out: Path, made: Made) -> tuple[str, ...]:
    """Files that an artefact generated before and does not any more."""
    wanted = {path for files in made.values() for path in files}
    return tuple(
        path for path, entry in sorted(read_manifest(out).items()) if entry.artefact in made and path not in wanted
    )


def _refuse_foreign(out: Path, made: Made, known: Mapping[str, Known]) -> None:
    foreign = [
        path
        for files in made.values()
        for path, text in files.items()
        if path not in known and (out / path).exists() and _difference(out / path, text)
    ]
    if foreign:
        raise MetadataError(
            *(f"{out / path}: is there and was not generated. Move it, or use --out." for path in foreign)
        )


def _difference(path: Path, text: str) -> str:
    if not path.is_file():
        return "is missing"
    return "" if _mark_of(path) == mark(text) else "differs"


def _mark_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _remove(out: Path, path: str) -> None:
    """Removes a file, and the folders that it leaves empty."""
    (out / path).unlink(missing_ok=True)
    for folder in (out / path).parents:
        if folder == out or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
