"""The pinned input: facts about the Mux API, refused when they are not the ones this generator was last run on."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, TypeAlias

import attrs

HERE = Path(__file__).parent
FACTS = HERE / "facts"

Json: TypeAlias = dict[str, Any]

SCHEMAS = "#/components/schemas/"


class GeneratorError(Exception):
    """The input does not fit together; the message says what and where."""


def verify(folder: Path) -> None:
    """Compare every file with the hash in ``ORIGIN.toml``, which has one for each."""
    origin = tomllib.loads((folder / "ORIGIN.toml").read_text("utf-8"))
    listed: Json = origin["files"]
    present = {path.name for path in folder.iterdir()} - {"ORIGIN.toml"}
    if odd := present ^ listed.keys():
        raise GeneratorError(f"{folder.name}/ and its ORIGIN.toml do not list the same files: {', '.join(sorted(odd))}")
    for name, entry in sorted(listed.items()):
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != entry["sha256"]:
            raise GeneratorError(
                f"{name} is not the file ORIGIN.toml names (sha256 {found[:12]}..., expected {entry['sha256'][:12]}...); "
                f"put the right one back, or note the new one's origin and hash"
            )


@attrs.frozen
class Facts:
    """The facts as they are stored: documents by the names of their files, the base first, then the layers in the order of ORIGIN.toml."""

    apis: dict[str, Json]
    hooks: dict[str, Json]


def read(folder: Path = FACTS) -> Facts:
    """Read the stored facts, which are verified."""
    verify(folder)
    listed: Json = tomllib.loads((folder / "ORIGIN.toml").read_text("utf-8"))["files"]
    layers = {name: entry["layer"] for name, entry in listed.items() if "layer" in entry}
    documents: dict[str, Json] = {name: json.loads((folder / name).read_text("utf-8")) for name in layers}
    return Facts(
        apis={name: documents[name] for name, kind in layers.items() if kind == "api"},
        hooks={name: documents[name] for name, kind in layers.items() if kind == "events"},
    )


def load(folder: Path = FACTS) -> Json:
    """Read the facts as one document: see `codegen._layers.merge`."""
    from codegen._layers import merge

    return merge(read(folder))
