"""Write the tables of settings in ``docs/configuration.md`` from signatures and docstrings.

``python -m tools.settings_tables`` (or ``make tables``) writes them. A test fails when a table is not up to date, or when a variable of the
environment that the code reads is not on the page.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from mux_async import BucketSettings, CallOptions, LimitSettings, Mux, RetryPolicy, RetrySettings, Timeouts, TransportSettings
from mux_async.limits import AdaptiveSettings
from mux_async.uploads import UploadSettings
from mux_async.webhooks import WebhookRouter
from tools.sources import ROOT

PAGE: Final = ROOT / "docs" / "configuration.md"
CLASSES: Final[tuple[type, ...]] = (
    Mux, CallOptions, Timeouts, RetryPolicy, TransportSettings, LimitSettings, BucketSettings, AdaptiveSettings, RetrySettings,
    UploadSettings, WebhookRouter,
)  # fmt: skip
_VARIABLE: Final = re.compile(r"""["'](MUX_[A-Z_]+)["']""")
_MEMBER: Final = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def variables() -> set[str]:
    """Return the names of all environment variables of this package that its code reads."""
    return {name for path in (ROOT / "mux_async").rglob("*.py") for name in _VARIABLE.findall(path.read_text("utf-8"))}


def _field_docstrings(cls: type) -> Mapping[str, str]:
    (body,) = [node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef)]
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _descriptions(cls: type) -> Mapping[str, str]:
    found = _MEMBER.findall(inspect.getdoc(cls) or "")
    return {**dict(found), **_field_docstrings(cls)}


def _plain(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" \(facts/[^)]*\)", "", text)
    return text.replace("``", "`").replace("|", "\\|")


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if isinstance(value, bool | int | float | str | BucketSettings):
        return f"`{value!r}`"
    return ""  # its description says what happens without it


def settings(cls: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and description of each setting of *cls*.

    Raises:
        KeyError: A setting has no description.
    """
    descriptions = _descriptions(cls)
    make: Callable[..., object] = cls
    for name, parameter in inspect.signature(make).parameters.items():
        yield name, _default(parameter.default), _plain(descriptions[name])


def table(cls: type) -> str:
    """Return the table of one class."""
    rows = [f"| `{name}` | {default} | {text} |" for name, default, text in settings(cls)]
    return "\n".join(["| setting | default | what it is |", "| --- | --- | --- |", *rows]) + "\n"


def page_with_tables(page: str) -> str:
    """Return the text of the page with a current table for each class."""
    for cls in CLASSES:
        start, end = f"<!-- settings: {cls.__name__} -->\n", f"<!-- end of {cls.__name__} -->\n"
        before, found, rest = page.partition(start)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"{PAGE.name} has no place for {cls.__name__}: {start.strip()} and {end.strip()}")
        page = f"{before}{start}\n{table(cls)}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text("utf-8")), "utf-8")
