"""The official Node client's signer and ours say the same, to the byte, and take each other's tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat

from mux_async.errors import InvalidRequestError
from mux_async.playback import Kind
from mux_async.signing import KeyIdIn, Signer, verify
from tests.emulator import official
from tests.signing import keys

pytestmark = pytest.mark.proof

Call = tuple[str, str, dict[str, Any]]
ID = keys.PLAYBACK_ID
RESTRICTED = {"playback_restriction_id": "r1"}

SAME: dict[str, tuple[Call, Callable[[Signer], object], str]] = {
    "default": (("signPlaybackId", ID, {}), lambda s: s.sign(ID), "v"),
    "video": (
        ("signPlaybackId", ID, {"type": "video", "params": {"max_resolution": "720p", "exclude_pdt": "true"}}),
        lambda s: s.sign(ID, params={"max_resolution": "720p", "exclude_pdt": "true"}),  # type: ignore[call-overload]
        "v",
    ),
    "thumbnail": (
        ("signPlaybackId", ID, {"type": "thumbnail", "params": {"time": 2.5, "width": 320, "flip_h": True}}),
        lambda s: s.sign(ID, "thumbnail", params={"time": 2.5, "width": 320, "flip_h": True}),
        "t",
    ),
    "gif": (("signPlaybackId", ID, {"type": "gif"}), lambda s: s.sign(ID, "gif"), "g"),
    "storyboard": (("signPlaybackId", ID, {"type": "storyboard"}), lambda s: s.sign(ID, "storyboard"), "s"),
    "stats": (("signPlaybackId", ID, {"type": "stats"}), lambda s: s.sign(ID, "stats"), "playback_id"),
    "drm": (("signDrmLicense", ID, {}), lambda s: s.sign(ID, "drm_license"), "d"),
    "restricted": (
        ("signPlaybackId", ID, {"params": RESTRICTED, "expiration": "2h"}),
        lambda s: s.sign(ID, playback_restriction_id="r1", expires_in="2h"),
        "v",
    ),
    "custom": (
        ("signPlaybackId", ID, {"params": {"custom": {"user": 5, "tags": ["a"]}}}),
        lambda s: s.sign(ID, extra_claims={"custom": {"user": 5, "tags": ["a"]}}),
        "v",
    ),
    "counts": (("signViewerCounts", "v1", {}), lambda s: s.sign_viewer_counts("v1"), "video_id"),
    "counts of an asset": (
        ("signViewerCounts", "a1", {"type": "asset"}),
        lambda s: s.sign_viewer_counts("a1", "asset"),
        "asset_id",
    ),
    "counts of a playback id": (
        ("signViewerCounts", ID, {"type": "playback"}),
        lambda s: s.sign_viewer_counts(ID, "playback"),
        "playback_id",
    ),
    "counts of a live stream": (
        ("signViewerCounts", "l1", {"type": "live_stream", "expiration": "90"}),
        lambda s: s.sign_viewer_counts("l1", "live_stream", expires_in="90"),
        "live_stream_id",
    ),
}


def lasting(span: int | str) -> Callable[[Signer], object]:
    return lambda signer: signer.sign(ID, expires_in=span)


for span in (30, "30s", "5 min", "2 hours", "1 hr", "7d", "2w", "1y", " 10 secs ", "12mins", "3 days"):
    SAME[f"for {span}"] = (("signPlaybackId", ID, {"expiration": span}), lasting(span), "v")

ALL = ["video", ["thumbnail", {"time": 2}], "storyboard", "drm_license", "gif", "stats"]
PLACES: tuple[KeyIdIn, ...] = ("both", "header", "payload")
REFUSED_BY_BOTH = ("soon", "7 D", "1.5h", "7dd")


def make(place: KeyIdIn) -> Signer:
    return Signer(keys.KEY_ID, keys.private_key(), key_id_in=place, clock=lambda: keys.NOW)


@pytest.fixture(scope="module", params=["as Mux shows it", "PKCS#8"])
def theirs(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the official client makes of everything, and of our tokens, in one run."""
    calls: list[object] = [call for call, _, _ in SAME.values()]
    calls.append(["signPlaybackId", ID, {"type": ALL}])
    calls += [["signPlaybackId", ID, {"expiration": span}] for span in REFUSED_BY_BOTH]
    private = keys.as_mux_shows_it() if request.param == "as Mux shows it" else keys.pem(PrivateFormat.PKCS8).decode()
    done = official.run_node(
        "sign.cjs",
        MUX_SIGNING_KEY=keys.KEY_ID,
        MUX_PRIVATE_KEY=private,
        NOW=str(keys.NOW),
        PUBLIC_KEY=keys.public_pem().decode(),
        CALLS=json.dumps(calls),
        CHECK=json.dumps([make(place).sign(ID, "thumbnail", params={"time": 2}) for place in PLACES]),
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_same_tokens(theirs: dict[str, Any]) -> None:
    """With the key's id where the official client has it, tokens are equal to its own, to the last byte."""
    made = dict(zip(SAME, theirs["made"], strict=False))

    assert {name: ours(make("payload")) for name, (_, ours, _) in SAME.items()} == made


@pytest.mark.parametrize("place", PLACES)
def test_same_claims(theirs: dict[str, Any], place: KeyIdIn) -> None:
    """Wherever the key's id stands, the claims are those of the official client."""
    for (_, ours, _), token in zip(SAME.values(), theirs["made"], strict=False):
        claims = jwt.decode(str(ours(make(place))), options={"verify_signature": False})
        expected = jwt.decode(token, options={"verify_signature": False})
        assert {"kid": keys.KEY_ID, **claims} == expected


def test_player_tokens(theirs: dict[str, Any]) -> None:
    """Several kinds at once are the same tokens under the same names."""
    kinds: list[Kind] = ["video", "thumbnail", "storyboard", "drm_license", "gif", "stats"]

    assert make("payload").sign_tokens(ID, kinds, params={"thumbnail": {"time": 2}}) == theirs["made"][len(SAME)]


def test_theirs_verify(theirs: dict[str, Any]) -> None:
    """What the official client signs verifies here."""
    for (call, _, audience), token in zip(SAME.values(), theirs["made"], strict=False):
        found = verify(token, {keys.KEY_ID: keys.public_pem()}, audience=audience, subject=call[1], now=keys.NOW)
        assert found.key_id == keys.KEY_ID


def test_ours_verify(theirs: dict[str, Any]) -> None:
    """What is signed here verifies in Node."""
    claims = {"time": 2, "kid": keys.KEY_ID, "sub": ID, "aud": "t", "exp": keys.NOW + 604_800}
    without = {name: value for name, value in claims.items() if name != "kid"}

    assert theirs["checked"] == [claims, without, claims]


def test_spans_refused(theirs: dict[str, Any]) -> None:
    """What is no time span there is none here."""
    for span, answer in zip(REFUSED_BY_BOTH, theirs["made"][len(SAME) + 1 :], strict=True):
        assert answer == {"error": f"Invalid time span: {span}"}
        with pytest.raises(InvalidRequestError):
            make("both").sign(ID, expires_in=span)
