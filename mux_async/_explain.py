"""`explain`: the time line of a failed call in words, who is at fault, and what to do.

It reads the dictionary that `MuxError.to_dict` makes, so that an error of another process, out of a log, is explained like one in hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from mux_async.errors import Delivery, MuxError, Phase

_CONNECT, _WRITE, _HEAD, _BODY = (each.value for each in (Phase.CONNECT, Phase.WRITE, Phase.READ_HEAD, Phase.READ_BODY))
_DOING: Final = {
    _CONNECT: "connecting",
    _WRITE: "sending",
    _HEAD: "waiting for the first byte",
    _BODY: "reading the body",
}
_NETWORK: Final = "the network between this program and Mux"
_LIMIT: Final = "the account's rate limit"
_US: Final = "this program"
_MUX: Final = "Mux"


class _Diagnosis(NamedTuple):
    """Who is at fault, whether the call may be repeated, and what to do."""

    where: str
    repeat: str
    advice: str


def explain(error: BaseException | Mapping[str, Any]) -> str:
    """Return, as text of a few lines, what happened to a call: where its time went, who is at fault, and what to do.

    ::

        try:
            await mux.video.assets.create(...)
        except MuxError as error:
            print(explain(error))

    Args:
        error: What a call raised, or what `MuxError.to_dict` made of it. Of an error that is not of this package, the first `MuxError` that
            caused it is explained.
    """
    found = error if isinstance(error, Mapping) else _as_dict(error)
    kind = str(found.get("type", "error"))
    lines = [f"{kind}: {found.get('message', '')}", ""]
    attempts = _mappings(found.get("attempts"))
    if attempts:
        lines += [*_time_line(attempts), ""]
    elif found.get("operation"):
        lines += [f"Nothing of {found['operation']} was sent.", ""]
    where, repeat, advice = _diagnose(kind, found, attempts)
    lines.append(f"Where:   {where}")
    if found.get("request_id"):
        lines.append(f"         Mux knows it as request id {found['request_id']}")
    lines += [f"Repeat:  {repeat}", f"Do:      {advice}"]
    return "\n".join(lines)


def _as_dict(error: BaseException) -> Mapping[str, Any]:
    seen = set[int]()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, MuxError):
            return cause.to_dict()
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return {"type": type(error).__name__, "message": str(error)}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    listed = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Mapping[str, Any]", each) for each in listed if isinstance(each, Mapping)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else 0.0


def _word(value: object) -> str | None:
    """Return *value* if it is text: what was read from a log may be anything."""
    return value if isinstance(value, str) else None


def _time_line(attempts: list[Mapping[str, Any]]) -> list[str]:
    lines: list[str] = []
    at = queued = slept = sending = 0.0

    def add(text: str) -> None:
        lines.append(f"{at:9.3f} s  {text}")

    for number, each in enumerate(attempts, 1):
        pause, queue, elapsed = (_number(each.get(name)) for name in ("slept", "queued", "elapsed"))
        if pause >= 0.0005:
            add(f"slept {pause:.3f} s before the retry")
            at, slept = at + pause, slept + pause
        if queue >= 0.0005:
            add(f"queued {queue:.3f} s for the rate limit")
            at, queued = at + queue, queued + queue
        add(f"attempt {number}: {_of_attempt(each, elapsed)}")
        at, sending = at + elapsed, sending + elapsed
    add("the end")
    total = at or 1.0
    parts = [("rate limit", queued), ("requests", sending), ("pauses", slept)]
    shares = ", ".join(f"{name} {seconds:.3f} s ({seconds / total:.0%})" for name, seconds in parts if seconds)
    return [*lines, f"            in all {at:.3f} s" + (f": {shares}" if shares else "")]


def _of_attempt(attempt: Mapping[str, Any], elapsed: float) -> str:
    status, phase, head = attempt.get("status"), _word(attempt.get("phase")), attempt.get("head")
    text = f"answered {status} after {elapsed:.3f} s" if status else f"no answer after {elapsed:.3f} s"
    if isinstance(head, int | float):
        text += f" (first byte {head:.3f} s, body {max(0.0, elapsed - head):.3f} s)"
    if phase in _DOING:
        text += f", while {_DOING[phase]}"
    if attempt.get("error"):
        text += f": {attempt['error']}"
    if attempt.get("request_id"):
        text += f" [request id {attempt['request_id']}]"
    return text


def _diagnose(kind: str, error: Mapping[str, Any], attempts: list[Mapping[str, Any]]) -> _Diagnosis:
    status = error.get("status")
    last: Mapping[str, Any] = attempts[-1] if attempts else {}
    advice = str(error.get("advice") or error.get("how") or "")
    repeat = _repeat(kind, error, attempts)
    phase = _word(error.get("phase")) or _word(last.get("phase"))
    if kind == "LimitWaitError":
        eta = error.get("eta")
        longer = f" (it would have waited {_number(eta):.1f} s)" if eta is not None else ""
        return _Diagnosis(
            f"{_LIMIT}: the queue is longer than the deadline{longer}",
            repeat,
            "give a longer deadline, priority='interactive' for what people wait for, or make fewer calls; `mux-async limits` shows them",
        )
    if kind == "DeadlineExceededError":
        return _of_deadline(attempts, repeat)
    if status == 429:
        return _Diagnosis(
            f"{_LIMIT}, as Mux counts it: other programs use the account too, or the limits of this client are off or too high",
            repeat,
            "share the limits between processes (MUX_LIMITS_URL), and see docs/limits.md; `mux-async limits` shows what was learned",
        )
    if isinstance(status, int) and (status >= 500 or status == 408):
        return _Diagnosis(
            f"{_MUX} failed ({status})", repeat, advice or "try later; give the request id to Mux's support if it goes on"
        )
    if kind in {"ResponseTooLargeError", "UndecodableResponseError"}:
        return _Diagnosis(
            f"the answer cannot be read: {_MUX}, or something between that changes answers (a proxy)",
            repeat,
            "look at the answer with `mux-async api`, and check the proxy and MUX_BASE_URL",
        )
    if isinstance(status, int) and status >= 300:
        return _Diagnosis(f"{_US}: Mux refuses the request ({status})", repeat, advice or _ADVICE.get(status, _ADVICE[400]))
    if isinstance(status, int) and 200 <= status < 300 and kind == "AmbiguousOutcomeError":
        return _Diagnosis(
            f"{_NETWORK}: Mux acted, and its answer was lost on the way", repeat, advice or "look for what was made"
        )
    if phase == _CONNECT or kind == "ConnectError":
        return _Diagnosis(
            f"{_NETWORK}: no connection",
            repeat,
            "check the name, the port, the proxy and the certificates: `mux-async doctor` tries each",
        )
    if phase in _DOING:
        place = f"{_NETWORK}, or {_MUX} answers too slowly" if phase == _HEAD else _NETWORK
        return _Diagnosis(place, repeat, advice or "try later; if it takes long by nature, give a longer timeout (Timeouts)")
    if kind in _KINDS:
        where, what = _KINDS[kind]
        return _Diagnosis(where, repeat, advice or what)
    return _Diagnosis("unknown: this error says nothing of a request", repeat, advice or "see the message")


_ADVICE: Final = {
    400: "correct what the message names; the same request fails again",
    401: "check token id and secret, and that they belong to this server: `mux-async doctor`",
    403: "use an access token with this permission; it is chosen in Mux's dashboard",
    404: "check the id and the environment of the token: Mux says 404 for what another environment has",
    409: "it exists already, or another change is under way: retrieve it first",
    412: "it is not in the right state yet: wait for it (docs/waiting.md)",
}
_KINDS: Final = {
    "AmbiguousOutcomeError": (f"{_NETWORK}: the answer was lost", "look whether it was done before you repeat it, or use once="),
    "ClosedError": (f"{_US}: the client was closed", "keep the client open while it is used, or make a new one"),
    "TransportClosedError": (f"{_US}: the client was closed", "keep the client open while it is used, or make a new one"),
    "DriftError": (
        f"{_US}: it is strict, and {_MUX} sent what this version has no name for",
        "see docs/drift.md; a newer version may know it",
    ),
    "InvalidRequestError": (f"{_US}: an argument cannot be sent", "correct what the message names"),
    "ResponseError": ("the answer cannot be read", "look at the answer with `mux-async api`"),
    "TransportError": (_NETWORK, "try later"),
    "TransportTimeoutError": (_NETWORK, "try later"),
    "UploadError": (f"{_NETWORK}, or the source", "resume it if `resumable` says so, else start a new upload"),
    "UploadGoneError": ("the upload has expired, was cancelled or is complete", "start a new upload"),
    "RepeatedPageError": (f"{_MUX}: its list does not go on", "use what was read so far"),
    **dict.fromkeys(
        (
            "AssetErroredError", "DirectiveRunFailedError", "JobFailedError", "LiveStreamDisabledError",
            "MasterErroredError", "ProcessingError", "StaticRenditionErroredError", "TrackErroredError",
        ),
        (f"the input: {_MUX} could not process it", "see Mux's reasons in the message, and check the input"),
    ),
    **dict.fromkeys(
        ("ConfigurationError", "MissingCredentialsError", "MissingExtraError", "UnknownArgumentError",
         "UnknownNameError", "UnknownTransportError", "WrongRuntimeError"),
        (f"{_US}: its settings", "change what the message names"),
    ),
}  # fmt: skip
"""Where and what to do, by the name of an error about which its attempts say nothing."""


def _of_deadline(attempts: list[Mapping[str, Any]], repeat: str) -> _Diagnosis:
    """Say what took most of the time."""
    spent = {
        "queue": sum(_number(each.get("queued")) for each in attempts),
        "pauses": sum(_number(each.get("slept")) for each in attempts),
        "requests": sum(_number(each.get("elapsed")) for each in attempts),
    }
    most = max(spent, key=spent.__getitem__)
    if not attempts or most == "queue":
        where, advice = _LIMIT, "give a longer deadline, or priority='interactive'; `mux-async limits` shows the queues"
    elif most == "pauses":
        where, advice = "earlier attempts failed, and the pauses between them took the time", "see the attempts above"
    elif attempts[-1].get("phase") == _CONNECT:
        where, advice = (
            f"{_NETWORK}: it was still connecting",
            "`mux-async doctor` tries the network; a shorter connect timeout retries",
        )
    else:
        where, advice = f"{_MUX} answers more slowly than the deadline, or {_NETWORK}", "give a longer deadline, or try later"
    return _Diagnosis(where, repeat, advice)


def _repeat(kind: str, error: Mapping[str, Any], attempts: list[Mapping[str, Any]]) -> str:
    """Say whether the call may be repeated."""
    method = str(error.get("operation") or "").partition(" ")[0]
    status = error.get("status")
    if kind == "AmbiguousOutcomeError":
        return "not before you have looked: it may have been done, and again would be twice"
    if isinstance(status, int) and 300 <= status < 500 and status not in {408, 429}:
        return "no: as it is, it fails again"
    if method in {"GET", "HEAD"}:
        return "yes: it only reads"
    if not attempts:
        return "yes, once the reason is gone: nothing was sent"
    deliveries = {_word(each.get("delivery")) for each in (*attempts, error)}
    if Delivery.ANSWERED.value in deliveries:
        return "no: it was done, only the answer is lost"
    if Delivery.MAYBE_PROCESSED.value in deliveries:
        return "not before you have looked: it may have been done" if method == "POST" else "yes: once more has the same effect"
    return "yes: the server did nothing"
