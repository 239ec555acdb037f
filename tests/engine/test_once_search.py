"""The steps of a search for what a create made: what is set, what is read, what counts as found, and what is said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
import attrs
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async._arguments import Arguments
from mux_async._idempotency import search
from mux_async._idempotency.key import IdempotencyKey
from mux_async._idempotency.search import Inconclusive, Lookup, LookupPage
from mux_async._operation import Bucket, KeySpec, LookupSpec, Operation, Pagination, Replay
from mux_async._types import UNSET
from mux_async.errors import APIStatusError, Delivery, InvalidRequestError, Phase, TransportError

NOON = 1_700_000_000.0
DATE = {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}
"""The same moment, as a header."""
ITEMS = LookupSpec("video.items.list", "/items", Bucket.OTHER, Pagination.CURSOR, limit=2, is_newest_first=True)
KEYS = KeySpec(("meta", "id"), 5, ITEMS, "/items/{ID}", ("errored",))
CREATE: Operation[Any] = Operation(
    id="video.items.create",
    method="POST",
    path="/owners/{OWNER_ID}/items",
    bucket=Bucket.POST,
    replay=Replay.NEVER,
    found_in="video.items.list",
    once=KEYS,
)
OWNER = {"OWNER_ID": "o1"}
RESET = TransportError("connection reset", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)


@attrs.define
class Clock:
    now: float = NOON
    since: float = 0.0

    def elapsed(self) -> float:
        return self.since

    def epoch(self) -> float:
        return self.now


@attrs.define
class Account:
    """What GETs are answered with, by path and query; records them."""

    pages: list[Any]
    asked: list[tuple[Operation[object], Arguments]] = attrs.field(factory=list[tuple[Operation[object], Arguments]])

    async def read(self, operation: Operation[object], arguments: Arguments) -> LookupPage:
        self.asked.append((operation, arguments))
        body = self.pages.pop(0)
        if isinstance(body, Exception):
            raise body
        return LookupPage(body, headers(DATE), f"answer {len(self.asked)}")


def headers(members: Mapping[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(members))


def lookup(spec: KeySpec = KEYS, arguments: Arguments | None = None) -> Lookup:
    return Lookup("k", spec, CREATE, arguments or Arguments(path=OWNER, body={"size": 3}), IdempotencyKey("k"))


def item(name: str, key: object = "other", made_at: float = NOON, **members: object) -> dict[str, object]:
    return {"id": name, "meta": {"id": key}, "created_at": str(int(made_at)), **members}


def found_by(account: Account, spec: KeySpec = KEYS, clock: Clock | None = None) -> search.Found | None:
    return asyncio.run(search.search(account.read, lookup(spec), spec.lookup, clock or Clock()))


@pytest.mark.parametrize("once", ["k", IdempotencyKey("k", look_first=True)])
def test_a_key_joins_the_body(once: str | IdempotencyKey) -> None:
    """A key is set in copies of the body and its extra members; what is searched for is what is sent, and the key as it was given."""
    body: dict[str, object] = {"size": 3, "meta": {"title": "A"}}
    extra: dict[str, object] = {"colour": "red"}
    arguments = Arguments(path=OWNER, query={"q": 1}, body=body, extra_body=extra, once=once)
    sent, wanted = search.set_key(CREATE, arguments)

    joined = {"size": 3, "colour": "red", "meta": {"title": "A", "id": "k"}}
    assert attrs.asdict(sent, recurse=False) == {**attrs.asdict(arguments, recurse=False), "body": joined, "extra_body": None}
    assert (body, extra) == ({"size": 3, "meta": {"title": "A"}}, {"colour": "red"})
    assert (wanted.key, wanted.key_spec, wanted.operation, wanted.arguments) == ("k", KEYS, CREATE, sent)
    assert wanted.given == (once if isinstance(once, IdempotencyKey) else IdempotencyKey(once))


@pytest.mark.parametrize(("field", "body"), [("id", None), ("id", {"id": UNSET}), ("id", {"id": None}), ("id", {"id": "k"})])
def test_a_key_in_the_body_itself(field: str, body: Mapping[str, object] | None) -> None:
    """A field of the body itself takes the key where it is absent, unset, null, or has it already."""
    operation = attrs.evolve(CREATE, once=attrs.evolve(KEYS, members=(field,)))
    sent, _ = search.set_key(operation, Arguments(path=OWNER, body=body, once="k"))

    assert sent.body == {field: "k"}


@pytest.mark.parametrize("meta", [UNSET, None, {}, {"id": UNSET}, {"id": None}])
def test_a_key_where_nothing_is(meta: object) -> None:
    """An object that has to hold the key is made where there is none."""
    sent, _ = search.set_key(CREATE, Arguments(path=OWNER, body={"meta": meta}, once="k"))

    assert sent.body == {"meta": {"id": "k"}}


ODD = "; a key has printable characters, at least one, and no space at either end, so that it comes back as it went"


@pytest.mark.parametrize(
    ("once", "body", "message"),
    [
        (None, {}, "POST /owners/{OWNER_ID}/items has no field that could hold a key; leave once= out"),
        (7, {}, "once is of type int; it must be a str or an IdempotencyKey"),
        ("", {}, f"once is ''{ODD}"),
        ("k ", {}, f"once is 'k '{ODD}"),
        ("\n" + "k" * 100, {}, f"once is {chr(10) + 'k' * 79!r}{ODD}"),
        ("k" * 6, {}, "once has 6 characters, and meta.id, which holds it, takes 5; use a shorter key, a hash of it"),
        ("k", {"meta": 7}, "meta is of type int, and once= has to be written into it; pass a mapping"),
        ("k", {"meta": [{"x": b"1"}]}, "meta[0].x is bytes, and JSON holds text; decode it first"),
        (
            "k",
            {"meta": {"id": "j"}},
            (
                "meta.id is set to something else than once='k', and it is where that is kept: leave meta.id out, or use the same text "
                "for both"
            ),
        ),
    ],
)
def test_keys_that_are_refused(once: Any, body: Mapping[str, object], message: str) -> None:
    """The message names the field, what is wrong, and what to do."""
    with pytest.raises(InvalidRequestError) as caught:
        search.set_key(CREATE, Arguments(path=OWNER, body=body, once=once))

    assert str(caught.value) == message


def test_a_key_of_the_greatest_length() -> None:
    """A key may be as long as its field."""
    sent, _ = search.set_key(CREATE, Arguments(path=OWNER, once="k" * 5))

    assert sent.body == {"meta": {"id": "k" * 5}}


def test_an_operation_without_a_field() -> None:
    """An operation that has no field for a key takes none."""
    with pytest.raises(InvalidRequestError, match="has no field that could hold a key"):
        search.set_key(attrs.evolve(CREATE, once=None), Arguments(path=OWNER, once="k"))


def test_the_first_query() -> None:
    """The first page has the greatest limit, fixed text, and texts and whole numbers of the request; what is neither is left out."""
    query: dict[str, str | tuple[str, ...]] = {
        "kind": "x",
        "size": ("size",),
        "owner": ("owner", "id"),
        "gone": ("nothing",),
        "when": ("owner",),
        "deep": ("size", "x"),
    }
    arguments = Arguments(body={"size": 3, "owner": {"id": "o1"}})

    assert search.first_query(attrs.evolve(ITEMS, query=query), arguments) == {
        "limit": 2,
        "kind": "x",
        "size": 3,
        "owner": "o1",
    }
    assert search.first_query(attrs.evolve(ITEMS, limit=None), Arguments()) == {}


@pytest.mark.parametrize(
    ("body", "names", "expected"),
    [
        ({"a": {"b": 1}}, ("a", "b"), 1),
        ({"a": {"b": 1}}, ("a",), {"b": 1}),
        ({"a": 1}, ("a", "b"), None),
        ({"a": 1}, ("b", "a"), None),
        ([1], ("a",), None),
        (7, (), 7),
    ],
)
def test_members(body: object, names: tuple[str, ...], expected: object) -> None:
    """Names lead into objects, and nowhere else."""
    assert search.member(body, names) == expected


@pytest.mark.parametrize(
    ("body", "names", "expected"),
    [
        ({"data": [{"id": 1}]}, ("data",), [{"id": 1}]),
        ({"data": {"id": 1}}, ("data",), [{"id": 1}]),
        ({"data": []}, ("data",), []),
        ({"data": {"tracks": [{"id": 1}]}}, ("data", "tracks"), [{"id": 1}]),
        ({"data": {"tracks": None}}, ("data", "tracks"), []),
        ({"data": {}}, ("data", "tracks"), []),
        ({"data": {"a": {"b": {"tracks": [{"id": 1}]}}}}, ("data", "a", "b", "tracks"), [{"id": 1}]),
        ({"data": None}, ("data", "tracks"), None),
        ({"data": []}, ("data", "tracks"), None),
        ({"data": [{"id": 1}, 1]}, ("data",), None),
        ({"data": "x"}, ("data",), None),
        ({}, ("data",), None),
        (None, ("data",), None),
    ],
)
def test_elements(body: object, names: tuple[str, ...], expected: object) -> None:
    """An object may leave its list out, a list may not; elements are objects."""
    spec = attrs.evolve(ITEMS, items=names)
    if expected is None:
        with pytest.raises(Inconclusive) as caught:
            search.items_of(body, spec)
        assert str(caught.value) == "video.items.list was answered without the list that belongs there"
    else:
        assert search.items_of(body, spec) == expected


def test_the_oldest_that_counts() -> None:
    """The server's time decides where it is there, with 10 s to spare; without it the clock of this machine does, with 300 s."""
    assert search.oldest_possible(headers(DATE), Clock(now=5.0, since=7.0)) == NOON - 17
    assert search.oldest_possible(headers({"date": "soon"}), Clock(since=7.0)) == NOON - 307
    assert search.oldest_possible(headers({}), Clock(since=7.0)) == NOON - 307


@pytest.mark.parametrize(
    ("made_at", "expected"),
    [
        (str(int(NOON) - 1), True),
        (str(int(NOON)), False),
        (int(NOON) - 1, True),
        (datetime.fromtimestamp(NOON - 1, UTC).isoformat(), True),
        ("yesterday", False),
        (None, False),
    ],
)
def test_ages(made_at: object, *, expected: bool) -> None:
    """What was made before the moment is older; without a time nothing is."""
    assert search.is_older({"created_at": made_at, "id": "x"}, NOON) is expected


def after(items: Sequence[Mapping[str, object]], spec: LookupSpec = ITEMS, **members: object) -> object:
    return search.page_after(spec, {"limit": 2, "kind": "x"}, members, list(items), NOON)


def test_the_next_page() -> None:
    """A page is followed by its cursor, or by the next number up to a total; members of the wrong type count as absent."""
    items = [item("a"), item("b")]
    numbered = attrs.evolve(ITEMS, pagination=Pagination.PAGE_WITH_TOTAL)

    assert after(items, next_cursor="c") == {"limit": 2, "kind": "x", "cursor": "c"}
    assert after(items, next_cursor=7) is None
    assert after(items, next_cursor=None) is None
    assert after(items, numbered, total_row_count=3) == {"limit": 2, "kind": "x", "page": 2}
    assert after(items, numbered, total_row_count=2) is None
    assert after(items, numbered, total_row_count="2") == {"limit": 2, "kind": "x", "page": 2}
    assert after([], numbered, total_row_count=3) is None


def test_the_next_page_of_a_list_by_age() -> None:
    """A list sorted by age ends at a last element that is too old; another list goes on, and so does a page without elements."""
    new, old = item("a"), item("b", made_at=NOON - 1)

    assert after([new, old], next_cursor="c") is None
    assert after([old, new], next_cursor="c") is not None
    assert after([new, old], attrs.evolve(ITEMS, is_newest_first=False), next_cursor="c") is not None
    assert after([], next_cursor="c") == {"limit": 2, "kind": "x", "cursor": "c"}


def test_what_is_found() -> None:
    """The element with the key is what the create's own answer would hold, with the answer it was in; pages are read as the spec says."""
    account = Account([{"data": [item("a"), item("b")], "next_cursor": "c"}, {"data": [item("c"), item("d", "k")]}])
    found = found_by(account)

    assert found is not None
    assert found.content == b'{"data":{"id":"d","meta":{"id":"k"},"created_at":"1700000000"}}'
    assert found.answer == "answer 2"
    assert [(dict(arguments.path), dict(arguments.query)) for _, arguments in account.asked] == [
        (OWNER, {"limit": 2}),
        (OWNER, {"limit": 2, "cursor": "c"}),
    ]
    reading = account.asked[0][0]
    assert (reading.id, reading.method, reading.path, reading.bucket) == ("video.items.list", "GET", "/items", Bucket.OTHER)
    assert (reading.replay, reading.result, reading.model) == (Replay.SAFE, "json", None)


@pytest.mark.parametrize(
    "other", [item("a", "k", status="errored"), item("a", None), item("a"), {"id": "a", "meta": "k"}, {"id": "k"}]
)
def test_what_is_not_found(other: Mapping[str, object]) -> None:
    """An element without the key, or with a status that makes it useless, is not it; the end of the list is reached."""
    assert found_by(Account([{"data": [other]}])) is None


@pytest.mark.parametrize(("pages", "reads"), [(3, 3), (None, search.MAX_PAGES)])
def test_a_list_that_is_too_long(pages: int | None, reads: int) -> None:
    """The number of pages is bounded, by the spec or in general; what lies behind them proves nothing."""
    spec = attrs.evolve(KEYS, lookup=attrs.evolve(ITEMS, pages=pages))
    account = Account([{"data": [item("a")], "next_cursor": f"c{number}"} for number in range(search.MAX_PAGES + 1)])
    with pytest.raises(Inconclusive) as caught:
        found_by(account, spec)

    assert str(caught.value) == f"{reads} pages of video.items.list did not go back to the first attempt"
    assert len(account.asked) == reads


def test_summaries_are_read_one_by_one() -> None:
    """Where a list leaves keys out, its elements that are young enough are read; the answer to that read is the answer."""
    spec = attrs.evolve(
        KEYS, lookup=attrs.evolve(ITEMS, is_summary=True, is_newest_first=False), retrieve="/o/{OWNER_ID}/i/{ID}"
    )
    listed = [item("old", "k", NOON - 11), item("a", "k"), item("b", "x"), item("c", "k")]
    account = Account([{"data": listed}, {"data": item("a", "x")}, {"data": item("b", "k", status="ready")}])
    found = found_by(account, spec)

    assert found is not None
    assert found.content == b'{"data":{"id":"b","meta":{"id":"k"},"created_at":"1700000000","status":"ready"}}'
    assert found.answer == "answer 3"
    assert [operation.path for operation, _ in account.asked] == ["/items", "/o/o1/i/a", "/o/o1/i/b"]
    reading, arguments = account.asked[1]
    assert (reading.id, reading.method, reading.bucket) == ("video.items.list", "GET", Bucket.OTHER)
    assert (reading.replay, reading.result) == (Replay.SAFE, "json")
    assert (dict(arguments.path), dict(arguments.query), arguments.body) == ({}, {}, None)


@pytest.mark.parametrize("whole", [{"data": None}, {"data": [item("a", "k")]}, [], {"errors": {}}])
def test_an_answer_without_the_object(whole: object) -> None:
    """A read of one object that shows none proves nothing, in a search and for a known id."""
    spec = attrs.evolve(KEYS, lookup=attrs.evolve(ITEMS, is_summary=True))
    with pytest.raises(Inconclusive) as of_a_search:
        found_by(Account([{"data": [item("a")]}, whole]), spec)
    with pytest.raises(Inconclusive) as of_an_id:
        retrieved(whole)

    assert str(of_a_search.value) == "/items/a was answered without the object that belongs there"
    assert str(of_an_id.value) == "/items/i1 was answered without the object that belongs there"


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize(("acted", "times"), [(False, [0.5, 3.5]), (True, [0.5, 3.5, 13.5])])
async def test_when_it_is_searched_for(*, acted: bool, times: list[float]) -> None:
    """A search follows each pause, longer where something was made for sure; the first that finds it is the last."""
    start = anyio.current_time()
    asked: list[float] = []
    account = Account([{"data": [item("a")]}] * 9)

    async def read(operation: Operation[object], arguments: Arguments) -> LookupPage:
        asked.append(anyio.current_time() - start)
        return await account.read(operation, arguments)

    assert await search.reconcile(read, lookup(), ITEMS, Clock(), acted=acted) is None
    assert asked == pytest.approx(times)
    account.pages[1] = {"data": [item("b", "k")]}
    found = await search.reconcile(account.read, lookup(), ITEMS, Clock(), acted=acted)
    assert found is not None
    assert found.answer == f"answer {len(times) + 2}"


def retrieved(body: Any) -> search.Found | None:
    account = Account([body])
    found = asyncio.run(search.retrieve(account.read, lookup(), "i1"))
    assert [operation.path for operation, _ in account.asked] == ["/items/i1"]
    return found


def test_what_is_read_by_its_id() -> None:
    """An object with a known id is read, and is found whatever its key; a useless one is not."""
    found = retrieved({"data": {"id": "i1"}})

    assert found is not None
    assert (found.content, found.answer) == (b'{"data":{"id":"i1"}}', "answer 1")
    assert retrieved({"data": {"id": "i1", "status": "errored"}}) is None


def refusal(status: int) -> APIStatusError:
    return APIStatusError(
        "no", status=status, type=None, messages=(), request_id=None, headers=headers({}), body=b"", retry_after=None
    )


@pytest.mark.parametrize("status", [400, 404, 410])
def test_what_is_gone(status: int) -> None:
    """An id that no object has leads to nothing."""
    assert retrieved(refusal(status)) is None


@pytest.mark.parametrize("error", [refusal(403), RESET])
def test_a_read_that_fails(error: Exception) -> None:
    """Any other failure of the read is the failure of the search."""
    with pytest.raises(type(error)) as caught:
        retrieved(error)

    assert caught.value is error


AGAIN = "was not sent again, because that could do it twice"


@pytest.mark.parametrize(
    ("given", "how", "message"),
    [
        (
            {},
            "see what mux.video.items.list shows",
            f"POST /x has an unknown outcome (connection reset); it {AGAIN}: see what mux.video.items.list shows before you repeat it",
        ),
        (
            {"found_in": None, "status": 300},
            None,
            f"POST /x has an unknown outcome (connection reset); it {AGAIN}: look whether it was done before you repeat it",
        ),
        (
            {"status": 299, "looked": "it was looked for", "lookup": lookup()},
            "look for meta.id 'k' in mux.video.items.list",
            f"POST /x was answered 299, and the body did not arrive whole; it was looked for, and it {AGAIN}: look for meta.id 'k' in",
        ),
    ],
)
def test_outcomes_that_are_unknown(given: dict[str, Any], how: str | None, message: str) -> None:
    """The error says what happened, what was tried, and how to find out; it has the request's id and status, and the key."""
    members = {**given}
    operation = attrs.evolve(CREATE, path="/x", found_in=members.pop("found_in", "video.items.list"))
    error = search.ambiguous(operation, RESET, request_id="r1", **members)

    assert str(error).startswith(message)
    assert (error.how, error.status, error.request_id) == (how, given.get("status"), "r1")
    assert error.once == ("k" if "lookup" in given else None)
