"""Addresses: what they look like, and what is refused before anybody asks for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async import Mux, Secret
from mux_async.errors import ConfigurationError, InvalidRequestError
from mux_async.models import Asset, PlaybackId, PlaybackIdLookup
from mux_async.models.ids import PlaybackIdText
from mux_async.playback import MUX, Hosts, Playback, player_url, viewer_counts_url
from mux_async.signing import Signer
from tests.signing import keys

ID = keys.PLAYBACK_ID
PUBLIC = PlaybackId(id=PlaybackIdText(ID), policy="public")
SIGNED = PlaybackId(id=PlaybackIdText(ID), policy="signed")
SIGNER = Signer(keys.KEY_ID, keys.private_key(), clock=lambda: keys.NOW)
LOCAL = Hosts.at("http://127.0.0.1:8787")


def claims_of(url: str) -> dict[str, Any]:
    """The query must be a token and nothing else; its claims."""
    query = parse_qs(urlsplit(url).query)
    assert query.keys() == {"token"}
    claims: dict[str, Any] = jwt.decode(query["token"][0], options={"verify_signature": False})
    return claims


def test_public() -> None:
    """Public addresses, one of each; parameters are in the query."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    stream, image = f"https://stream.mux.com/{ID}", f"https://image.mux.com/{ID}"

    assert PUBLIC.hls_url() == f"{stream}.m3u8"
    assert PUBLIC.hls_url(max_resolution="720p", exclude_pdt=True) == f"{stream}.m3u8?max_resolution=720p&exclude_pdt=true"
    assert PUBLIC.hls_url(program_start_time=moment) == f"{stream}.m3u8?program_start_time=1767312000"
    assert PUBLIC.hls_url(asset_start_time=1.5, asset_end_time=3.0) == f"{stream}.m3u8?asset_start_time=1.5&asset_end_time=3"
    assert PUBLIC.thumbnail_url() == f"{image}/thumbnail.jpg"
    assert (
        PUBLIC.thumbnail_url("webp", time=0, width=64, flip_h=False) == f"{image}/thumbnail.webp?time=0&width=64&flip_h=false"
    )
    assert PUBLIC.animated_url("webp", start=2, end=4.5, fps=30) == f"{image}/animated.webp?start=2&end=4.5&fps=30"
    assert PUBLIC.storyboard_url() == f"{image}/storyboard.vtt"
    assert PUBLIC.storyboard_url("json", format="webp") == f"{image}/storyboard.json?format=webp"
    assert PUBLIC.storyboard_image_url("png") == f"{image}/storyboard.png"
    assert PUBLIC.text_track_url("track1") == f"{stream}/text/track1.vtt"
    assert PUBLIC.transcript_url("track1") == f"{stream}/text/track1.txt"
    assert PUBLIC.static_rendition_url("720p.mp4") == f"{stream}/720p.mp4"
    assert PUBLIC.static_rendition_url("audio.m4a", download="a & b/ü") == f"{stream}/audio.m4a?download=a%20%26%20b%2F%C3%BC"
    assert player_url(ID) == f"https://player.mux.com/{ID}"


Make = Callable[..., str]


def of_signed(method: str, *arguments: str, **params: Any) -> Make:
    make: Make = getattr(SIGNED, method)
    return partial(make, *arguments, **params)


SIGNED_URLS: dict[str, tuple[Make, str, dict[str, Any]]] = {
    "hls": (of_signed("hls_url", max_resolution="720p"), "v", {"max_resolution": "720p"}),
    "thumbnail": (of_signed("thumbnail_url", time=2), "t", {"time": 2}),
    "animated": (of_signed("animated_url", width=640), "g", {"width": 640}),
    "storyboard": (of_signed("storyboard_url", asset_end_time=9), "s", {"asset_end_time": 9}),
    "storyboard image": (of_signed("storyboard_image_url"), "s", {}),
    "track": (of_signed("text_track_url", "t1"), "v", {}),
    "transcript": (of_signed("transcript_url", "t1"), "v", {}),
    "file": (of_signed("static_rendition_url", "720p.mp4"), "v", {}),
    "licence": (of_signed("license_url", "widevine"), "d", {}),
    "certificate": (of_signed("certificate_url"), "d", {}),
    "counts": (of_signed("viewer_counts_url"), "playback_id", {}),
}


@pytest.mark.parametrize("name", SIGNED_URLS)
def test_signed(name: str) -> None:
    """With a signer, parameters are in the token, and nothing but the token is in the query."""
    make, audience, params = SIGNED_URLS[name]
    url = make(signer=SIGNER, expires_in="1h", playback_restriction_id="r1", hosts=LOCAL)

    assert claims_of(url) == {
        **params,
        "playback_restriction_id": "r1",
        "kid": keys.KEY_ID,
        "sub": ID,
        "aud": audience,
        "exp": keys.NOW + 3600,
    }
    assert url.startswith("http://127.0.0.1:8787/")
    with pytest.raises(InvalidRequestError, match=f"the playback id {ID} is signed: pass signer="):
        make()


@pytest.mark.parametrize("name", [name for name, (_, _, params) in SIGNED_URLS.items() if not params])
def test_ready_token(name: str) -> None:
    """A token made before is put in as it is; one for another use or another id is refused, with both named."""
    make, audience, _ = SIGNED_URLS[name]
    kinds: dict[str, Any] = {"v": "video", "s": "storyboard", "d": "drm_license", "playback_id": "stats"}
    token = SIGNER.sign(ID, kinds[audience])

    assert make(token=token) == make(token=Secret(token))
    assert parse_qs(urlsplit(make(token=token)).query) == {"token": [token]}
    with pytest.raises(InvalidRequestError, match=f"is for aud 't', and this URL needs '{audience}'"):
        make(token=SIGNER.sign(ID, "thumbnail"))
    with pytest.raises(InvalidRequestError, match="is for 'other', and this URL is for"):
        make(token=SIGNER.sign("other", kinds[audience]))


def test_hosts_of_rights() -> None:
    """Licences, certificates and counts have hosts of their own."""
    token = SIGNER.sign(ID, "drm_license")
    counts = SIGNER.sign_viewer_counts("v1")

    assert SIGNED.license_url("fairplay", token=token) == f"https://license.mux.com/license/fairplay/{ID}?token={token}"
    assert SIGNED.certificate_url(token=token) == f"https://license.mux.com/appcert/fairplay/{ID}?token={token}"
    assert viewer_counts_url(counts) == f"https://stats.mux.com/counts?token={counts}"
    assert PUBLIC.viewer_counts_url(signer=SIGNER).startswith("https://stats.mux.com/counts?token=")
    tokens = SIGNER.sign_tokens(ID)
    assert parse_qs(urlsplit(player_url(ID, tokens)).query) == {name: [token] for name, token in tokens.items()}


def test_download_beside_token() -> None:
    """The name to download under stays in the query: tokens have no such parameter."""
    url = SIGNED.static_rendition_url("720p.mp4", download="film", signer=SIGNER)

    assert parse_qs(urlsplit(url).query).keys() == {"download", "token"}


TOKEN = SIGNER.sign(ID)
REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "query beside a token": (
        lambda: SIGNED.hls_url(token=TOKEN, max_resolution="720p"),
        r"max_resolution would be ignored beside a token: .* signer\.sign\(id, 'video', params=",
    ),
    "token of a public id": (lambda: PUBLIC.hls_url(token=TOKEN), "is public, and Mux answers 403 to a public id with a token"),
    "signer of a public id": (lambda: PUBLIC.hls_url(signer=SIGNER), "is public"),
    "drm without token": (lambda: PlaybackId(id=PlaybackIdText(ID), policy="drm").hls_url(), "is drm: pass signer="),
    "token and signer": (lambda: SIGNED.hls_url(token=TOKEN, signer=SIGNER), "token and signer cannot be combined"),
    "token and life": (lambda: SIGNED.hls_url(token=TOKEN, expires_in="1h"), "token and expires_in cannot be combined"),
    "life without signer": (lambda: Playback(ID).hls_url(expires_in="1h"), "pass signer= too"),
    "no JWT": (lambda: SIGNED.hls_url(token="secret-thing"), "is not a signed JWT"),
    "no claims": (lambda: SIGNED.hls_url(token="a.b.c"), "claims cannot be read"),
    "claims a list": (lambda: SIGNED.hls_url(token="e30.W10.c"), "contains no claims"),
    "unknown parameter": (lambda: PUBLIC.hls_url(width=5), "'width' is not a parameter of kind 'video', which takes"),  # type: ignore[call-arg]
    "unknown extension": (lambda: PUBLIC.thumbnail_url("gif"), "the extension 'gif' does not exist here; use one of jpg"),  # type: ignore[arg-type]
    "format of a picture": (lambda: PUBLIC.storyboard_image_url(format="png"), "leave format out"),  # type: ignore[call-arg]
    "file name": (lambda: PUBLIC.static_rendition_url("../720p.mp4"), "not the name of a static rendition"),
    "drm system": (lambda: SIGNED.license_url("clearkey", token=TOKEN), "not one of 'widevine'"),  # type: ignore[arg-type]
    "id": (lambda: Playback("a/b").hls_url(), "playback id 'a/b'"),
    "id up": (lambda: Playback("..").hls_url(), "playback id '..'"),
    "whole URL": (lambda: Playback("https://stream.mux.com/x.m3u8").hls_url(), "is it a whole URL"),
    "track": (lambda: PUBLIC.text_track_url(""), "track id ''"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """What would not work is refused, in words that say what would."""
    make, words = REFUSED[name]
    with pytest.raises(InvalidRequestError, match=words) as caught:
        make()

    assert "secret" not in str(caught.value)
    assert TOKEN not in str(caught.value)


RANGES: list[tuple[str, dict[str, Any], str]] = [
    ("hls_url", {"asset_start_time": -1}, "asset_start_time is -1; it must be a number of at least 0 seconds"),
    ("hls_url", {"asset_start_time": True}, "asset_start_time is True"),
    ("hls_url", {"asset_start_time": float("nan")}, "asset_start_time is nan"),
    ("hls_url", {"asset_end_time": float("inf")}, "asset_end_time is inf; it must be a number of at least 0 seconds"),
    ("hls_url", {"asset_start_time": 5, "asset_end_time": 5}, r"asset_end_time \(5\) is not after asset_start_time \(5\)"),
    ("hls_url", {"program_start_time": datetime(2026, 1, 1)}, "without a time zone"),  # noqa: DTZ001
    ("hls_url", {"max_resolution": "720"}, "it looks like '1080p'"),
    ("hls_url", {"min_resolution": "1080p", "max_resolution": "720p"}, "min_resolution .1080p. is above max_resolution"),
    ("hls_url", {"rendition_order": "asc"}, "one of 'desc'"),
    ("hls_url", {"exclude_pdt": "yes"}, "True or False"),
    ("hls_url", {"default_subtitles_lang": "English please"}, "it looks like 'en-US'"),
    ("thumbnail_url", {"width": 0}, "from 1|at least 1"),
    ("thumbnail_url", {"width": 1.5}, "whole number"),
    ("thumbnail_url", {"rotate": 45}, "one of 90, 180, 270"),
    ("thumbnail_url", {"fit_mode": "crop", "width": 5}, "fit_mode 'crop' needs both width and height"),
    ("thumbnail_url", {"fit_mode": "fill"}, "one of 'preserve'"),
    ("thumbnail_url", {"time": 0, "latest": True}, "time and latest select different frames"),
    ("animated_url", {"width": 641}, "from 1 to 640 pixels"),
    ("animated_url", {"fps": 31}, "from 1 to 30 frames per second"),
    ("animated_url", {"end": 10.5}, "10.5 seconds apart"),
    ("animated_url", {"start": 5, "end": 5.2}, "0.2 seconds apart"),
    ("storyboard_url", {"format": "gif"}, "one of 'jpg'"),
]


@pytest.mark.parametrize(("method", "params", "words"), RANGES)
def test_ranges(method: str, params: dict[str, Any], words: str) -> None:
    """A parameter out of its range is refused, in the query and in the token alike."""
    for playback, options in ((PUBLIC, {}), (SIGNED, {"signer": SIGNER})):
        with pytest.raises(InvalidRequestError, match=words):
            getattr(playback, method)(**params, **options)


def test_edges() -> None:
    """The ends of each range belong to it."""
    assert PUBLIC.animated_url(start=1, end=11, width=640, height=640, fps=1).endswith(
        "start=1&end=11&width=640&height=640&fps=1"
    )
    assert PUBLIC.animated_url(start=0, end=0.25).endswith("end=0.25")
    assert "fit_mode=pad" in PUBLIC.thumbnail_url(fit_mode="pad", width=1, height=1)
    assert "latest=false" in PUBLIC.thumbnail_url(latest=False, time=3)
    assert "max_resolution=720p" in PUBLIC.hls_url(min_resolution="720p", max_resolution="720p")


def test_ids_from_elsewhere() -> None:
    """An id without a policy takes a token or none; what Mux answers to a look-up has addresses too."""
    lookup = PlaybackIdLookup.from_wire({"id": ID, "policy": "public", "object": {"id": "a", "type": "asset"}})

    assert Playback(ID).hls_url() == lookup.hls_url() == PUBLIC.hls_url()
    assert claims_of(Playback(ID).hls_url(signer=SIGNER))["sub"] == ID
    assert Playback(ID, "signed").hls_url(signer=SIGNER) == SIGNED.hls_url(signer=SIGNER)


def test_models_stay_models() -> None:
    """What an asset holds has addresses, and is otherwise what it was: frozen, without a dictionary, compared by value."""
    asset = Asset.from_wire({"id": "a", "status": "ready", "playback_ids": [{"id": ID, "policy": "public", "new": 1}]})
    (found,) = asset.playback_ids or []

    assert found.hls_url() == PUBLIC.hls_url()
    assert not hasattr(found, "__dict__")
    assert found.to_wire() == {"id": ID, "policy": "public", "new": 1}
    assert repr(PUBLIC) == f"PlaybackId(id={ID!r}, policy='public')"


def test_hosts() -> None:
    """A custom domain, the emulator, and the client's own idea of where media is."""
    custom = Hosts(stream="https://video.example.com/", image="https://video.example.com")

    assert PUBLIC.hls_url(hosts=custom) == f"https://video.example.com/{ID}.m3u8"
    assert PUBLIC.thumbnail_url(hosts=custom) == f"https://video.example.com/{ID}/thumbnail.jpg"
    assert custom.license == "https://license.mux.com"
    assert Hosts.of("https://api.mux.com") == MUX == Hosts()
    mux = Mux(token_id="a", token_secret="b", base_url="http://127.0.0.1:8787")
    assert mux.hosts == LOCAL
    assert Mux(token_id="a", token_secret="b", base_url="https://api.mux.com").hosts == MUX


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "video.example.com",
        "ftp://x",
        "https://",
        "https://a b",
        "https://u:p@x",
        "https://x?y",
        "https://x#y",
        "https://x:y",
    ],
)
def test_no_hosts(origin: str) -> None:
    """A value that is not an origin is refused when it is given, not when it is used."""
    with pytest.raises(ConfigurationError, match="stream is not an origin; it looks like"):
        Hosts(stream=origin)


@given(
    st.dictionaries(
        st.sampled_from(["time", "width", "height", "rotate", "fit_mode", "flip_h", "latest"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=5),
            st.sampled_from([90, "crop", "pad"]),
            st.binary(max_size=3),
        ),
    )
)
def test_any_parameters(params: dict[str, Any]) -> None:
    """Whatever is passed gives a good address or an `InvalidRequestError`, and the same for public and signed ids."""
    try:
        url = PUBLIC.thumbnail_url(**params)
    except InvalidRequestError:
        with pytest.raises(InvalidRequestError):
            SIGNED.thumbnail_url(**params, signer=SIGNER)
    else:
        assert re.fullmatch(r"https://[\w./-]+(\?[\w.%&=-]+)?", url, re.ASCII)
        claims = claims_of(SIGNED.thumbnail_url(**params, signer=SIGNER))
        assert params.keys() == claims.keys() - {"kid", "sub", "aud", "exp"}
