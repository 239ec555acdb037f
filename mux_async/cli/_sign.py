"""``mux-async sign``: tokens for signed playback ids, and addresses that hold them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from mux_async._config import DEFAULT_BASE_URL, check_base_url
from mux_async._setting_text import read_variable
from mux_async.cli._client import BaseUrl
from mux_async.cli._input import read_pairs
from mux_async.cli._output import stdout
from mux_async.playback import Hosts, Kind, Playback, viewer_counts_url
from mux_async.playback._parameters import KINDS, NAMES, parse_text

if TYPE_CHECKING:
    from mux_async.signing import CountsOf, Signer

_COUNTS: Final[Mapping[str, CountsOf]] = {"counts-video": "video", "counts-asset": "asset", "counts-live-stream": "live_stream"}
_SPACE: Final = ("role", "participant_id")
_ALL_KINDS: Final = (*KINDS, *_COUNTS, "space")


def complete_kind(incomplete: str) -> list[str]:
    """Complete the kinds of tokens."""
    return [each for each in _ALL_KINDS if each.startswith(incomplete)]


def sign(
    id: Annotated[
        str, typer.Argument(help="Playback id; for the kinds counts-* and space, the id of that.", show_default=False)
    ],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            "-k",
            help=f"{', '.join([*KINDS, *_COUNTS])} or space; may be repeated. Default: video.",
            metavar="KIND",
            autocompletion=complete_kind,
        ),
    ] = None,
    expires: Annotated[str, typer.Option(help="Lifetime of the token: 90, 30s, 2h30m, 7d.", metavar="SPAN")] = "7d",
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", help="Parameter of the stream or image, for each kind that has it.", metavar="NAME=VALUE"
        ),
    ] = None,
    restriction: Annotated[str | None, typer.Option(help="Playback restriction that has to be met too.", metavar="ID")] = None,
    url: Annotated[bool, typer.Option("--url", help="Print addresses with the tokens in them.")] = False,
    key_id: Annotated[str | None, typer.Option(help="Id of the signing key instead of MUX_SIGNING_KEY.", metavar="ID")] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="File with the private key instead of MUX_PRIVATE_KEY.", metavar="FILE")
    ] = None,
    base_url: BaseUrl = None,
) -> None:
    """Print a token for a signed playback id; for several kinds, all of them in the form that Mux Player takes.

    Nothing is sent: tokens are made here, with the key in MUX_SIGNING_KEY and MUX_PRIVATE_KEY.
    """
    kinds = kind or ["video"]
    for each in kinds:
        if each not in _ALL_KINDS:
            raise typer.BadParameter(f"{each!r} is not one of {', '.join(_ALL_KINDS)}")
    params = _parameters(param or [], kinds)
    signer = _signer(key_id, key_file)
    hosts = Hosts.of(check_base_url(base_url or read_variable("MUX_BASE_URL") or DEFAULT_BASE_URL, allow_insecure=True))
    tokens = {each: _token(signer, id, each, params, expires, restriction) for each in kinds}
    if url:
        lines = [_address(id, each, token, hosts) for each, token in tokens.items()]
    elif len(tokens) == 1:
        lines = list(tokens.values())
    else:
        from mux_async.signing import TOKEN_NAMES

        named = {TOKEN_NAMES.get(cast("Kind", each), f"{each}-token"): token for each, token in tokens.items()}
        lines = [json.dumps(named, indent=2)]
    for line in lines:
        stdout().print(line, markup=False, soft_wrap=True)


def _parameters(given: Sequence[str], kinds: Sequence[str]) -> dict[str, object]:
    """Read ``NAME=VALUE``, numbers and booleans as such; a name that no kind has is refused."""
    has = {name for each in kinds for name in (_SPACE if each == "space" else NAMES.get(cast("Kind", each), ()))}
    params: dict[str, object] = {}
    for name, value in read_pairs("--param", given):
        if name not in has:
            raise typer.BadParameter(
                f"{name!r} is not a parameter of {', '.join(kinds)}; there are {', '.join(sorted(has)) or 'none'}"
            )
        params[name] = value if name in _SPACE else parse_text(value)
    return params


def _signer(key_id: str | None, key_file: Path | None) -> Signer:
    from mux_async.signing import Signer
    from mux_async.signing._keys import from_environment, read_file

    environ = dict(os.environ)
    if key_id is not None:
        environ["MUX_SIGNING_KEY"] = key_id
    if key_file is not None:
        environ["MUX_PRIVATE_KEY"] = read_file(key_file).decode("utf-8", "replace")
    return Signer(*from_environment(environ))


def _token(signer: Signer, id: str, kind: str, params: Mapping[str, object], expires: str, restriction: str | None) -> str:
    if kind == "space":
        members: dict[str, Any] = {name: value for name, value in params.items() if name in _SPACE}
        return signer.sign_space(id, expires_in=expires, **members)
    if kind in _COUNTS:
        return signer.sign_viewer_counts(id, _COUNTS[kind], expires_in=expires)
    playback_kind = cast("Kind", kind)
    own: Any = {name: value for name, value in params.items() if name in NAMES[playback_kind]}
    return signer.sign(id, playback_kind, params=own, expires_in=expires, playback_restriction_id=restriction)


def _address(id: str, kind: str, token: str, hosts: Hosts) -> str:
    if kind in _COUNTS:
        return viewer_counts_url(token, hosts=hosts)
    playback = Playback(id, "signed")
    addresses: Mapping[str, Callable[..., str]] = {
        "video": playback.hls_url,
        "thumbnail": playback.thumbnail_url,
        "gif": playback.animated_url,
        "storyboard": playback.storyboard_url,
        "stats": playback.viewer_counts_url,
    }
    if kind not in addresses:
        raise typer.BadParameter(f"a token of kind {kind!r} has no single address; leave out --url")
    return addresses[kind](token=token, hosts=hosts)
