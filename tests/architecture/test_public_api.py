"""The public API: what `docs/api.txt` lists."""

from __future__ import annotations

import difflib

from tools.public_api import LISTING, defines_names, exported, find, is_public, listing
from tools.sources import modules


def test_listing_is_up_to_date() -> None:
    """A change of the public API is a change of docs/api.txt, which `make api` writes."""
    difference = list(difflib.unified_diff(LISTING.read_text("utf-8").splitlines(), listing().splitlines(), n=0, lineterm=""))

    assert not difference, "run `make api`, and add to docs/upgrading.md what users have to change"


def test_every_public_module_has_exports() -> None:
    """A public module says in ``__all__`` which of its names are public, and defines each of them."""
    every = modules()
    public = {module: exported(module) for module in every if is_public(module)}

    assert [module for module, names in public.items() if names is None and defines_names(module)] == []
    assert [
        f"{module}.{name}"
        for module, names in public.items()
        for name in names or ()
        if name != "__version__" and not find(module, name) and f"{module}.{name}" not in every
    ] == []
