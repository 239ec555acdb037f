"""What notebooks and rich show of assets, lists and limits, and the example notebook."""

from __future__ import annotations

import ast
import inspect
import json
from html.parser import HTMLParser
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from rich.pretty import pretty_repr

from mux_async import Mux
from mux_async.models import Asset, LiveStream
from mux_async.testing import FakeTransport, respond

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
HOSTILE = '"><script>alert(1)</script>'
ASSET = {
    "id": "asset-1",
    "status": "ready",
    "created_at": "1700000000",
    "duration": 23.5,
    "playback_ids": [{"id": "play-1", "policy": "public"}],
}


class Tags(HTMLParser):
    """Collects the tags of a text, and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.values: dict[str, str | None] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.values.update({f"{tag}.{name}": value for name, value in attrs})


def html(value: Any) -> str:
    """Return what a notebook shows."""
    return str(value._repr_html_())


def test_asset() -> None:
    """A ready public asset shows a thumbnail that leads to Mux's player, and its state."""
    shown = html(Asset.from_wire(ASSET))
    tags = Tags(shown)
    assert tags.values["a.href"] == "https://player.mux.com/play-1"
    assert tags.values["img.src"] == "https://image.mux.com/play-1/thumbnail.jpg?width=320"
    assert "asset-1" in shown
    assert "ready, 23.5 s, public playback id play-1" in shown


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "preparing"},
        {"playback_ids": [{"id": "play-1", "policy": "signed"}]},
        {"playback_ids": [{"id": "../x", "policy": "public"}]},
        {"playback_ids": None},
    ],
)
def test_asset_without_preview(changes: dict[str, object]) -> None:
    """An asset that is not ready, is not public, or has no usable playback id, shows its id and state only."""
    shown = html(Asset.from_wire({**ASSET, **changes}))
    assert "img" not in Tags(shown).names
    assert "asset-1" in shown


@pytest.mark.parametrize("field", ["id", "status", "duration", "playback_ids"])
def test_hostile_values(field: str) -> None:
    """Text of the API cannot add tags to what a notebook shows, whatever type Mux gives a field."""
    value = [{"id": HOSTILE, "policy": HOSTILE}, {"id": HOSTILE, "policy": "public"}] if field == "playback_ids" else HOSTILE
    shown = html(Asset.from_wire({**ASSET, field: value}))
    assert set(Tags(shown).names) <= {"div", "p", "code", "a", "img"}
    assert "alert(1)" in shown


@pytest.mark.anyio
async def test_pages() -> None:
    """A page is a table of its items, escaped; a page of what has no such fields shows each item as text."""
    items = [{**ASSET, "id": HOSTILE}, ASSET]
    answer = FakeTransport(lambda _: respond(json={"data": items, "next_cursor": "more"}))
    async with Mux(token_id="id", token_secret="secret", transport=answer, account="notebook") as mux:
        shown = html(await mux.video.assets.list(limit=2))
    assert set(Tags(shown).names) == {"table", "caption", "tr", "th", "td"}
    assert "<caption>2, more follow</caption>" in shown
    assert "<td>23.5</td>" in shown


@pytest.mark.anyio
async def test_limits() -> None:
    """The limits and their snapshot are a table with a row for each bucket; rich shows the buckets."""
    async with Mux(token_id="id", token_secret="secret", transport=FakeTransport(lambda _: respond()), account="nb") as mux:
        for shown in (html(mux.limits), html(mux.limits.snapshot())):
            assert Tags(shown).names.count("tr") == 5
        assert "realtime_data=BucketSnapshot(" in pretty_repr(mux.limits)


def test_rich() -> None:
    """Rich shows the fields that have a value, and hides secrets."""
    assert pretty_repr(Asset.from_wire(ASSET)).startswith("Asset(\n    id='asset-1',")
    assert "upload_id" not in pretty_repr(Asset.from_wire(ASSET))
    shown = pretty_repr(LiveStream.from_wire({"id": "l", "stream_key": "very-secret", "status": "idle", "novel": 1}))
    assert "very-secret" not in shown
    assert "stream_key=***" in shown
    assert "extra=['novel']" in shown


async def run_cell(source: str, names: dict[str, Any]) -> object:
    """Run a cell as IPython does: with ``await``, and with the value of the last expression."""
    tree = ast.parse(source)
    end = tree.body[-1]
    last = ast.Expression(end.value) if isinstance(end, ast.Expr) else None
    if last:
        tree.body.pop()

    async def execute(code: CodeType) -> object:
        value = eval(code, names)
        return await value if inspect.iscoroutine(value) and code.co_flags & inspect.CO_COROUTINE else value

    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    await execute(compile(tree, "cell", "exec", flags=flags))
    return await execute(compile(last, "cell", "eval", flags=flags)) if last else None


@pytest.mark.asyncio
async def test_example() -> None:
    """Every cell of the example notebook runs, and it is stored without outputs."""
    names: dict[str, Any] = {}
    shown: list[object] = []
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            shown.append(await run_cell("".join(cell["source"]), names))
    tables = [html(value) for value in shown if value is not None]
    assert "https://player.mux.com/" in tables[0]
    assert [table.count("<tr>") for table in tables[1:]] == [2, 5]
