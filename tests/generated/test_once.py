"""Every create that can hold an idempotency key takes one, and its lookup agrees with the facts."""

from __future__ import annotations

import inspect
import shutil
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import codegen.__main__ as generator
from codegen import OVERLAYS, GeneratorError, Json
from mux_async import LimitSettings, Mux
from mux_async.testing import FakeTransport
from tests.generated import spec
from tests.generated.spec import Operation


def data_of(operation: Operation) -> Any:
    """Return the constant of the operation in its module of `mux_async.resources`."""
    group, _, name = operation.id.rpartition(".")
    return getattr(import_module(f"mux_async.resources.{group.replace('.', '_')}"), name.upper())


def by_id(operation_id: str) -> Operation:
    return next(operation for operation in spec.operations() if operation.id == operation_id)


def stampable(operation: Operation) -> str | None:
    """Return the field that a create's request offers for a key: ``meta.external_id`` before ``passthrough``."""
    members: Json = (operation.body or {}).get("properties", {})
    if operation.verb != "POST" or ".create" not in operation.id:
        return None
    if "meta" in members and "external_id" in spec.resolve(members["meta"])["properties"]:
        return "meta.external_id"
    if "passthrough" in members:
        return "passthrough"
    return "new_asset_settings.meta.external_id" if "new_asset_settings" in members else None


STAMPED = [operation for operation in spec.operations() if data_of(operation).once is not None]


def test_all_of_them() -> None:
    """Exactly the creates whose request has a field for a key take ``once``, and keep it in that field."""
    expected = {operation.id: stampable(operation) for operation in spec.operations() if stampable(operation) is not None}
    found = {operation.id: once.field for operation in STAMPED if (once := data_of(operation).once) is not None}

    assert found == expected
    assert len(found) >= 20


@pytest.mark.parametrize("operation", STAMPED, ids=lambda operation: operation.id)
def test_method(operation: Operation) -> None:
    """The method has ``once``, and its docstring says how long it may be and where it is kept."""
    mux = Mux(token_id="i", token_secret="s", transport=FakeTransport(), limits=LimitSettings(enabled=False), account="once")
    method = attrgetter(operation.id)(mux)
    once = data_of(operation).once
    assert once is not None
    text = " ".join((inspect.getdoc(method) or "").split())

    assert inspect.signature(method).parameters["once"].default is None
    assert f"at most {once.longest} characters, kept in ``{once.field}``" in text


@pytest.mark.parametrize("operation", STAMPED, ids=lambda operation: operation.id)
def test_place(operation: Operation) -> None:
    """The lookup is a read of the facts, under its name there, and its items have the field of the key."""
    data = data_of(operation)
    assert data.once is not None
    place = data.once.lookup
    read = by_id(place.id)
    assert data.found_in == place.id
    assert (read.verb, read.path) == ("GET", place.path)
    assert place.pagination.value == read.raw["x-pagination"]["style"]
    names = {parameter["name"] for parameter in read.parameters}
    assert set(place.query) <= names
    assert (place.limit is not None) == ("limit" in names)
    schema = read.answer[2]
    for name in place.items:
        schema = spec.resolve(schema)["properties"][name]
    thing = spec.resolve(spec.resolve(schema)["items"])
    if place.is_newest_first:
        assert "created_at" in thing["properties"]
    if data.once.dead_statuses:
        assert set(data.once.dead_statuses) <= set(spec.resolve(thing["properties"]["status"])["enum"])
    if place.is_summary:
        assert "created_at" in thing["properties"]
        assert data.once.retrieve is not None
    else:
        for name in data.once.members:
            thing = spec.resolve(thing["properties"][name])
        assert thing["type"] == "string"


@pytest.mark.parametrize("operation", STAMPED, ids=lambda operation: operation.id)
def test_things_with_an_address(operation: Operation) -> None:
    """What has a path of its own below the one it is made at can be read by its id; a part of another thing is read with that."""
    own = [each for each in spec.operations() if each.verb == "GET" and each.path.rpartition("/")[0] == operation.path]
    retrieve = getattr(data_of(operation).once, "retrieve", None)

    assert retrieve == (f"{operation.path}/{{ID}}" if any(each.path.endswith("_ID}") for each in own) else None)


@pytest.mark.parametrize("operation", [each for each in spec.operations() if each.verb == "POST"], ids=lambda each: each.id)
def test_every_write_says_where_to_look(operation: Operation) -> None:
    """A POST whose outcome can be in doubt names a read that shows what it did, or does nothing that could be seen."""
    data = data_of(operation)
    if data.found_in is None:
        assert data.replay != "never" or operation.id == "video.web_inputs.reload"
    else:
        assert by_id(data.found_in).verb == "GET"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[found]\n"video.assets.nothing" = "video.assets.list"', "not there.*video.assets.nothing"),
        ('[found]\n"video.assets.update" = "video.assets.delete"', "no read"),
        ('[once."video.assets.create_playback_id"]\nstamp = "passthrough"', "no passthrough"),
        ('[once."video.assets.create"]\nstamp = "meta.nothing"', "no meta.nothing"),
        ('[once."video.assets.create"]\nstamp = "meta"', "is not text"),
        (
            '[once."video.assets.create"]\nstamp = "passthrough"\nquery = { colour = "red" }',
            "asks video.assets.list for colour",
        ),
        ('[once."video.assets.create"]\nstamp = "passthrough"\nquery = { upload_id = "$nothing" }', "no nothing"),
        ('[once."video.nothing"]\nstamp = "passthrough"', "not there.*video.nothing"),
    ],
)
def test_overlays_that_fit_nothing(tmp_path: Path, text: str, message: str) -> None:
    """An entry that names no operation, no field or no parameter is refused by name."""
    overlays = Path(shutil.copytree(OVERLAYS, tmp_path / "overlays"))
    path = overlays / "operations.toml"
    section = text.splitlines()[0]
    old = path.read_text("utf-8")
    if section == "[found]":
        new = old.replace(section, text, 1)
    elif section in old:
        head, _, tail = old.partition(section + "\n")
        new = head + text + "\n" + tail.partition("\n\n")[2]
    else:
        new = f"{old}\n{text}\n"
    path.write_text(new, "utf-8")

    with pytest.raises(GeneratorError, match=message):
        generator.load_api(overlays=overlays)
