"""``mux-async emulate``: the emulator as a server for clients in any language.

The command's function is registered by the command line itself; nothing here imports an HTTP library before it runs.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Annotated, TypeAlias, cast, get_args

import anyio
import attrs
import typer

from mux_async.cli._interrupts import open_interrupts
from mux_async.emulator import (
    DEFAULT_TOKEN,
    Arrival,
    Delivery,
    Emulator,
    EmulatorSettings,
    Fault,
    LimitModel,
    RateRules,
    StateFileError,
    Token,
    WebhookFault,
    WebhookSettings,
    read_faults_file,
)

DEFAULT_PORT = 8787
Trouble: TypeAlias = tuple[list[Fault], list[WebhookFault]]


def parse_token(text: str) -> Token:
    """Read ``id:secret`` or ``id:secret:environment``.

    Raises:
        typer.BadParameter: It is neither; the message does not repeat it, because it holds a secret.
    """
    parts = text.split(":")
    if len(parts) not in {2, 3} or not all(parts):
        raise typer.BadParameter("a token is written id:secret or id:secret:environment")
    environment = parts[2] if len(parts) == 3 else DEFAULT_TOKEN.environment
    return Token(parts[0], parts[1], environment)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise typer.BadParameter(f"{name} is one of {', '.join(allowed)}")
    return value


def emulate(
    host: Annotated[
        str, typer.Option(help="Address to listen on; there is no TLS, so keep it this machine's own.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = DEFAULT_PORT,
    token: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:SECRET[:ENVIRONMENT]",
            help="An access token to accept; may be repeated. Default: test-token:test-secret.",
        ),
    ] = None,
    limits: Annotated[bool, typer.Option("--limits/--no-limits", help="Keep Mux's rate limits.")] = True,
    limit_model: Annotated[
        str, typer.Option(help="How an allowance is counted: token-bucket, fixed-window or sliding-window.")
    ] = "token-bucket",
    burst: Annotated[float, typer.Option(min=1.0, help="Size of each bucket, as a multiple of its rate per second.")] = 5.0,
    scope: Annotated[str, typer.Option(help="Who shares the buckets: account or environment.")] = "account",
    retry_after: Annotated[bool, typer.Option("--retry-after", help="Send Retry-After with a 429.")] = False,
    rate_headers: Annotated[bool, typer.Option("--rate-headers", help="Send X-RateLimit-* headers.")] = False,
    time_to_ready: Annotated[float, typer.Option(min=0.0, help="Seconds until a new asset is ready.")] = 1.0,
    time_scale: Annotated[
        float, typer.Option(min=0.001, help="How many times as fast Mux's time runs: work, windows, life spans, retries.")
    ] = 1.0,
    instant: Annotated[bool, typer.Option("--instant", help="Do at once what Mux works on.")] = False,
    webhook_url: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Where to send every event to; may be repeated.")
    ] = None,
    webhook_secret: Annotated[
        str | None, typer.Option(help="Signs what is sent to the URLs of --webhook-url; made up and printed when not given.")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(dir_okay=False, help="JSON file that says what is to go wrong, with requests and webhooks.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder to keep uploaded files in; without it their bytes are dropped.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to keep everything in, over restarts and crashes.")
    ] = None,
    seed: Annotated[str | None, typer.Option(help="Makes the same ids in every run; without it they differ.")] = None,
    arrivals: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to append a JSON line to for every request.")
    ] = None,
    stub: Annotated[bool, typer.Option("--stub", help="Keep no state: answer whatever Mux describes, for any id.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every request.")] = False,
) -> None:
    """Run Mux on this machine: API, resumable uploads, playlists and thumbnails on one origin, until interrupted."""
    if stub and state is not None:
        raise typer.BadParameter("--stub keeps nothing, so that there is nothing for --state to keep")
    tokens = tuple(parse_token(entry) for entry in token) if token else (DEFAULT_TOKEN,)
    rules = RateRules(
        model=cast("LimitModel", _one_of("--limit-model", limit_model, get_args(LimitModel))),
        burst=burst,
        scope="environment" if _one_of("--scope", scope, ("account", "environment")) == "environment" else "account",
        retry_after=retry_after,
        headers=rate_headers,
    )
    settings = EmulatorSettings(
        tokens=tokens,
        limits=rules if limits else None,
        time_to_ready=time_to_ready,
        store=store,
        seed=secrets.token_hex(16) if seed is None else seed,
        stub=stub,
        state=state,
        time_scale=time_scale,
        instant=instant,
        webhooks=_webhooks(webhook_url or (), webhook_secret),
    )
    trouble = _faults(faults)
    if arrivals is None:
        _run(settings, trouble, host, port, verbose=verbose, log_file=None)
        return
    try:
        log_file = arrivals.open("a", encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot write to {str(arrivals)!r}: {error.strerror}") from error
    with log_file:
        _run(settings, trouble, host, port, verbose=verbose, log_file=log_file)


def _webhooks(urls: Sequence[str], secret: str | None) -> tuple[WebhookSettings, ...]:
    shared = secrets.token_hex(20) if secret is None else secret
    try:
        return tuple(WebhookSettings(url, shared) for url in urls)
    except ValueError as error:
        raise typer.BadParameter("--webhook-url takes absolute URLs of http or https") from error


def _faults(path: Path | None) -> Trouble:
    if path is None:
        return [], []
    try:
        return read_faults_file(path)
    except OSError as error:
        raise typer.BadParameter(f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{str(path)!r} holds no faults: {error}") from error


def _run(settings: EmulatorSettings, faults: Trouble, host: str, port: int, *, verbose: bool, log_file: IO[str] | None) -> None:
    try:
        report = _deliveries_reporter() if verbose else None
        emulator = Emulator(settings, on_arrival=_reporter(verbose=verbose, log_file=log_file), on_delivery=report)
    except StateFileError as error:
        raise typer.BadParameter(str(error)) from error
    emulator.faults.add(*faults[0])
    emulator.webhook_faults.add(*faults[1])
    try:
        anyio.run(_serve, emulator, host, port, backend="asyncio")
    finally:
        emulator.close()


def _reporter(*, verbose: bool, log_file: IO[str] | None) -> Callable[[Arrival], None]:
    def report(arrival: Arrival) -> None:
        if log_file is not None:
            log_file.write(json.dumps(attrs.asdict(arrival)) + "\n")
            log_file.flush()
        if verbose:
            typer.echo(f"{arrival.method} {arrival.path} {arrival.status or 'cut'}")

    return report


def _deliveries_reporter() -> Callable[[Delivery], None]:
    def report(delivery: Delivery) -> None:
        answer = delivery.attempts[-1]
        typer.echo(f"webhook {delivery.event.type} {delivery.address} {answer.status or answer.error}")

    return report


async def _serve(emulator: Emulator, host: str, port: int) -> None:
    from mux_async.emulator.server import serve

    with open_interrupts() as signals:
        try:
            async with serve(emulator, host, port) as origin:
                for line in banner(emulator.settings, origin):
                    typer.echo(line)
                async for _ in signals:
                    break
        except OSError as error:
            typer.echo(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port", err=True)
            raise typer.Exit(1) from error
    typer.echo("stopped")


def banner(settings: EmulatorSettings, origin: str) -> list[str]:
    """Say where it runs and how to point a client at it. The tokens are the emulator's own, so they are shown."""
    lines = [f"Mux emulator on {origin}"]
    lines += [f"  token {token.id}:{token.secret.reveal()} (environment {token.environment})" for token in settings.tokens]
    first = settings.tokens[0]
    lines += [
        f"  export MUX_BASE_URL={origin}",
        f"  export MUX_TOKEN_ID={first.id}",
        f"  export MUX_TOKEN_SECRET={first.secret.reveal()}",
    ]
    for webhook in settings.webhooks:
        lines.append(f"  webhooks to {webhook.url}")
    if settings.webhooks:
        lines.append(f"  export MUX_WEBHOOK_SECRET={settings.webhooks[0].secret.reveal()}")
    rules = settings.limits
    lines.append(
        "  rate limits off" if rules is None else f"  rate limits on ({rules.model}, burst x{rules.burst:g}, per {rules.scope})"
    )
    return lines
