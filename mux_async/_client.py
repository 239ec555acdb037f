"""`Mux`, the client: puts the parts together and hands out the resource groups."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import attrs

from mux_async._arguments import Arguments
from mux_async._checks import (
    check_callable,
    check_flag,
    check_instance,
    check_mapping,
    check_secret,
    check_secret_instance,
    check_text,
    explains_arguments,
)
from mux_async._config import (
    DEFAULT_BASE_URL,
    SYSTEM_RANDOM,
    AccessToken,
    Config,
    Credentials,
    check_base_url,
    load_credentials,
    load_low_priority,
    tell_foreign_host,
    user_agent,
)
from mux_async._engine import ActiveToken, Engine
from mux_async._operation import Operation, bucket_of, replay_of
from mux_async._options import CallOptions, EffectiveOptions
from mux_async._resource import Caller
from mux_async._response import RawResponse
from mux_async._retry import RetryPolicy
from mux_async._setting_text import read_variable
from mux_async._tracebacks import hides_locals
from mux_async._transports import resolve_transport
from mux_async._types import UNSET, Secret, Unset
from mux_async._wire import standing_headers
from mux_async.errors import ConfigurationError, InvalidRequestError
from mux_async.limits._account import AccountLimits
from mux_async.limits._settings import LimitSettings, limit_keys
from mux_async.transport import Timeouts, Transport, TransportFactory, TransportSettings

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mux_async._listeners import Listeners, Listening
    from mux_async._webhook_stream import StreamStatus, WebhookStream
    from mux_async.bulk import Bulk, BulkJournal, ListForm, RowFinished
    from mux_async.bulk._runner import Rows
    from mux_async.drift import Drift
    from mux_async.events import Listener, OnRequest, OnResponse
    from mux_async.health import ChecksStore, Health
    from mux_async.limits import Limits, Priority
    from mux_async.live import Live
    from mux_async.playback import Hosts
    from mux_async.recorder import Recorder
    from mux_async.resources.data import Data
    from mux_async.resources.robots import Robots
    from mux_async.resources.robots_v0 import RobotsV0
    from mux_async.resources.system import System
    from mux_async.resources.video import Video
    from mux_async.signing import Signer
    from mux_async.uploads import Uploads, UploadSettings
    from mux_async.webhooks import Event

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})

T = TypeVar("T")


def _check_options(options: object) -> None:
    check_instance("options", options, CallOptions, "it must be a CallOptions", allow_none=True)


def _active_tokens(
    config: Config,
    low_priority: Credentials | None,
    account: str | None,
    environment: str | None,
    settings: LimitSettings | None,
) -> tuple[ActiveToken, ActiveToken | None]:
    """Return the tokens of a client, each with the limits that its requests count against."""
    token = config.credentials.account
    low_token = token if low_priority is None else low_priority.account
    if low_priority is not None and low_token == token:
        raise ConfigurationError(f"low_priority is the token {token!r} itself; it takes a second one, of low priority")
    scope = None if settings is None else settings.scope
    if scope is None:
        scope = "environment-and-priority" if low_priority is not None else "environment"
    key, low_key = limit_keys(scope, account=account, environment=environment, token=token, low_priority=low_token)
    url = read_variable("MUX_LIMITS_URL")
    limits = low_limits = AccountLimits.shared(config.base_url, key, settings, config.clock, url)
    if low_priority is None:
        return ActiveToken(config, limits), None
    if low_key != key:
        low_settings = None if settings is None else settings.for_low_priority()
        low_limits = AccountLimits.shared(config.base_url, low_key, low_settings, config.clock, url)
    return ActiveToken(config, limits), ActiveToken(attrs.evolve(config, credentials=low_priority), low_limits)


client_hooks: Final[list[Callable[[Mux], object]]] = []
"""Called with every client that is made: how an instrumentation (`mux_async.otel`) reaches clients of the whole process."""


@explains_arguments
class Mux:
    """The Mux API, awaited.

    Open it with ``async with``, or just use it and call `aclose` at the end: connections are opened on first use, one set for each event
    loop. A client may be kept for the life of a program, used by any number of tasks, in several event loops, and after a fork.

    Args:
        token_id: Id of an access token; ``MUX_TOKEN_ID`` when not given.
        token_secret: Its secret; ``MUX_TOKEN_SECRET`` when not given.
        authorization_token: A bearer token instead of the two; ``MUX_AUTHORIZATION_TOKEN`` when none of the three is given.
        base_url: Origin of the API, with a path prefix if it has one; ``MUX_BASE_URL``, else Mux itself. With an origin of your own,
            playback and images are asked for there too. Plain http is for this machine only, unless *allow_insecure*.
        account: Name of the account the token belongs to, for rate limits: clients with the same name share them. By default, clients
            of the same token share.
        environment: Name of the token's environment, if Mux counts by environment for your account and not for all of it
            (facts/BEHAVIOUR.md, section 2.2): then only clients that give the same name share.
        low_priority: A second access token of the same environment, one that Mux gives low priority. Calls with priority ``"batch"`` go out
            with it and count against limits of their own, so that they take nothing from the others. ``MUX_LOW_PRIORITY_TOKEN_ID`` and
            ``MUX_LOW_PRIORITY_TOKEN_SECRET`` when not given, if the first token comes from variables too.
        transport: What sends requests: a name (``"aiohttp"``, ``"httpx"``, or what an installed package registers), a factory,
            or a transport of your own, which is then yours to close. HTTP libraries are imported when the first connection is opened.
        transport_settings: Connections, TLS, proxy.
        limits: What the account is allowed, if not the published rates, and with which processes it is shared (``url=``;
            ``MUX_LIMITS_URL`` when it does not say). ``LimitSettings(enabled=False)`` turns them off.
        headers: Sent with every request to the API.
        user_agent_suffix: Added to ``User-Agent``, to identify your program.
        options: How calls are made, as one value; the arguments of the same names win over it. Of uploads, ingests and waits, which
            make many calls, only the priority is taken: see `CallOptions`.
        priority: How calls use the rate limits: ``"interactive"`` goes first, ``"batch"`` is evenly spaced and leaves bursts to
            others. ``None`` for that of the surrounding `use_priority`, else ``"default"``.
        deadline: Seconds for a whole call: queue, attempts, waits and body. ``None`` for no limit.
        timeouts: For one attempt, in seconds; ``None`` for the defaults of `Timeouts`.
        max_attempts: Times a request may be sent; 5 when not given. A POST whose outcome is unknown is never sent again, whatever this
            says.
        retry: Waits between attempts.
        max_response_bytes: Size of an answer, decompressed, beyond which it is refused; 64 MiB when not given.
        share_reads: Whether identical GETs at the same time are sent once, as they are when not given. Each caller decodes its own value
            of the shared bytes; a GET made after a write has ended never gets an older answer.
        uploads: What uploads may use together: bytes a second, how many at once, memory.
        strict: Whether anything in a response that this version has no name for raises `DriftError`: for tests. Every response is
            then read as a whole. Otherwise it is counted (`drift`).
        allow_insecure: Whether credentials may go over plain http to another machine.
        clock: Monotonic seconds; for tests in virtual time.
        random: Source of jitter; the system's by default. One with a state of its own gives the same to all processes forked from this one.
        listeners: Called with every event of the client, as with `listen`: see `mux_async.events`.
        on_request: Called for every attempt; returns headers to add to the request.
        on_response: Called with every answer.
        recorder: Keeps the last calls, redacted, and writes them to a file when something goes wrong: see `mux_async.recorder`.

    ``MUX_LOG=debug`` (or ``info``) shows what a program without logging of its own would log.

    Raises:
        MissingCredentialsError: No credentials were given or found.
        ConfigurationError: Something else about the arguments; the message says what to change.
    """

    @hides_locals
    def __init__(
        self,
        *,
        token_id: str | None = None,
        token_secret: str | Secret | None = None,
        authorization_token: str | Secret | None = None,
        base_url: str | None = None,
        account: str | None = None,
        environment: str | None = None,
        low_priority: AccessToken | None = None,
        transport: str | Transport | TransportFactory = "aiohttp",
        transport_settings: TransportSettings | None = None,
        limits: LimitSettings | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent_suffix: str | None = None,
        options: CallOptions | None = None,
        priority: Priority | Unset | None = UNSET,
        deadline: float | Unset | None = UNSET,
        timeouts: Timeouts | Unset | None = UNSET,
        max_attempts: int | Unset = UNSET,
        retry: RetryPolicy | None = None,
        max_response_bytes: int | Unset = UNSET,
        share_reads: bool | Unset = UNSET,
        uploads: UploadSettings | None = None,
        strict: bool = False,
        allow_insecure: bool = False,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
        listeners: Iterable[Listener] = (),
        on_request: OnRequest | None = None,
        on_response: OnResponse | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        if "MUX_LOG" in os.environ:
            from mux_async._logging import set_up

            set_up()
        _check_options(options)
        check_text("token_id", token_id, allow_none=True)
        check_secret("token_secret", token_secret, allow_none=True)
        check_secret("authorization_token", authorization_token, allow_none=True)
        check_text("base_url", base_url, allow_none=True)
        check_text("account", account, allow_none=True)
        check_text("environment", environment, allow_none=True)
        check_secret_instance("low_priority", low_priority, AccessToken, "it must be an AccessToken(id, secret)")
        check_text("user_agent_suffix", user_agent_suffix, allow_none=True)
        check_mapping("headers", headers, "it must be a mapping of header names to texts", allow_none=True)
        takes = "it must be a TransportSettings"
        check_instance("transport_settings", transport_settings, TransportSettings, takes, allow_none=True)
        check_instance(
            "limits",
            limits,
            LimitSettings,
            "it must be a LimitSettings; LimitSettings(enabled=False) turns them off",
            allow_none=True,
        )
        check_instance(
            "retry", retry, RetryPolicy, "it must be a RetryPolicy; the number of attempts is max_attempts", allow_none=True
        )
        if uploads is not None:
            from mux_async.uploads import UploadSettings

            check_instance("uploads", uploads, UploadSettings, "it must be an UploadSettings", allow_none=True)
        check_flag("strict", strict)
        check_flag("allow_insecure", allow_insecure)
        check_callable("clock", clock, "it must be a function that returns monotonic seconds")
        check_instance("random", random, Random, "it must be a random.Random", allow_none=True)
        credentials = load_credentials(token_id, token_secret, authorization_token)
        low_credentials = load_low_priority(
            low_priority, reads_environment=token_id is None and token_secret is None and authorization_token is None
        )
        url = base_url or read_variable("MUX_BASE_URL") or DEFAULT_BASE_URL
        if not base_url:
            tell_foreign_host(url)
        config = Config(
            credentials=credentials,
            base_url=check_base_url(url, allow_insecure=allow_insecure),
            headers=standing_headers(user_agent(user_agent_suffix), headers),
            retry=retry or RetryPolicy(),
            clock=clock,
            random=random or SYSTEM_RANDOM,
        )
        call_options = CallOptions(
            priority=priority,
            deadline=deadline,
            timeouts=UNSET if timeouts is None else timeouts,
            max_attempts=max_attempts,
            max_response_bytes=max_response_bytes,
            share_reads=share_reads,
        ).over(options)
        choice = resolve_transport(transport)
        choice.check(transport_settings)
        settings = transport_settings or TransportSettings()
        whose = (account or credentials.account) + (f"/{environment}" if environment else "")
        make_engine: type[Engine] = Engine
        if strict:
            from mux_async._strict import StrictEngine  # most programs never need it

            make_engine = StrictEngine
        self._caller = Caller(
            make_engine(
                *_active_tokens(config, low_credentials, account, environment, limits),
                lambda: choice(settings),
                adopts_limits=limits is None,
                owns_transport=not choice.is_shared,
                whose_keys=f"{config.base_url} {whose}" + ("" if environment else f" {credentials.account}"),
                own_transport=None if isinstance(transport, str) else transport,
            ),
            EffectiveOptions().merged(call_options),
        )
        self._upload_settings = uploads
        for listener in listeners:
            self.listen(listener)
        if on_request is not None or on_response is not None:
            self.listen(on_request=on_request, on_response=on_response)
        if recorder is not None:
            self._record(recorder)
        for hook in client_hooks:
            hook(self)

    if not TYPE_CHECKING:  # a type checker would believe in every misspelt name

        def __getattr__(self, name: str) -> object:
            from mux_async._names import attribute

            return attribute(self, name)

    # Resource groups, imported on first use: most programs need one of them.

    @cached_property
    def video(self) -> Video:
        """Assets, live streams, uploads, playback."""
        from mux_async.resources.video import Video

        return Video(self._caller)

    @cached_property
    def data(self) -> Data:
        """Views and metrics."""
        from mux_async.resources.data import Data

        return Data(self._caller)

    @cached_property
    def system(self) -> System:
        """Signing keys, webhooks, usage exports, and which token this is."""
        from mux_async.resources.system import System

        return System(self._caller)

    @cached_property
    def robots(self) -> Robots:
        """Jobs that look at assets: captions, chapters, moderation, ... Version 1; `robots_v0` is the one before it."""
        from mux_async.resources.robots import Robots

        return Robots(self._caller)

    @cached_property
    def robots_v0(self) -> RobotsV0:
        """Robots as they were: deprecated, and kept by Mux for six months after the launch of v1 (docs/upgrading.md)."""
        from mux_async.resources.robots_v0 import RobotsV0

        return RobotsV0(self._caller)

    @cached_property
    def live(self) -> Live:
        """Live streams as they happen: events, one after the other."""
        from mux_async.live import Live

        return Live(self._caller)

    @cached_property
    def uploads(self) -> Uploads:
        """Files into assets, in one call: create the upload, send the bytes, wait."""
        from mux_async.uploads import Uploads

        return Uploads(self)

    def bulk(
        self,
        operation: str,
        rows: Rows,
        *,
        form: ListForm | None = None,
        values: Mapping[str, object] | None = None,
        journal: BulkJournal | str | os.PathLike[str] | None = None,
        concurrency: int = 8,
        on_bad_row: Literal["stop", "skip"] = "stop",
        confirm: str | None = None,
        max_failures: int = 25,
        on_event: Callable[[RowFinished], object] | None = None,
    ) -> Bulk:
        """Plan any operation for each row of a list: ``await mux.bulk("video.assets.update", "titles.csv").run()``.

        Nothing is sent before `Bulk.run` is awaited. See `mux_async.bulk.Bulk`, which has the arguments and the errors.
        """
        from mux_async.bulk import Bulk

        return Bulk(
            self,
            operation,
            rows,
            form=form,
            values=values,
            journal=journal,
            concurrency=concurrency,
            on_bad_row=on_bad_row,
            confirm=confirm,
            max_failures=max_failures,
            on_event=on_event,
        )

    @cached_property
    def signer(self) -> Signer:
        """Makes tokens for signed playback ids, with the key of ``MUX_SIGNING_KEY`` (its id) and ``MUX_PRIVATE_KEY``.

        Read when first used. For a key from elsewhere make a `mux_async.signing.Signer`. Where the event loop must not wait for its
        libraries to load, import `mux_async.signing` at the top of the program.

        Raises:
            MissingCredentialsError: One of the two is not set.
            ConfigurationError: The key cannot be used, or the extra ``jwt`` is not installed.
        """
        from mux_async.signing import Signer

        return Signer.from_environment()

    @property
    def hosts(self) -> Hosts:
        """Where this client's media is: Mux's own hosts, or *base_url* when that is a server of one's own."""
        from mux_async.playback import Hosts

        return Hosts.of(self.base_url)

    @property
    def base_url(self) -> str:
        """Origin of the API that is used, without a trailing slash."""
        return self._caller.engine.config.base_url

    @property
    def limits(self) -> Limits:
        """The account's rate limits, as this process sees them."""
        from mux_async.limits._limits import Limits  # most programs never ask

        return Limits(self._caller.engine.limits, self._caller.engine.batch_limits)

    def listen(
        self,
        on_event: Listener | None = None,
        *,
        on_request: OnRequest | None = None,
        on_response: OnResponse | None = None,
    ) -> Listening:
        """Call functions with what this client and its ``with_options`` variants do from now on.

        Each is called in the task and context of the call that it is about, which waits for it: it must return at once. What it raises is
        logged and does not affect the call. It gets every event of the calls that begin after it was added, and none of calls under way.

        Args:
            on_event: Called with every event: see `mux_async.events`.
            on_request: Called for every attempt, just before it is sent; returns headers to add, or ``None``. It cannot set
                ``Authorization``, ``Host`` and headers that describe the body.
            on_response: Called with the status, headers and time of every answer.

        Returns:
            What ends it: by `Listening.remove`, or at the end of a ``with`` block. Not called any more from that moment on.

        Raises:
            ConfigurationError: A function cannot be called or is asynchronous, or none is given.
        """
        return self._listeners().add(on_event, on_request, on_response)

    def _listeners(self) -> Listeners:
        """Return the listeners of all variants of this client, which are made here for the first."""
        from mux_async._listeners import Listeners, creation

        engine = self._caller.engine
        with creation:  # two threads may each add the first one
            if engine.listeners is None:
                engine.listeners = Listeners()
        return engine.listeners

    def _record(self, recorder: Recorder) -> None:
        from mux_async.recorder import Recorder

        check_instance("recorder", recorder, Recorder, "it must be a Recorder, from mux_async.recorder")
        self._listeners().add_recorder(recorder)

    async def health(self, *, webhooks: ChecksStore | None = None, max_age: float = 30.0, timeout: float = 5.0) -> Health:
        """Check whether this program can work with Mux, for a readiness probe. A check that fails does not raise.

        Credentials are checked by asking Mux who the token is, once in *max_age* seconds in each event loop, however many probes come.

        Args:
            webhooks: The `WebhookRouter` whose store is checked as well.
            max_age: Seconds for which the answers of Mux and of the stores are remembered.
            timeout: Seconds that all checks may take together.

        Returns:
            All checks; true if none failed.

        Raises:
            ConfigurationError: *max_age* or *timeout* is no number of seconds.
        """
        from mux_async.health import check_health

        return await check_health(self._caller, webhooks, max_age, timeout)

    @property
    def drift(self) -> Drift:
        """Counts what Mux sends that this version has no name for: ``mux.drift.report()``. One for all clients of the process."""
        from mux_async.drift import drift

        return drift

    def with_options(
        self,
        options: CallOptions | None = None,
        *,
        priority: Priority | Unset | None = UNSET,
        deadline: float | Unset | None = UNSET,
        timeout: float | Unset | None = UNSET,
        timeouts: Timeouts | Unset = UNSET,
        max_attempts: int | Unset = UNSET,
        max_response_bytes: int | Unset = UNSET,
        share_reads: bool | Unset = UNSET,
    ) -> Self:
        """Return the same client with other options for its calls. Cheap; connections, limits and closing are shared.

        A copy: what a subclass keeps in attributes is on it too. For one call there is ``options=``: see `CallOptions`.

        Args:
            options: All of them as one value; the arguments below win over it.
            priority: See `CallOptions`, as for all of these.
            deadline: Seconds for a whole call; ``None`` for no limit.
            timeout: Seconds that one attempt may be silent; ``None`` for no limit.
            timeouts: The same for each phase of an attempt.
            max_attempts: Times a request may be sent.
            max_response_bytes: Size of an answer beyond which it is refused.
            share_reads: Whether identical GETs at the same time are sent once.

        Raises:
            ConfigurationError: A value has the wrong type or is out of range.
        """
        _check_options(options)
        changes = CallOptions(
            priority=priority,
            deadline=deadline,
            timeout=timeout,
            timeouts=timeouts,
            max_attempts=max_attempts,
            max_response_bytes=max_response_bytes,
            share_reads=share_reads,
        ).over(options)
        return self._variant(self._caller.options.merged(changes))

    def _variant(self, options: EffectiveOptions) -> Self:
        other = copy(self)
        for name in vars(self):
            if isinstance(getattr(type(self), name, None), cached_property):
                del other.__dict__[name]  # made with the options of this client
        other._caller = Caller(self._caller.engine, options)
        return other

    @property
    def _mux_listeners(self) -> Listeners | None:
        return self._caller.engine.listeners

    def _for_long_work(self) -> Self:
        return self._variant(self._caller.options.for_long_work())

    @hides_locals
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        options: CallOptions | None = None,
    ) -> RawResponse[object]:
        """Send a request that has no method here: something newer than this version, or undocumented.

        It is authorised, limited and retried like any other: by its verb, a POST with an unknown outcome is never sent again.

        Args:
            method: HTTP verb.
            path: From the API's origin on, with its leading slash, without query; sent as it is.
            query: Members of the query string.
            body: Members of a JSON body; ``None`` for no body.
            headers: Beside the usual ones.
            options: Deadline, priority and the like of this one call.

        Returns:
            The answer; its ``value`` is the decoded JSON, ``None`` for an empty body.

        Raises:
            InvalidRequestError: The method or path cannot be sent.
            MuxError: Any of the tree in `mux_async.errors`.
        """
        verb = method.upper()
        if verb not in _METHODS:
            raise InvalidRequestError(f"method {method!r} is none of {', '.join(sorted(_METHODS))}")
        if not path.startswith("/") or path.startswith("//") or not path.isascii() or not path.isprintable():
            raise InvalidRequestError(
                f"path {path[:80]!r} does not start with one slash, or holds characters to be percent-encoded"
            )
        if {".", ".."} & set(path.split("/")):
            raise InvalidRequestError(f"path {path[:80]!r} goes up or stays where it is; write down where it leads")
        if bad := set(path) & set(' ?#{}\\"<>'):
            raise InvalidRequestError(
                f"path {path[:80]!r} holds {min(bad)!r}; a query goes into query=, other characters percent-encoded"
            )
        operation: Operation[object] = Operation(
            id="request", method=verb, path=path, bucket=bucket_of(verb, path), replay=replay_of(verb), result="json"
        )
        arguments = Arguments(query=query or {}, body=body, extra_headers=headers, options=options)
        made = self._caller.options_of(arguments)
        value, answer = await self._caller.engine.call(operation, arguments, made, with_answer=True)
        return answer.as_raw(value)

    def webhook_received(self, event: Event) -> None:
        """Pass a webhook event to the client, so that waits for its object end at once.

        For the handler of a program that both waits (``wait_until_...``, uploads, ingest, ``live.watch``) and receives webhooks. The
        content of the event is trusted: pass only events whose signature was verified. Events for which there is no wait do no harm, and
        neither do repeated ones. Call it in the event loop of the waiting tasks; it returns at once. While events arrive, the client polls
        what it waits for only every 10 to 60 s, in case one gets lost.

        Args:
            event: As `mux_async.webhooks.parse_event` returns it.
        """
        from mux_async._webhook_updates import webhook_updates
        from mux_async.live._poller import poller_of
        from mux_async.resources._waits import pollers_of

        pollers_of(self._caller).webhook_received(webhook_updates(event))
        poller_of(self._caller).webhook_received(event)

    def webhook_events(
        self,
        *types: str,
        allow_unknown: bool = False,
        silence: float = 90.0,
        on_status: Callable[[StreamStatus], object] | None = None,
    ) -> WebhookStream:
        """Receive the events of the token's environment over one connection, for programs that Mux cannot send requests to.

        ::

            async with mux.webhook_events("video.asset.*") as events:
                async for event in events:
                    print(event.type, event.object.id)

        While the program waits for the next event, every event that arrives is also passed to `webhook_received`. The route is that of
        ``mux webhooks listen``, made for development: Mux does not describe it, and does not say what it does with events of the time in
        which nobody is connected. A program that must not lose an event receives webhooks at an endpoint (`mux_async.webhooks`).

        Nothing is sent before the ``async with``, which connects, and raises if the stream is not offered or not permitted. A connection
        that breaks later, or is silent, is replaced. See `WebhookStream`.

        Args:
            types: Types of events, or patterns as in ``hooks.on``; all types when there are none.
            allow_unknown: Whether a type that this version does not know may be among them.
            silence: Seconds without a byte after which a connection counts as broken. A server that has no events sends comments; how
                often Mux does is not known.
            on_status: Called when the connection is there, and when it is lost.

        Raises:
            ConfigurationError: An argument is not valid.
            ValueError: One of *types* matches no type of event.
        """
        from mux_async._webhook_stream import WebhookStream

        check_callable("on_status", on_status, "it must be a function of a StreamStatus", allow_none=True)
        return WebhookStream(
            self._caller, self.webhook_received, types, allow_unknown=allow_unknown, silence=silence, on_status=on_status
        )

    async def aclose(self) -> None:
        """Close the connections of the running event loop, for this client and its ``with_options`` variants.

        Any number of times. The client cannot be used in this event loop any more; it can in another.
        """
        await self._caller.engine.aclose()

    async def __aenter__(self) -> Self:
        self._caller.engine.here()  # a transport that cannot run here says so now
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        caller: Caller | None = vars(self).get("_caller")
        if caller is None:
            return "<Mux, which could not be set up>"
        config = caller.engine.config
        return f"<Mux {config.base_url} account={config.credentials.account!r}>"


M = TypeVar("M", bound=Mux)


def listeners_of(client: Mux) -> Listeners | None:
    """Return the listeners of *client*; ``None`` if it never had one."""
    return client._mux_listeners  # pyright: ignore[reportPrivateUsage] - for the rest of the package, not for users


def for_long_work(client: M) -> M:
    """Return *client* for work that makes many calls in its own time. See `EffectiveOptions.for_long_work`."""
    return client._for_long_work()  # pyright: ignore[reportPrivateUsage] - for the rest of the package, not for users
