"""The key that a user gives to a create, behind ``once=``."""

from __future__ import annotations

from typing import Final

import attrs

from mux_async._checks import check_flag, check_period, check_text, explains_arguments
from mux_async.errors import ConfigurationError, InvalidRequestError

LOOK_BACK: Final = 24 * 3600.0


@explains_arguments
@attrs.frozen
class IdempotencyKey:
    """A key of your own for one object: ``create(..., once=IdempotencyKey("order-7", look_first=True))``.

    A plain text, ``once="order-7"``, is the same without *look_first*. The key is set in a field that Mux only stores, so that the object
    can be found by it. Only the key counts: a later call with the same key returns the object of the first call, as it is now, whatever
    else the later call says. An object that was deleted can be made again. Keys belong to an operation (and to the object in its path), a
    server and a token.

    A call searches for the key before it sends anything

    - where a call in this process used the key in the last 24 hours, among the last 10,000 keys;
    - where a process that shares rate limits through the same store (``LimitSettings(url=...)``) did;
    - with *look_first*.

    Calls with one key at the same time, in one process or on one store, run one after the other: the first sends, the others return its
    object. docs/decisions/once.md names the cases that are left.

    Attributes:
        key: Printable characters, no space at either end, as many as the operation's field takes.
        look_first: Whether to search even if the key is not known to have been used. For programs that repeat work after a crash and
            share no store. Costs at least one read.
        look_back: How far back *look_first* searches, in seconds: older objects are not found. ``None`` for as far back as 50 pages go;
            if they do not reach the end, the call fails with `AmbiguousOutcomeError` and sends nothing.

    Raises:
        InvalidRequestError: A value has the wrong type or is out of range.
    """

    key: str
    look_first: bool = attrs.field(default=False, kw_only=True)
    look_back: float | None = attrs.field(default=LOOK_BACK, kw_only=True)

    def __attrs_post_init__(self) -> None:
        try:
            check_text("once", self.key)
            check_flag("look_first", self.look_first)
            check_period("look_back", self.look_back, none_means="all that 50 pages show")
        except ConfigurationError as error:
            raise InvalidRequestError(str(error)) from None


class RecordedKey(IdempotencyKey):
    """A key whose uses the caller records, as ingest does in its journal: it is not remembered, and nothing is searched for first."""
