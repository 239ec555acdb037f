"""Forms: what is out of the ordinary is read the slow way once, and after that as everything else is."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
import orjson
import pytest

from mux_async._models.json_reader import GIVES_UP
from mux_async._models.model import Model, drafts, thaw
from mux_async._models.objects import many, one
from mux_async._models.struct_decoder import NUMBER, OBJECT, OBJECTS, TIME, Form, object_text
from mux_async._models.times import Notes, seconds_text
from mux_async._types import UNSET


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Inner(Model):
    name: str | None = None

    @classmethod
    def _form(cls) -> Form:
        return Form({}, {"name": str})

    @classmethod
    def _fill(cls, it: Any, got: Any) -> None:
        thaw[it] = drafts[cls]
        it.name = got.name
        it.__class__ = cls


class Thing:
    """Any object that takes attributes: what a form fills."""


def make() -> Form:
    return Form(
        {"id": str, "made_at": TIME},
        {"status": ("new", "old"), "size": NUMBER, "inner": OBJECT, "others": OBJECTS, "class_": str},
        {"class_": "class"},
    )


def fill(it: Any, got: Any) -> Notes:
    notes: Notes = {}
    it.id = got.id
    it.made_at = seconds_text(got.made_at, notes, "made_at")
    it.status = got.status
    it.size = got.size
    it.inner = one(Inner, got.inner)
    it.others = many(Inner, got.others)
    it.class_ = got.class_
    return notes


USUAL: dict[str, Any] = {"id": "a", "made_at": "5", "status": "new", "size": 3, "inner": {"name": "x"}, "class": "c"}


def read(form: Form, raw: dict[str, Any]) -> tuple[Thing, dict[str, object], dict[str, object]]:
    """Read the text of *raw* by its form alone."""
    it = Thing()
    kept = form.fill(it, form.decode(orjson.dumps(raw)), fill)
    return it, dict(kept.extra), dict(kept.notes)


def read_loosely(form: Form, raw: dict[str, Any]) -> tuple[Thing, dict[str, object], dict[str, object]]:
    it = Thing()
    kept = form.fill_loosely(it, raw, fill)
    return it, dict(kept.extra), dict(kept.notes)


def test_usual() -> None:
    """What the description of the API says is read at once: enums are the known strings themselves, and numbers keep their form."""
    it, extra, notes = read(make(), USUAL)

    assert (vars(it)["status"], vars(it)["size"], vars(it)["class_"], vars(it)["others"]) == ("new", 3, "c", None)
    assert vars(it)["inner"] == Inner(name="x")
    assert (extra, notes) == ({}, {})
    assert vars(it)["status"] is vars(read(make(), USUAL)[0])["status"]
    assert type(vars(read(make(), {**USUAL, "size": 3.0})[0])["size"]) is float


ODD: list[dict[str, Any]] = [
    {"hologram": {"depth": 3}},
    {"status": "reticulating"},
    {"status": None},
    {"size": None},
    {"size": "large"},
    {"size": True},
    {"inner": None},
    {"inner": "text"},
    {"inner": [{}]},
    {"others": None},
    {"others": [{"name": "y"}, None]},
    {"others": [["z"]]},
    {"others": {}},
    {"id": None},
    {"id": 7},
    {"made_at": None},
    {"made_at": {"seconds": 5}},
    {"class": None, "class_": 1},
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_learns(odd: dict[str, Any]) -> None:
    """A form gives up at what it does not know. Its successor reads that, and what is usual as well, as the slow way does."""
    raw = {**USUAL, **odd}
    form = make()
    with pytest.raises(GIVES_UP):
        read(form, raw)

    wider = form.widened(raw)

    for one_of in (raw, USUAL, {"id": "a", "made_at": 1}):
        it, *kept = read(wider, one_of)
        expected, *expected_kept = read_loosely(form, one_of)
        assert vars(it) == vars(expected)
        assert kept == expected_kept
    assert wider.widened(raw) is wider
    assert make().widened(USUAL).decode(orjson.dumps(USUAL)).id == "a"


def test_missing() -> None:
    """A required field that is missing reads None, and is noted; so it is at once from then on, until it is there again."""
    form = make()
    with pytest.raises(GIVES_UP):
        form.decode(b'{"id":"a"}')
    wider = form.widened({"id": "a"})

    for it, extra, notes in (read_loosely(form, {"id": "a"}), read(wider, {"id": "a"}), read_loosely(wider, {"id": "a"})):
        assert vars(it)["made_at"] is None
        assert notes == {"made_at": UNSET}
        assert extra == {}
    assert vars(read(wider, USUAL)[0]) == vars(read(form, USUAL)[0])
    assert read(wider, USUAL)[2] == {}
    assert wider.widened({"id": "a"}) is wider


def test_learning_ends() -> None:
    """An API that never says the same thing twice costs the slow way, and no more: neither memory nor forms without end."""
    forms = [make()]
    for number in range(100):
        wider = forms[-1].widened({**USUAL, f"new_{number}": 1})
        if wider is not forms[-1]:
            forms.append(wider)
    many_at_once = make().widened({**USUAL, **{f"new_{number}": 1 for number in range(1000)}})

    assert len(forms) == 17
    assert sum(read(many_at_once, {**USUAL, f"new_{number}": 1})[1] != {} for number in range(64)) == 64
    with pytest.raises(GIVES_UP):
        read(many_at_once, {**USUAL, "new_999": 1})


@pytest.mark.parametrize("name", ['"', "\\", "\n", "", "x" * 65, "é", "\x00"])
def test_names_that_are_not_learned(name: str) -> None:
    """Names that no API would use are read the slow way each time."""
    form = make()

    assert form.widened({**USUAL, name: 1}) is form


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b'"x"', b"{", b"{} x", b'{"a":\xff}', b'{"a":"\xff"}', b'{"a":"\\ud800"}']
)
def test_not_the_text_of_an_object(text: bytes) -> None:
    """Text is held for later only once it is sure that it is a JSON object."""
    with pytest.raises(GIVES_UP):
        object_text(text)


def test_space_around() -> None:
    """Of the text of an object nothing is held that does not belong to it."""
    assert object_text(b' \r\n{"a": [1, 2]}\t') == b'{"a": [1, 2]}'


def test_no_hold_on_the_whole() -> None:
    """An object of a list that is kept does not keep the text of the list."""
    text = orjson.dumps({**USUAL, "others": [{"name": "x" * 1000}, {}]})

    others = make().decode(text).others

    assert all(isinstance(raw, msgspec.Raw) for raw in others)
    kept = many(Inner, others)
    assert [len(vars(Model)["extra"].fset.__self__.__get__(item)) for item in kept] == [1011, 2]
