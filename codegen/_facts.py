"""The pinned input: facts about the Mux API, refused when they are not the ones this generator was last run on."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, TypeAlias

HERE = Path(__file__).parent
FACTS = HERE / "facts"

Json: TypeAlias = dict[str, Any]

SCHEMAS = "#/components/schemas/"


class GeneratorError(Exception):
    """The input does not fit together; the message says what and where."""


def verify(folder: Path) -> None:
    """Compare every file with the hash in ``ORIGIN.toml``.

    Raises:
        GeneratorError: One differs, is missing, or has no hash.
    """
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


def load(folder: Path = FACTS) -> Json:
    """Read the API document, with the webhook schemas among its own and the events under ``x-events`` and ``x-envelope``.

    Raises:
        GeneratorError: A file is not the pinned one, or a schema exists twice.
    """
    verify(folder)
    api: Json = json.loads((folder / "mux-api.json").read_text("utf-8"))
    text = (folder / "webhook-events.json").read_text("utf-8")
    hooks: Json = json.loads(
        text.replace('"mux-api.json#/components/schemas/', f'"{SCHEMAS}').replace('"#/schemas/', f'"{SCHEMAS}')
    )
    schemas: Json = api["components"]["schemas"]
    if twice := schemas.keys() & hooks["schemas"].keys():
        raise GeneratorError(f"schemas of webhooks that the API has too: {', '.join(sorted(twice))}")
    schemas.update(hooks["schemas"])
    api["x-events"] = hooks["events"]
    api["x-envelope"] = hooks["envelope"]
    api["x-webhook-schemas"] = sorted(hooks["schemas"])
    return api
