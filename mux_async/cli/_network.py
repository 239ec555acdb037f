"""The proxy and the certificate authorities of commands.

The options may be given before a command, or after one that sends requests: `with_network` adds them there, so that no command passes them
on.
"""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
import typer

from mux_async import TransportSettings
from mux_async.errors import ConfigurationError

_PANEL: Final = "The network"


def _proxy(variable: str | None = None) -> Any:
    explained = "Use this proxy; its URL may have a user and a password."
    return typer.Option("--proxy", envvar=variable, metavar="URL", rich_help_panel=_PANEL, help=explained)


def _ca_file(variable: str | None = None) -> Any:
    explained = "Trust the certificate authorities in this PEM file too."
    return typer.Option("--ca-file", envvar=variable, metavar="FILE", rich_help_panel=_PANEL, help=explained)


def _trust_env(variable: str | None = None) -> Any:
    explained = "Use the proxies of HTTPS_PROXY, ALL_PROXY and NO_PROXY."
    return typer.Option("--trust-env/--no-trust-env", envvar=variable, rich_help_panel=_PANEL, help=explained)


# Before a command, with a variable each; options after the command override them.
CommonProxy = Annotated[str | None, _proxy("MUX_PROXY")]
CommonCaFile = Annotated[Path | None, _ca_file("MUX_CA_FILE")]
CommonTrustEnv = Annotated[bool, _trust_env("MUX_TRUST_ENV")]
_OWN = {
    "proxy": Annotated[str | None, _proxy()],
    "ca_file": Annotated[Path | None, _ca_file()],
    "trust_env": Annotated[bool | None, _trust_env()],
}

VARIABLES: Final = ("MUX_PROXY", "MUX_CA_FILE", "MUX_TRUST_ENV")


@attrs.frozen
class Network:
    """The values of the options."""

    proxy: str | None = attrs.field(default=None, repr=False)
    ca_file: Path | None = None
    trust_env: bool = False

    def settings(self) -> TransportSettings | None:
        """Return the settings of a transport; ``None`` if there are none. Raises `ConfigurationError` if a value is invalid."""
        if self == Network():
            return None
        context = _trusting(self.ca_file) if self.ca_file is not None else None
        return TransportSettings(proxy=self.proxy, trust_env=self.trust_env, ssl_context=context)


_network: ContextVar[Network] = ContextVar("mux_async_cli_network", default=Network())  # noqa: B039 - immutable
set_network = _network.set
current_network = _network.get
"""The options of the running command."""


def _trusting(path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "it holds no certificate in PEM"
        raise ConfigurationError(f"the certificate authorities in {str(path)!r} cannot be read: {reason}") from error
    return context


def with_network(command: Callable[..., None]) -> Callable[..., None]:
    """Return *command* with the options of the network added to its own."""

    def run(
        *arguments: Any, proxy: str | None = None, ca_file: Path | None = None, trust_env: bool | None = None, **options: Any
    ) -> None:
        given: dict[str, Any] = {"proxy": proxy, "ca_file": ca_file, "trust_env": trust_env}
        set_network(attrs.evolve(current_network(), **{name: each for name, each in given.items() if each is not None}))
        command(*arguments, **options)

    own = inspect.signature(command, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OWN.items()
    ]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {each.name: each.annotation for each in (*own.parameters.values(), *more)}
    vars(run)["__signature__"] = own.replace(parameters=[*own.parameters.values(), *more])
    return run
