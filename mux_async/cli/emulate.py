"""``mux-async emulate``: the emulator as a server for clients in any language.

The command's function is registered by the command line itself; nothing here imports an HTTP library before it runs.
"""

from __future__ import annotations

import gc
import json
import secrets
import time
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

import anyio
import attrs
import typer

from mux_async.cli._emulated_encoders import (
    AnywhereOption,
    Encoders,
    RtmpOption,
    SrtOption,
    SrtStreamOption,
    wanted_encoders,
)
from mux_async.cli._emulated_tls import (
    DEFAULT_TLS_PORT,
    CaFolderOption,
    DomainOption,
    Secure,
    TlsOption,
    TlsPortOption,
    authority_folder,
    tls_lines,
)
from mux_async.cli._emulated_tokens import METAVAR, complete_token, parse_token
from mux_async.cli._interrupts import open_interrupts
from mux_async.cli._live_log import LiveLog
from mux_async.emulator import (
    ALL_PERMISSIONS,
    DEFAULT_TOKEN,
    Arrival,
    DataSource,
    Delivery,
    Emulator,
    EmulatorSettings,
    Fault,
    LimitModel,
    RateRules,
    RobotsPlan,
    StateFileError,
    Token,
    WebhookFault,
    WebhookSettings,
    WorkFault,
    read_faults_file,
)
from mux_async.emulator.media import FetchRule, MediaWorker, has_media
from mux_async.limits import LimitScope

__all__ = ["DEFAULT_PORT", "Trouble", "banner", "emulate"]

DEFAULT_PORT = 8787
"""The port on which ``mux-async emulate`` listens."""
Trouble: TypeAlias = tuple[list[Fault], list[WebhookFault], list[WorkFault]]
"""Faults of requests, of webhook deliveries, and of the processing of media."""
_ModelName: TypeAlias = Literal["token", "fixed", "sliding", "token-bucket", "fixed-window", "sliding-window"]
_MODELS: dict[str, LimitModel] = {"token": "token-bucket", "fixed": "fixed-window", "sliding": "sliding-window"}


def emulate(
    host: Annotated[str, typer.Option(help="Address to listen on; a local one, because the tokens are public.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="A name, without a port, under which the page and the control calls may be used, besides those of this machine; may be"
            " repeated.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = DEFAULT_PORT,
    token: Annotated[
        list[str] | None,
        typer.Option(
            metavar=METAVAR,
            autocompletion=complete_token,
            help="An access token to accept; may be repeated. PERMISSIONS are separated by commas: video:read, video, read or all; without"
            " them it may do everything. The word low makes it a token of low priority. Default: test-token:test-secret.",
        ),
    ] = None,
    limits: Annotated[Literal["on", "off"], typer.Option(help="Whether Mux's rate limits are enforced.")] = "on",
    no_limits: Annotated[bool, typer.Option("--no-limits", hidden=True, help="The same as --limits off.")] = False,
    limit_model: Annotated[
        _ModelName,
        typer.Option(
            metavar="token|fixed|sliding",
            help="How an allowance is counted: a bucket that refills, fixed windows, or a sliding one.",
        ),
    ] = "token",
    burst: Annotated[float, typer.Option(min=1.0, help="Size of each bucket, as a multiple of its rate per second.")] = 5.0,
    limit_scope: Annotated[
        LimitScope,
        typer.Option(
            "--limit-scope",
            "--scope",
            help="Which tokens share the buckets: all, those of an environment, or those of an environment and a priority.",
        ),
    ] = "account",
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
        str | None, typer.Option(help="Secret that signs deliveries to --webhook-url; random, and printed, if not given.")
    ] = None,
    accept_robots_terms: Annotated[
        bool, typer.Option("--accept-robots-terms", help="Accept the terms of Robots v1, which answers 403 until they are.")
    ] = False,
    robots_units: Annotated[
        int | None,
        typer.Option(min=0, help="Units of Robots jobs after which the next is a 403; without it there is no limit."),
    ] = None,
    robots_workflow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A workflow of Robots that may be used; may be repeated; without it all may be."),
    ] = None,
    faults: Annotated[Path | None, typer.Option(dir_okay=False, help="JSON file with faults of requests and webhooks.")] = None,
    store: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder to keep uploaded files in; without it their bytes are dropped.")
    ] = None,
    media: Annotated[
        Literal["auto", "off"],
        typer.Option(help="Whether media are examined and made playable. auto: if mux-async[media] is installed."),
    ] = "auto",
    fetch: Annotated[
        FetchRule,
        typer.Option(
            help="Which URLs of inputs are fetched and examined. auto: those that respond; the rest gets synthetic media."
        ),
    ] = "auto",
    rtmp: RtmpOption = None,
    srt: SrtOption = None,
    srt_stream: SrtStreamOption = None,
    simulcast_anywhere: AnywhereOption = False,
    state: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to keep everything in, over restarts and crashes.")
    ] = None,
    seed: Annotated[str | None, typer.Option(help="Makes the same ids in every run; without it they differ.")] = None,
    arrivals: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to append a JSON line to for every request.")
    ] = None,
    tls: TlsOption = False,
    tls_port: TlsPortOption = DEFAULT_TLS_PORT,
    domain: DomainOption = None,
    ca_folder: CaFolderOption = None,
    data: Annotated[
        DataSource,
        typer.Option(
            help="Which views the Data API has: those generated from the seed, those that Mux's players report as they play, or both."
        ),
    ] = "both",
    stub: Annotated[bool, typer.Option("--stub", help="Keep no state: answer whatever Mux describes, for any id.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Do not print a line for every request and every webhook.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", hidden=True, help="How it is without --quiet.")] = False,  # noqa: ARG001 - taken, as earlier versions needed it
) -> None:
    """Run Mux on this machine: API, resumable uploads, playlists and thumbnails on one origin, until interrupted."""
    if stub and state is not None:
        raise typer.BadParameter("--stub keeps nothing, so that there is nothing for --state to keep")
    without_media = _without_media(media, stub=stub)
    encoders = wanted_encoders(rtmp, anywhere=simulcast_anywhere, srt=srt, srt_stream=srt_stream, without_media=without_media)
    if webhook_secret is not None and not webhook_url:
        raise typer.BadParameter("--webhook-secret signs deliveries to --webhook-url, which is missing")
    if not tls and (domain or tls_port != DEFAULT_TLS_PORT):
        raise typer.BadParameter(f"{'--domain' if domain else '--tls-port'} is for https, so that it needs --tls")
    rules = RateRules(
        model=_MODELS[limit_model.split("-")[0]], burst=burst, scope=limit_scope, retry_after=retry_after, headers=rate_headers
    )
    settings = EmulatorSettings(
        tokens=_tokens(token or ()),
        limits=rules if limits == "on" and not no_limits else None,
        time_to_ready=time_to_ready,
        store=store,
        seed=secrets.token_hex(16) if seed is None else seed,
        stub=stub,
        state=state,
        time_scale=time_scale,
        instant=instant,
        accept_robots_terms=accept_robots_terms,
        robots_plan=_robots_plan(robots_units, robots_workflow),
        webhooks=_webhooks(webhook_url or (), webhook_secret),
        allowed_hosts=tuple(allow_host or ()),
        domains=_domains(domain or ()),
        data=data,
    )
    secure = Secure(authority_folder(ca_folder), tls_port) if tls else None
    wants_media = media == "auto" and not stub and has_media()
    trouble = _faults(faults)
    with _media(settings, fetch) if wants_media else nullcontext() as worker:
        _run(
            attrs.evolve(settings, media=worker),
            trouble,
            host,
            port,
            quiet=quiet,
            arrivals=arrivals,
            secure=secure,
            encoders=encoders,
        )


def _domains(names: Sequence[str]) -> tuple[str, ...]:
    try:
        return EmulatorSettings(domains=tuple(names)).domains
    except ValueError as error:
        raise typer.BadParameter(f"--domain: {error}") from error


def _without_media(media: str, *, stub: bool) -> str | None:
    """Return why there are no real media; ``None`` if there are."""
    if stub:
        return "--stub keeps none"
    if media == "off":
        return "--media off excludes them"
    return None if has_media() else "pip install 'mux-async[media]'"


def _robots_plan(units: int | None, workflows: Sequence[str] | None) -> RobotsPlan:
    try:
        return RobotsPlan(units, tuple(workflows) if workflows else None)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _media(settings: EmulatorSettings, fetch: FetchRule) -> MediaWorker:
    """Open the folder of media: in the store, else beside the state file, else a temporary one."""
    state = settings.state
    folder = settings.store / "media" if settings.store is not None else state and state.with_name(f"{state.name}.media")
    try:
        if settings.store is not None:
            settings.store.mkdir(parents=True, exist_ok=True)
        return MediaWorker(folder, fetch=fetch)
    except OSError as error:
        raise typer.BadParameter(f"cannot store media in {str(error.filename or folder)!r}: {error.strerror}") from error


def _tokens(entries: Sequence[str]) -> tuple[Token, ...]:
    tokens = tuple(parse_token(entry) for entry in entries)
    twice = next((one.id for one in tokens if sum(one.id == other.id for other in tokens) > 1), None)
    if twice is not None:
        raise typer.BadParameter(f"there are two tokens with the id {twice!r}")
    return tokens or (DEFAULT_TOKEN,)


def _webhooks(urls: Sequence[str], secret: str | None) -> tuple[WebhookSettings, ...]:
    shared = secrets.token_hex(20) if secret is None else secret
    try:
        return tuple(WebhookSettings(url, shared) for url in urls)
    except ValueError as error:
        raise typer.BadParameter("--webhook-url takes absolute URLs of http or https") from error


def _faults(path: Path | None) -> Trouble:
    try:
        return ([], [], []) if path is None else read_faults_file(path)
    except OSError as error:
        raise typer.BadParameter(f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{str(path)!r} holds no faults: {error}") from error


def _run(
    settings: EmulatorSettings,
    faults: Trouble,
    host: str,
    port: int,
    *,
    quiet: bool,
    arrivals: Path | None,
    secure: Secure | None = None,
    encoders: Encoders | None = None,
) -> None:
    with ExitStack() as stack:
        try:
            log_file = None if arrivals is None else stack.enter_context(arrivals.open("a", encoding="utf-8"))
        except OSError as error:
            raise typer.BadParameter(f"cannot write to {str(arrivals)!r}: {error.strerror}") from error
        log = None if quiet else stack.enter_context(LiveLog())
        try:
            emulator = Emulator(
                settings,
                on_arrival=partial(_note, log, log_file),
                on_delivery=None if log is None else partial(_note_delivery, log),
            )
        except StateFileError as error:
            raise typer.BadParameter(str(error)) from error
        stack.callback(emulator.close)
        emulator.faults.add(*faults[0])
        emulator.webhook_faults.add(*faults[1])
        emulator.work_faults.add(*faults[2])
        anyio.run(_serve, emulator, host, port, secure, encoders, log, backend="asyncio")
        if log is None or log.close():
            typer.echo("stopped")


def _note(log: LiveLog | None, log_file: IO[str] | None, arrival: Arrival) -> None:
    """Write a request to the log and to the file of arrivals."""
    if log_file is not None:
        log_file.write(json.dumps(attrs.asdict(arrival)) + "\n")
        log_file.flush()
    if log is not None:
        log.line(f"{time.strftime('%H:%M:%S')} {arrival.method} {arrival.path} {arrival.status or 'cut'}")


def _note_delivery(log: LiveLog, delivery: Delivery) -> None:
    answer = delivery.attempts[-1]
    log.line(f"{time.strftime('%H:%M:%S')} webhook {delivery.event.type} {delivery.address} {answer.status or answer.error}")


async def _serve(
    emulator: Emulator, host: str, port: int, secure: Secure | None, encoders: Encoders | None, log: LiveLog | None
) -> None:
    from mux_async.emulator.server import serve, serve_tls

    async with AsyncExitStack() as stack:
        signals = stack.enter_context(open_interrupts())
        stack.enter_context(_rare_collections())
        settings = emulator.settings
        certificates = None if secure is None else secure.open(settings, host)
        with _listening(host, port, "--port"):
            origin = await stack.enter_async_context(serve(emulator, host, port))
        more: list[str] = []
        if secure is not None and certificates is not None:
            with _listening(host, secure.port, "--tls-port"):
                secure_origin = await stack.enter_async_context(serve_tls(emulator, certificates, host, secure.port))
            more = tls_lines(secure.folder, certificates, secure_origin, settings.domains)
        if encoders is not None:
            with _listening(host, encoders.port, "--rtmp"):
                line = None if log is None else log.line
                address = await stack.enter_async_context(encoders.serve(emulator, host, line))
            more.append(f"  encoders push to {address}/STREAM_KEY")
            if encoders.srt_port is not None:
                with _listening(host, encoders.srt_port, "--srt"):
                    address = await stack.enter_async_context(encoders.serve_srt(emulator, host, encoders.srt_port, line))
                more.append(f"  or to {address}?streamid=STREAM_KEY&passphrase=SRT_PASSPHRASE")
        for line_of_banner in banner(settings, origin, more):
            typer.echo(line_of_banner)
        async for _ in signals:
            break


@contextmanager
def _listening(host: str, port: int, option: str) -> Generator[None, None, None]:
    """Explain an address that cannot be listened on."""
    try:
        yield
    except OSError as error:
        typer.echo(f"cannot listen on {host}:{port}: {error.strerror}; choose another with {option}", err=True)
        raise typer.Exit(1) from error


@contextmanager
def _rare_collections() -> Generator[None, None, None]:
    """Run the collector of reference cycles less often than by default.

    With 10,000 assets one full collection blocks the server for 80 ms and frees nothing: requests leave no cycles behind. The young
    generations are still collected, after more allocations.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def banner(settings: EmulatorSettings, origin: str, more: Sequence[str] = ()) -> list[str]:
    """Say where it runs and how to point a client at it. The tokens are the emulator's own, so they are shown."""
    lines = [f"Mux emulator on {origin}"]
    for token in settings.tokens:
        rights = "" if token.permissions == ALL_PERMISSIONS else f", {','.join(token.permissions)}"
        rights += ", low priority" if token.priority == "low" else ""
        lines.append(f"  token {token.id}:{token.secret.reveal()} (environment {token.environment}{rights})")
    first = settings.tokens[0]
    lines += [
        f"  export MUX_BASE_URL={origin}",
        f"  export MUX_TOKEN_ID={first.id}",
        f"  export MUX_TOKEN_SECRET={first.secret.reveal()}",
    ]
    if settings.data != "generated" and not settings.stub:
        port = urlsplit(origin).port or 80
        lines.append(f'  players report views with beacon-collection-domain="localhost:{port}" env-key="{first.environment}"')
    lines += [f"  webhooks to {webhook.url}" for webhook in settings.webhooks]
    if settings.webhooks:
        lines.append(f"  export MUX_WEBHOOK_SECRET={settings.webhooks[0].secret.reveal()}")
    lines += more
    missing = "" if has_media() else " (real ones need pip install 'mux-async[media]')"
    lines.append(f"  media made up{missing}" if settings.media is None else "  media real")
    rules = settings.limits
    lines.append(
        "  rate limits off" if rules is None else f"  rate limits on ({rules.model}, burst x{rules.burst:g}, per {rules.scope})"
    )
    return lines
