"""No request makes the emulator fail: each gets a response, and an error has a type and a message."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests._examples import examples
from tests.emulator.harness import Account, basic, well_formed_id

_words = st.sampled_from(
    [
        "url",
        "policy",
        "inputs",
        "meta",
        "title",
        "resolution",
        "static_renditions",
        "playback_policies",
        "language_code",
        "type",
    ]
)
_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
        st.sampled_from(["public", "text", "480p", "mux://assets/x", "http://[", "https://x.example/a.mp4", "en"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(_words, st.text(max_size=8)), inner, max_size=4)
    ),
    max_leaves=8,
)


ROUTES = sorted(Account().emulator.served)


@settings(max_examples=examples(120), deadline=None)
@given(route=st.sampled_from(ROUTES), body=st.one_of(_values, st.binary(max_size=40)), known=st.booleans())
def test_any_body(route: tuple[str, str], body: Any, known: bool) -> None:
    """Any body on any operation, for ids that exist or not, gets a response, and an error has Mux's form."""
    method, template = route
    if method == "POST" and template.endswith("signing-keys"):
        return  # slow, and takes no body
    account = Account()
    asset = account.ready_asset(playback_policies=["public"])
    stream = account.data("POST", "/video/v1/live-streams", {"playback_policies": ["public"]})
    ids = {"ASSET_ID": asset["id"], "LIVE_STREAM_ID": stream["id"], "TRACK_ID": asset["tracks"][0]["id"]}
    ids["PLAYBACK_ID"] = (asset if "ASSET_ID" in template else stream)["playback_ids"][0]["id"]
    path = "/".join(
        ids.get(part[1:-1], well_formed_id()) if known and part.startswith("{") else part for part in template.split("/")
    )

    response = account.send(method, path, body)
    account.pass_time(5.0)
    after = account.send("GET", "/video/v1/assets")

    assert response.status < 500
    assert after.status == 200
    if response.status >= 400:
        error = response.json()["error"]
        assert error["type"]
        messages = [error["message"]] if template.startswith("/robots/") else error["messages"]
        assert all(isinstance(message, str) for message in messages)


@settings(max_examples=examples(300), deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"]),
    path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
    prefix=st.sampled_from(["/", "/video/v1/", "/_upload/", "/_emulator/", "/data/v1/", "//"]),
    headers=st.dictionaries(
        st.sampled_from(["Content-Range", "Content-Length", "Authorization", "Origin"]), st.text(max_size=20), max_size=3
    ),
    body=st.binary(max_size=50),
)
def test_any_request(method: str, path: str, prefix: str, headers: dict[str, str], body: bytes) -> None:
    """Any method on any path with any headers gets a response."""
    response = Account().send(method, prefix + path, body, headers=headers, authorization=basic())

    assert 200 <= response.status < 500 or response.status == 503
