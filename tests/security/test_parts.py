"""No secret is shown by what fails beside calls: uploads, webhooks, signing, addresses, limits, ingest, constructors."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import mux_async
import mux_async.signing
import mux_async.webhooks
from mux_async import AccessToken, LimitSettings, Mux, Secret, errors
from mux_async.errors import MuxError
from mux_async.ingest import Ingest, Journal, JournalError, Manifest, PlanError, ReportError, make_plan, url_item, write_report
from mux_async.limits import BucketSettings
from mux_async.models import LiveStream
from mux_async.playback import Playback, ingest_addresses, player_url, viewer_counts_url
from mux_async.signing import Signer, TokenRefusedError
from mux_async.signing import verify as verify_token
from mux_async.testing import FakeTransport, respond
from mux_async.transport import ConnectError, HttpRequest, HttpResponse, TransportSettings
from mux_async.uploads import UploadGoneError, UploadSettings
from mux_async.webhooks import (
    BodyTooLargeError,
    BodyTypeError,
    EventFormatError,
    EventStoreError,
    RedisEventStore,
    SignatureError,
    WebhookRouter,
    parse_event,
    sign,
    unwrap,
    verify,
)
from tests.security.canaries import CANARIES, TOKEN_ID, leaks, leaks_of
from tests.signing import keys

pytestmark = pytest.mark.anyio

HOOK = CANARIES["webhook secret"]
REDIS = f"redis://user:{CANARIES['database password']}@127.0.0.1:9/0"
JWT = f"eyJhbGciOiJSUzI1NiJ9.{CANARIES['token']}.c2ln"
BODY = b'{"type":"video.live_stream.created","id":"e","data":{"stream_key":"' + CANARIES["stream key"].encode() + b'"}}'
UPLOAD_URL = f"https://storage.example.com/u?Signature={CANARIES['upload URL']}"
KEY_ON_ONE_LINE = "-----BEGIN RSA PRIVATE KEY-----\n" + CANARIES["private key"] * 20


def signed(body: bytes) -> dict[str, str]:
    return {"Mux-Signature": sign(body, HOOK)}


_accounts = count()


def make_client(transport: Any = None, **more: Any) -> Mux:
    """A client of an account of its own: what other tests left behind has no say in its limits."""
    return Mux(
        account=f"parts-{next(_accounts)}",
        token_id="id",
        token_secret=CANARIES["token secret"],
        transport=transport or FakeTransport(lambda _: respond(404, json={})),
        max_attempts=1,
        **more,
    )


Make = Callable[[], object]
CONSTRUCTORS: dict[str, tuple[Make, type[BaseException]]] = {
    "client, address": (lambda: make_client(base_url="http://user:CANARY4711@example.com"), errors.ConfigurationError),
    "client, header": (lambda: make_client(headers={"X-A": CANARIES["header"] + "\n"}), errors.InvalidRequestError),
    "client, secret": (
        lambda: Mux(token_id="id", token_secret=CANARIES["token secret"] + "\n"),
        errors.ConfigurationError,
    ),
    "access token": (lambda: AccessToken("id", CANARIES["token secret"] + "\n"), errors.ConfigurationError),
    "access token, empty id": (lambda: AccessToken("", CANARIES["token secret"]), errors.ConfigurationError),
    "client, one token twice": (
        lambda: make_client(low_priority=AccessToken("id", CANARIES["token secret"])),
        errors.ConfigurationError,
    ),
    "client, no id": (lambda: Mux(token_secret=CANARIES["token secret"]), errors.MissingCredentialsError),
    "client, bearer": (lambda: Mux(authorization_token=f"Bearer {CANARIES['token']}"), errors.ConfigurationError),
    "client, transport": (
        lambda: Mux(token_id="i", token_secret=CANARIES["token secret"], transport="none"),
        errors.UnknownTransportError,
    ),
    "transport settings": (
        lambda: TransportSettings(proxy=f"http://u:{CANARIES['proxy password']}@h", max_connections=0),
        errors.ConfigurationError,
    ),
    "limits": (lambda: LimitSettings(url=REDIS, reserve=7), errors.ConfigurationError),
    "limits, address": (lambda: make_client(limits=LimitSettings(url=f"{REDIS}x")), errors.ConfigurationError),
    "signer": (lambda: Signer("k", CANARIES["private key"]), errors.ConfigurationError),
    "signer, PEM": (lambda: Signer("k", KEY_ON_ONE_LINE), errors.ConfigurationError),
    "signer, bytes": (lambda: Signer("k", KEY_ON_ONE_LINE.encode()), errors.ConfigurationError),
    "signer, swapped": (lambda: Signer(KEY_ON_ONE_LINE, "k"), errors.ConfigurationError),
    "signer, no key": (lambda: Signer("k", None), errors.MissingCredentialsError),
    "router": (lambda: WebhookRouter([HOOK, ""]), errors.ConfigurationError),
    "router, quoted": (lambda: WebhookRouter(f'"{HOOK}"'), errors.ConfigurationError),
    "router, store": (
        lambda: WebhookRouter(HOOK, store=f"mysql://u:{CANARIES['database password']}@h"),
        errors.ConfigurationError,
    ),
    "router, timeout": (lambda: WebhookRouter(HOOK, timeout=0), ValueError),
}

CALLS: dict[str, tuple[Make, type[BaseException]]] = {
    "verify, no header": (lambda: verify(BODY, {}, HOOK), SignatureError),
    "verify, forged": (lambda: verify(BODY, {"Mux-Signature": sign(BODY, "other")}, [HOOK, HOOK + "2"]), SignatureError),
    "verify, old": (lambda: verify(BODY, {"Mux-Signature": sign(BODY, HOOK, at=1)}, HOOK), SignatureError),
    "unwrap, no JSON": (lambda: unwrap(BODY[:-1], signed(BODY[:-1]), HOOK), EventFormatError),
    "unwrap, a list": (lambda: unwrap(b"[" + BODY + b"]", signed(b"[" + BODY + b"]"), HOOK), EventFormatError),
    "unwrap, large": (lambda: unwrap(BODY, signed(BODY), HOOK, max_body=9), BodyTooLargeError),
    "unwrap, an object": (lambda: unwrap({"key": CANARIES["stream key"]}, signed(BODY), HOOK), BodyTypeError),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    "sign": (lambda: sign(BODY, Secret(HOOK + "\n")), errors.ConfigurationError),
    "token, no JWT": (lambda: verify_token(CANARIES["token"], {}, audience="v"), TokenRefusedError),
    "token, of another": (lambda: verify_token(signed_token(), {"k": keys.public_pem()}, audience="v"), TokenRefusedError),
    "token, elsewhere": (
        lambda: verify_token(signed_token(), {keys.KEY_ID: keys.public_pem()}, audience="t"),
        TokenRefusedError,
    ),
    "sign, moment": (lambda: signer().sign("p", expires_in=int(time.time()) + 3600), errors.InvalidRequestError),
    "sign, claims": (
        lambda: signer().sign("p", extra_claims={"custom": CANARIES["token"], "x": object()}),
        errors.InvalidRequestError,
    ),
    "address": (lambda: Playback("p", "signed").hls_url(token=JWT), errors.InvalidRequestError),
    "address, parameters": (lambda: Playback("p").thumbnail_url(token=JWT, width=3), errors.InvalidRequestError),
    "address, public": (lambda: Playback("p", "public").hls_url(token=JWT), errors.InvalidRequestError),
    "player": (lambda: player_url("p", {"playback-token": f"{JWT}!"}), errors.InvalidRequestError),
    "counts": (lambda: viewer_counts_url(f"{JWT}!"), errors.InvalidRequestError),
    "encoder": (lambda: ingest_addresses(CANARIES["stream key"], region="mars"), errors.InvalidRequestError),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    "item": (lambda: url_item(f"nowhere://example.com/a?Signature={CANARIES['input URL']}"), errors.InvalidRequestError),
    "plan": (
        lambda: make_plan([f"http://?Signature={CANARIES['input URL']}", f"s3x://u:{CANARIES['input URL']}@h/a.mp4"]),
        PlanError,
    ),
    "list": (
        lambda: make_plan(
            manifest=Manifest(
                f"https://h/a.mp4?Signature={CANARIES['input URL']} x\nhttp://127.0.0.1/?a={CANARIES['input URL']}\n"
            )
        ),
        PlanError,
    ),
}


def signer() -> Signer:
    return Signer(keys.KEY_ID, keys.pem())


def signed_token() -> str:
    return signer().sign("p", extra_claims={"custom": "x"})


def raised(make: Make) -> BaseException:
    try:
        make()
    except BaseException as error:  # noqa: BLE001 - that is what is asked for
        return error
    raise AssertionError("it was expected to fail")


async def test_a_token_of_low_priority(caplog: pytest.LogCaptureFixture) -> None:
    """Neither an error of a batch call nor the client shows anything of the token of low priority."""
    caplog.set_level(logging.DEBUG)
    mux = make_client(low_priority=AccessToken(TOKEN_ID, CANARIES["token secret"]), priority="batch")

    with pytest.raises(errors.NotFoundError) as caught:
        await mux.video.assets.retrieve("a")

    assert leaks_of(caught.value) == []
    assert not leaks(f"{mux!r} {vars(mux)!r} {caplog.text}")


@pytest.mark.parametrize("name", [*CONSTRUCTORS, *CALLS])
def test_what_fails_at_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A constructor or function that refuses what it is given shows none of its arguments."""
    make, expected = {**CONSTRUCTORS, **CALLS}[name]

    error = raised(make)

    assert isinstance(error, expected), repr(error)
    assert leaks_of(error) == []
    assert not leaks(caplog.text)


def refuse(_: HttpRequest) -> HttpResponse:
    raise ConnectError("no connection")


UPLOADS: dict[str, tuple[Callable[[HttpRequest], HttpResponse], type[BaseException]]] = {
    "refused": (refuse, errors.UploadError),
    "gone": (lambda _: respond(404), UploadGoneError),
    "broken": (lambda _: respond(500), errors.UploadError),
}


@pytest.mark.virtual_time
@pytest.mark.parametrize("how", UPLOADS)
async def test_uploads(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """An upload that fails shows neither its URL nor the address of its source."""
    caplog.set_level(logging.DEBUG)
    answer, expected = UPLOADS[how]
    mux = make_client(FakeTransport(answer))

    found = [await caught(mux.uploads.put(UPLOAD_URL, b"film"))]
    found.append(await caught(mux.uploads.put(f"no address {UPLOAD_URL}", b"film")))
    found.append(await caught(mux.uploads.send(f"memory://h/none.mp4?Signature={CANARIES['input URL']}")))
    found.append(await caught(mux.uploads.put(UPLOAD_URL, [1])))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    assert isinstance(found[0], expected), repr(found[0])
    for error in found:
        assert isinstance(error, MuxError), repr(error)
        assert leaks_of(error) == []
    assert not leaks(own_log(caplog))


def own_log(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("mux_async"))


async def caught(call: Awaitable[object]) -> BaseException:
    try:
        await call
    except BaseException as error:  # noqa: BLE001 - that is what is asked for
        return error
    raise AssertionError("it was expected to fail")


async def test_handlers_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    """What is logged of a handler that fails shows its own locals at most, and nothing of the event or the secret."""
    hooks = WebhookRouter(HOOK)

    @hooks.on("video.live_stream.created")
    async def fail(_event: object) -> None:
        raise RuntimeError("of the handler")

    answer = await hooks.receive(BODY, signed(BODY))

    assert answer.status == 500
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)
    assert leaks_of(record.exc_info[1]) == []
    frame = record.exc_info[2] and record.exc_info[2].tb_frame
    assert frame is not None
    assert frame.f_code.co_name == "fail", "the trace begins with the handler"
    assert not leaks(caplog.text)


@pytest.mark.runtimes("asyncio")
async def test_databases(caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that cannot be reached, of events and of limits, shows no password, in errors and in logs."""
    caplog.set_level(logging.DEBUG)
    store = RedisEventStore(REDIS, timeout=0.5)
    error = await caught(store.newest("subject"))

    async with make_client(limits=LimitSettings(url=REDIS)) as mux:
        await caught(mux.video.assets.retrieve("a"))
        shown = repr(mux.limits.settings) + repr(mux.limits.snapshot())

    assert isinstance(error, EventStoreError)
    assert leaks_of(error) == []
    assert not leaks(shown + own_log(caplog))


@pytest.mark.virtual_time
@pytest.mark.parametrize("status", [201, 400, 500])
async def test_journals_and_reports(status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of a signed URL nothing but what comes before its query is in journal, report, events or summary, also where Mux repeats the URL."""
    caplog.set_level(logging.DEBUG)
    url = f"https://user:{CANARIES['input URL']}@example.com/film.mp4?Signature={CANARIES['input URL']}"
    said = {"error": {"type": "invalid_parameters", "messages": [f"could not fetch {url}"]}}
    errored = {"id": "a", "status": "errored", "errors": {"type": "invalid_input", "messages": [f"could not fetch {url}"]}}

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            return respond(status, json={"data": errored} if status == 201 else said)
        return respond(200, json={"data": [] if "?" in request.url else errored})

    events: list[object] = []
    mux = make_client(FakeTransport(answer), limits=LimitSettings(enabled=False))
    place = tmp_path / "films.journal"
    summary = await Ingest(mux, [url_item(url)], journal=place, on_event=events.append).run()
    with Journal.open(place) as journal:
        entries = list(journal.entries())
        for name in ("r.csv", "r.jsonl"):
            write_report(tmp_path / name, entries, base_url=mux.base_url)

    assert entries
    assert not leaks(repr((summary, events, entries)))
    assert written_leaks(tmp_path) == []
    assert not leaks(own_log(caplog))


def written_leaks(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if leaks(path.read_bytes())]


async def test_runs_that_cannot_begin(tmp_path: Path) -> None:
    """A journal or a report that cannot be opened fails without showing the items."""
    (tmp_path / "films.journal").write_bytes(b"no journal" * 100)
    items = [url_item(f"https://example.com/film.mp4?Signature={CANARIES['input URL']}")]

    error = await caught(Ingest(make_client(), items, journal=tmp_path / "films.journal").run())
    report = raised(partial(write_report, tmp_path / "x.csv", _broken(), base_url="http://x"))

    assert isinstance(error, JournalError)
    assert isinstance(report, ReportError | OSError)
    assert leaks_of(error) == leaks_of(report) == []


def _broken() -> Any:
    return map(_no_disk, [None])


def _no_disk(_: object) -> None:
    raise OSError("no disk")


@pytest.mark.parametrize("module", [mux_async, mux_async.signing, mux_async.webhooks], ids=lambda module: module.__name__)
def test_half_made_objects(module: Any) -> None:
    """Every public class has a repr that works on an object whose constructor failed before it stored anything."""
    for name in module.__all__:
        cls = getattr(module, name)
        if (
            not inspect.isclass(cls)
            or issubclass(cls, BaseException)
            or "__repr__" not in vars(cls)
            or hasattr(cls, "__attrs_attrs__")
        ):
            continue
        try:
            blank = object.__new__(cls)
        except TypeError:  # made by the interpreter: an enum, a type alias
            continue
        assert repr(blank), name


def test_objects_of_failed_constructors() -> None:
    """The object that a constructor gave up on can be shown by whatever shows the error."""
    for make, _ in CONSTRUCTORS.values():
        error = raised(make)
        trace = error.__traceback__
        while trace is not None:
            for value in list(trace.tb_frame.f_locals.values()):
                if type(value).__module__.startswith("mux_async"):
                    assert repr(value)
            trace = trace.tb_next


def test_secrets_and_pickles() -> None:
    """A secret refuses to be pickled, is copied, and is not found by walking through attributes; models are data."""
    secret = Secret(CANARIES["token secret"])
    for kept in (secret, LimitSettings(url=REDIS), signer()):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(kept)
    stream = LiveStream.from_wire({"id": "x", "stream_key": "key"})
    event = parse_event({"id": "e", "type": "video.live_stream.created", "data": {"id": "x", "stream_key": "key"}})

    assert copy.deepcopy(LimitSettings(url=REDIS)).url == Secret(REDIS)
    assert not leaks(repr([getattr(secret, name) for name in Secret.__slots__]))
    assert pickle.loads(pickle.dumps(stream)).stream_key == "key"
    assert pickle.loads(pickle.dumps(event)).data.stream_key == "key"
    assert not leaks(pickle.dumps(raised(CALLS["verify, forged"][0])))


def test_rich_and_attrs() -> None:
    """rich goes by the fields of attrs: it shows none of what is hidden by repr."""
    from rich.pretty import pretty_repr

    request = HttpRequest("GET", UPLOAD_URL, {"Authorization": CANARIES["header"]}, CANARIES["stream key"].encode())
    answer = respond(200, headers={"Location": UPLOAD_URL})
    stream = LiveStream.from_wire({"id": "x", "stream_key": CANARIES["stream key"], "srt_passphrase": CANARIES["stream key"]})
    shown = (
        request,
        answer,
        stream,
        TransportSettings(proxy=f"http://u:{CANARIES['proxy password']}@h"),
        LimitSettings(url=REDIS),
    )
    item = url_item(f"https://example.com/a.mp4?Signature={CANARIES['input URL']}")

    for value in (*shown, item, make_client(), WebhookRouter(HOOK), signer(), UploadSettings(), BucketSettings(1.0, 1)):
        assert not leaks(pretty_repr(value) + repr(value)), type(value)
