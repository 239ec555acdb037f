"""How commands reach their server: through which proxy, and whose certificates they trust.

The options may stand before a command, for all of them, or behind one that asks a server. There they are added to the command's own by
`with_network`, so that no command has to pass them on.
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
    explained = "Send everything through this proxy; user:password@ may stand before its host."
    return typer.Option("--proxy", envvar=variable, metavar="URL", rich_help_panel=_PANEL, help=explained)


def _ca_file(variable: str | None = None) -> Any:
    explained = "Trust the certificate authorities in this PEM file too."
    return typer.Option("--ca-file", envvar=variable, metavar="FILE", rich_help_panel=_PANEL, help=explained)


def _trust_env(variable: str | None = None) -> Any:
    explained = "Use the proxies of HTTPS_PROXY, ALL_PROXY and NO_PROXY."
    return typer.Option("--trust-env/--no-trust-env", envvar=variable, rich_help_panel=_PANEL, help=explained)


# Before a command, with a variable each; a command's own options count more.
CommonProxy = Annotated[str | None, _proxy("MUX_PROXY")]
CommonCaFile = Annotated[Path | None, _ca_file("MUX_CA_FILE")]
CommonTrustEnv = Annotated[bool, _trust_env("MUX_TRUST_ENV")]
_Proxy = Annotated[str | None, _proxy()]
_CaFile = Annotated[Path | None, _ca_file()]
_TrustEnv = Annotated[bool | None, _trust_env()]

VARIABLES: Final = ("MUX_PROXY", "MUX_CA_FILE", "MUX_TRUST_ENV")


@attrs.frozen
class Network:
    """What was asked for."""

    proxy: str | None = attrs.field(default=None, repr=False)
    ca_file: Path | None = None
    trust_env: bool = False

    def settings(self) -> TransportSettings | None:
        """Return the settings of a transport; ``None`` when nothing was asked for.

        Raises:
            ConfigurationError: The proxy is no URL, or the file holds no certificates.
        """
        if self == Network():
            return None
        context = _trusting(self.ca_file) if self.ca_file is not None else None
        return TransportSettings(proxy=self.proxy, trust_env=self.trust_env, ssl_context=context)


_network: ContextVar[Network | None] = ContextVar("mux_async_cli_network", default=None)


def set_network(network: Network) -> None:
    """Set what `current_network` returns from here on, for one run of the command line."""
    _network.set(network)


def current_network() -> Network:
    """Return what the running command was asked for."""
    return _network.get() or Network()


def _trusting(path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "it holds no certificate in PEM"
        raise ConfigurationError(f"the certificate authorities in {str(path)!r} cannot be read: {reason}") from error
    return context


def with_network(command: Callable[..., None]) -> Callable[..., None]:
    """Return *command* with the options of the network behind its own."""

    def run(
        *arguments: Any, proxy: str | None = None, ca_file: Path | None = None, trust_env: bool | None = None, **options: Any
    ) -> None:
        before = current_network()
        set_network(
            Network(
                proxy if proxy is not None else before.proxy,
                ca_file if ca_file is not None else before.ca_file,
                trust_env if trust_env is not None else before.trust_env,
            )
        )
        command(*arguments, **options)

    own = inspect.signature(command, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in [("proxy", _Proxy), ("ca_file", _CaFile), ("trust_env", _TrustEnv)]
    ]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {each.name: each.annotation for each in (*own.parameters.values(), *more)}
    vars(run)["__signature__"] = own.replace(parameters=[*own.parameters.values(), *more])
    return run
