"""From what a user says about a transport to the factory that makes one.

The adapters of this distribution are found by name without looking at what else is installed; anybody else's by the entry point
group ``mux_async.transports`` (see `mux_async.transport`). Ours are imported, and their HTTP library with them, when the first transport
is opened: an import of aiohttp takes longer than everything else that a program does up to its first answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import NamedTuple, cast

from mux_async.errors import ConfigurationError, MissingExtraError, UnknownTransportError
from mux_async.transport import ENTRY_POINT_GROUP, Transport, TransportFactory, TransportSettings


class TransportChoice(NamedTuple):
    """A transport that was chosen and not opened yet; called inside the event loop that will use it, once per loop.

    Attributes:
        name: As the user wrote it, or the type of what they passed.
        factory: Makes the transport.
        is_shared: Whether the user passed a transport of their own: the same one on every loop, and theirs to close.
        package: Of an adapter of this distribution.
    """

    name: str
    factory: TransportFactory
    is_shared: bool = False
    package: str | None = None

    def check(self, settings: TransportSettings | None) -> None:
        """Refuse *settings* that would have no effect, as far as that shows without an event loop."""
        if settings is None:
            return
        if self.is_shared:
            raise ConfigurationError(
                f"transport_settings have no effect on a transport that is handed in: set up the {self.name} itself, or pass its class"
            )
        # Imports the HTTP library, so only where there is something to check.
        if self.package is not None and (settings.options or settings.proxy is not None):
            import_module(self.package).check_settings(settings)

    def __call__(self, settings: TransportSettings) -> Transport:
        """Make the transport for the running event loop, or hand out the user's own."""
        return self.factory(settings)


class _BuiltIn(NamedTuple):
    package: str
    libraries: Sequence[str]
    """Import names; any one of them will do."""
    extra: str | None
    """Which extra brings one; ``None`` for a dependency of the distribution itself."""


_BUILT_IN = {
    "aiohttp": _BuiltIn("mux_async_aiohttp", ("aiohttp",), None),
    "httpx": _BuiltIn("mux_async_httpx", ("httpx2", "httpx"), "httpx"),
}


def resolve_transport(spec: str | Transport | TransportFactory) -> TransportChoice:
    """Find the factory for *spec*: a name, a transport, or a factory (a class counts as one).

    Raises:
        UnknownTransportError: No transport of that name is installed.
        MissingExtraError: It is ours, and its HTTP library is not installed.
        ConfigurationError: It belongs to another package and cannot be imported, or *spec* is not one of the three.
    """
    if isinstance(spec, str):
        built_in = _BUILT_IN.get(spec)
        return TransportChoice(spec, _find(spec), package=built_in.package if built_in is not None else None)
    # A class has the methods that its instances have, so the protocol alone would take one for a transport.
    if isinstance(spec, Transport) and not isinstance(spec, type):
        transport = spec

        def hand_out(_settings: TransportSettings) -> Transport:
            return transport

        return TransportChoice(type(spec).__name__, hand_out, is_shared=True)
    if callable(spec):
        return TransportChoice(getattr(spec, "__name__", type(spec).__name__), cast("TransportFactory", spec))
    raise ConfigurationError(
        f"transport is of type {type(spec).__name__}; it is a name such as 'aiohttp', a transport with send and aclose, "
        f"or a function that takes TransportSettings and returns one"
    )


def installed_transports() -> list[str]:
    """Return the names that `resolve_transport` knows, sorted; ours, and those of installed packages."""
    from importlib import metadata

    return sorted({*_BUILT_IN, *metadata.entry_points(group=ENTRY_POINT_GROUP).names})


def load_transport(name: str) -> TransportFactory:
    """Import the factory of a transport, and what it needs. Raises what `resolve_transport` does."""
    built_in = _BUILT_IN.get(name)
    if built_in is None:
        return _find(name)
    _check_extra(name, built_in)
    return _import(name, lambda: import_module(built_in.package).create_transport)


def _find(name: str) -> TransportFactory:
    built_in = _BUILT_IN.get(name)
    if built_in is not None:
        _check_extra(name, built_in)
        return partial(_open_built_in, name)
    # Imported here: this brings as much as the rest of the client.
    from importlib import metadata

    found = list(metadata.entry_points(group=ENTRY_POINT_GROUP, name=name))
    if not found:
        raise UnknownTransportError(_unknown(name))
    return _import(name, found[0].load)


def _open_built_in(name: str, settings: TransportSettings) -> Transport:
    return load_transport(name)(settings)


def _check_extra(name: str, built_in: _BuiltIn) -> None:
    if built_in.extra is not None:
        from importlib import util

        if not any(util.find_spec(library) for library in built_in.libraries):
            raise MissingExtraError(f"the {name!r} transport", " or ".join(built_in.libraries), built_in.extra)


def _import(name: str, load: Callable[[], object]) -> TransportFactory:
    try:
        factory = load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the {name!r} transport is installed and cannot be imported: {error}") from error
    if not callable(factory):
        raise ConfigurationError(f"the {name!r} transport is no function that takes TransportSettings: it is {factory!r}")
    return cast("TransportFactory", factory)


def _unknown(name: str) -> str:
    import difflib

    names = installed_transports()
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no transport is called {name!r}{hint} (installed: {', '.join(map(repr, names))})"
