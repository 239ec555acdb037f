"""Tokens: what they say, under which names, and how many at a time."""

from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime
from typing import Any

import anyio
import attrs
import jwt
import pytest

from mux_async.errors import ConfigurationError, InvalidRequestError
from mux_async.playback import Kind
from mux_async.signing import KeyIdIn, Signer, TokenCache, TokenRequest, verify
from tests.signing import keys


@attrs.define
class Clock:
    now: float = keys.NOW

    def __call__(self) -> float:
        return self.now


def make(clock: Clock | None = None, **options: Any) -> Signer:
    return Signer(keys.KEY_ID, keys.private_key(), clock=clock or Clock(), **options)


def read(token: str) -> dict[str, Any]:
    """Verify with PyJWT alone and return the claims."""
    unverified = jwt.decode(token, options={"verify_signature": False})
    return jwt.decode(
        token,
        keys.public_pem(),
        ["RS256"],
        audience=unverified["aud"],
        options={"verify_exp": False},
        subject=unverified["sub"],
    )


@pytest.mark.parametrize(
    ("kind", "audience"),
    [("video", "v"), ("thumbnail", "t"), ("gif", "g"), ("storyboard", "s"), ("drm_license", "d"), ("stats", "playback_id")],
)
def test_kinds(kind: Any, audience: str) -> None:
    """Each kind has its audience; a token lasts 7 days, names its key in both places, and verifies with PyJWT."""
    token = make().sign(keys.PLAYBACK_ID, kind)

    assert read(token) == {"kid": keys.KEY_ID, "sub": keys.PLAYBACK_ID, "aud": audience, "exp": keys.NOW + 604_800}
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": keys.KEY_ID}
    assert verify(token, make().public_keys, audience=audience, subject=keys.PLAYBACK_ID, now=keys.NOW).key_id == keys.KEY_ID


@pytest.mark.parametrize(("place", "expected"), [("both", (True, True)), ("header", (True, False)), ("payload", (False, True))])
def test_key_id_places(place: KeyIdIn, expected: tuple[bool, bool]) -> None:
    """The key's id is put where it is asked for."""
    token = make(key_id_in=place).sign(keys.PLAYBACK_ID)

    assert ("kid" in jwt.get_unverified_header(token), "kid" in read(token)) == expected
    assert verify(token, make().public_keys, audience="v", now=keys.NOW).key_id == keys.KEY_ID


def test_parameters() -> None:
    """Parameters are claims of their own: numbers, booleans, moments in seconds; text that spells one stays text."""
    signer = make()
    moment = datetime(2026, 1, 2, tzinfo=UTC)

    claims = read(signer.sign("id", params={"program_start_time": moment, "exclude_pdt": True, "max_resolution": "720p"}))
    assert (claims["program_start_time"], claims["exclude_pdt"], claims["max_resolution"]) == (1_767_312_000, True, "720p")
    assert read(signer.sign("id", "thumbnail", params={"time": 2.5, "width": 640}))["time"] == 2.5
    as_text: Any = {"time": "2", "flip_h": "true"}
    assert read(signer.sign("id", "thumbnail", params=as_text)) | as_text == read(
        signer.sign("id", "thumbnail", params=as_text)
    )


def test_restriction_and_extra() -> None:
    """A restriction and data of one's own become claims."""
    token = make().sign("id", playback_restriction_id="r1", extra_claims={"custom": {"user": 5}}, expires_in="2h30m")

    claims = read(token)
    assert (claims["playback_restriction_id"], claims["custom"], claims["exp"]) == ("r1", {"user": 5}, keys.NOW + 9000)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "videos"}, "kind of token 'videos' does not exist; use one of video, thumbnail"),
        ({"params": {"time": 2}}, "'time' is not a parameter of kind 'video', which takes asset_start_time"),
        ({"kind": "stats", "params": {"time": 2}}, "which takes no parameters"),
        ({"params": {"max_resolution": "720"}}, "max_resolution is '?720'?; it looks like '1080p'"),
        ({"expires_in": "soon"}, "expires_in is 'soon'"),
        ({"playback_restriction_id": ""}, "playback restriction id"),
        ({"extra_claims": {"sub": "x"}}, "extra_claims contains 'sub'"),
        ({"extra_claims": {"time": {1}}}, "JSON cannot represent"),
        ({"extra_claims": {"time": float("nan")}}, "JSON cannot represent"),
        ({"extra_claims": {"time": 2**64}}, "JSON cannot represent"),
        ({"extra_claims": {"custom": "x" * 5000}}, "too long for a URL"),
        (
            {"extra_claims": {"max_resolution": "1"}, "params": {"max_resolution": "720p"}},
            "extra_claims contains 'max_resolution'",
        ),
    ],
)
def test_refused(arguments: dict[str, Any], words: str) -> None:
    """What Mux would not take is refused before anything is signed, in words that name it."""
    with pytest.raises(InvalidRequestError, match=words):
        make().sign("id", **arguments)


@pytest.mark.parametrize("id", ["", "a b", "x" * 256, "ä", "a\n"])
def test_ids(id: str) -> None:
    """What cannot be an id is not signed."""
    with pytest.raises(InvalidRequestError, match="playback id"):
        make().sign(id)


def test_player_tokens() -> None:
    """Several kinds at once have the names of the player's attributes, each with its own parameters."""
    kinds: list[Kind] = ["video", "thumbnail", "storyboard", "drm_license", "gif", "stats"]
    tokens = make().sign_tokens(
        keys.PLAYBACK_ID, kinds, params={"thumbnail": {"time": 2}}, expires_in="1h", playback_restriction_id="r1"
    )

    assert {name: read(token)["aud"] for name, token in tokens.items()} == {
        "playback-token": "v",
        "thumbnail-token": "t",
        "storyboard-token": "s",
        "drm-token": "d",
        "gif-token": "g",
        "stats-token": "playback_id",
    }
    assert read(tokens["thumbnail-token"])["time"] == 2
    assert {read(token)["exp"] for token in tokens.values()} == {keys.NOW + 3600}
    assert {read(token)["playback_restriction_id"] for token in tokens.values()} == {"r1"}
    with pytest.raises(InvalidRequestError, match="params are given for 'gif', and kinds has only video"):
        make().sign_tokens("id", ["video"], params={"gif": {"fps": 5}})
    assert list(make().sign_tokens("id")) == ["playback-token", "thumbnail-token", "storyboard-token"]


@pytest.mark.parametrize("of", ["video", "asset", "playback", "live_stream"])
def test_viewer_counts(of: Any) -> None:
    """Viewer counts have an audience for each kind of id."""
    claims = read(make().sign_viewer_counts("some-id", of, expires_in=60))

    assert claims == {"kid": keys.KEY_ID, "sub": "some-id", "aud": f"{of}_id", "exp": keys.NOW + 60}
    with pytest.raises(InvalidRequestError, match="viewer counts of 'space' do not exist"):
        make().sign_viewer_counts("some-id", "space")  # type: ignore[arg-type]


def test_space() -> None:
    """A space's token names role and participant where they are given."""
    signer = make()

    assert read(signer.sign_space("s1", role="subscriber", participant_id="ann")) == {
        "role": "subscriber",
        "participant_id": "ann",
        "kid": keys.KEY_ID,
        "sub": "s1",
        "aud": "rt",
        "exp": keys.NOW + 604_800,
    }
    assert read(signer.sign_space("s1")).keys() == {"kid", "sub", "aud", "exp"}
    with pytest.raises(InvalidRequestError, match="'publisher' or 'subscriber'"):
        signer.sign_space("s1", role="host")  # type: ignore[arg-type]


def test_nothing_shows_the_key() -> None:
    """A signer shows the id of its key and no more, and is not pickled."""
    signer = make()

    assert repr(signer) == f"<Signer key_id={keys.KEY_ID!r}>"
    with pytest.raises(TypeError, match="private key"):
        pickle.dumps(signer)
    with pytest.raises(ConfigurationError, match="key_id_in"):
        make(key_id_in="nowhere")


class Watched(Signer):
    """Notes which thread signs."""

    threads: set[int]

    def _encode(self, claims: Any) -> str:
        self.threads.add(threading.get_ident())
        return super()._encode(claims)


@pytest.mark.anyio
@pytest.mark.parametrize(("count", "is_here"), [(0, None), (1, True), (4, True), (5, False), (133, False)])
async def test_each(count: int, is_here: bool | None) -> None:
    """Many tokens come in the order they were asked for; more than a few are signed outside the event loop."""
    signer = Watched(keys.KEY_ID, keys.private_key(), clock=Clock())
    signer.threads = set()
    requests = [TokenRequest(f"id{number}", "thumbnail", {"time": number}) for number in range(count)]

    tokens = await signer.sign_each(iter(requests))

    assert [(read(token)["sub"], read(token)["time"]) for token in tokens] == [(f"id{n}", n) for n in range(count)]
    assert {thread == threading.get_ident() for thread in signer.threads} == (set() if is_here is None else {is_here})


@pytest.mark.anyio
async def test_each_cancelled() -> None:
    """Cancelling stops a long batch between its parts; what was signed is in the cache."""
    cache = TokenCache()
    signer = make(cache=cache)
    with anyio.CancelScope() as scope:

        def requests() -> Any:
            for number in range(10_000):
                if number == 64:
                    scope.cancel()
                yield TokenRequest(f"id{number}")

        await signer.sign_each(requests())

    assert scope.cancelled_caught
    assert len(cache) == 64


@pytest.mark.anyio
async def test_each_refuses() -> None:
    """One bad request is named, and none of those beside it is signed."""
    signer = Watched(keys.KEY_ID, keys.private_key())
    signer.threads = set()

    with pytest.raises(InvalidRequestError, match="playback id ''"):
        await signer.sign_each([TokenRequest("a"), TokenRequest("")])
    assert not signer.threads


def test_cache() -> None:
    """A token is handed out again until half its life is over; another one is made for another use, life or key."""
    clock = Clock()
    cache = TokenCache()
    signer = make(clock, cache=cache)
    first = signer.sign("id", "thumbnail", params={"time": 1}, expires_in=100)
    clock.now += 49

    assert signer.sign("id", "thumbnail", params={"time": 1}, expires_in=100) == first
    others = [
        signer.sign("id", "thumbnail", params={"time": 2}, expires_in=100),
        signer.sign("id", "thumbnail", params={"time": 1}, expires_in=101),
        signer.sign("id", expires_in=100),
        signer.sign("id2", "thumbnail", params={"time": 1}, expires_in=100),
        make(clock, cache=cache, key_id_in="header").sign("id", "thumbnail", params={"time": 1}, expires_in=100),
        Signer("other", keys.private_key(), clock=clock, cache=cache).sign(
            "id", "thumbnail", params={"time": 1}, expires_in=100
        ),
    ]
    assert len({first, *others}) == 7
    in_header = [Signer(name, keys.private_key(), clock=clock, cache=cache, key_id_in="header").sign("id") for name in "ab"]
    assert in_header[0] != in_header[1]
    clock.now += 1
    second = signer.sign("id", "thumbnail", params={"time": 1}, expires_in=100)
    assert read(second)["exp"] == keys.NOW + 150
    cache.clear()
    assert len(cache) == 0
    assert repr(cache) == "<TokenCache 0 of 10000>"


def test_cache_size() -> None:
    """The token least recently asked for makes room; settings that make no sense are refused."""
    cache = TokenCache(size=2, fresh=0)
    cache.put("a", "A", 0, 10)
    cache.put("b", "B", 0, 10)
    assert cache.get("a", 9.9) == "A"
    cache.put("c", "C", 0, 10)

    assert (cache.get("a", 9.9), cache.get("b", 9.9), cache.get("c", 9.9), cache.get("c", 10)) == ("A", None, "C", None)
    for size, fresh in ((0, 0.5), (1, 1.0), (1, -0.1)):
        with pytest.raises(ConfigurationError):
            TokenCache(size=size, fresh=fresh)
