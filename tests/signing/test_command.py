"""``mux-async sign``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mux_async.cli import main
from mux_async.signing import verify
from tests.signing import keys

ID = keys.PLAYBACK_ID


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUX_SIGNING_KEY", keys.KEY_ID)
    monkeypatch.setenv("MUX_PRIVATE_KEY", keys.as_mux_shows_it())
    monkeypatch.delenv("MUX_BASE_URL", raising=False)


def invoke(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["sign", *arguments])
    said = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, said.out, said.err


def claims(token: str, audience: str) -> dict[str, Any]:
    return dict(verify(token, {keys.KEY_ID: keys.public_pem()}, audience=audience).claims)


@pytest.mark.parametrize(
    ("arguments", "audience", "expected"),
    [
        ([], "v", {}),
        (["-k", "thumbnail", "-p", "time=2.5", "-p", "flip_h=true"], "t", {"time": 2.5, "flip_h": True}),
        (["-k", "drm_license", "--restriction", "r1"], "d", {"playback_restriction_id": "r1"}),
        (["-k", "counts-live-stream"], "live_stream_id", {}),
        (
            ["-k", "space", "-p", "role=subscriber", "-p", "participant_id=5"],
            "rt",
            {"role": "subscriber", "participant_id": "5"},
        ),
    ],
)
def test_token(capsys: pytest.CaptureFixture[str], arguments: list[str], audience: str, expected: dict[str, Any]) -> None:
    """One kind prints one token on one line, with its parameters in it."""
    code, out, err = invoke(capsys, ID, "--expires", "2h30m", *arguments)

    assert (code, err, out.count("\n")) == (0, "", 1)
    found = claims(out.strip(), audience)
    assert {name: found[name] for name in found.keys() - {"kid", "sub", "aud", "exp"}} == expected
    assert found["sub"] == ID


def test_several(capsys: pytest.CaptureFixture[str]) -> None:
    """Several kinds print what Mux Player takes; a parameter goes to each that has it."""
    kinds = ["-k", "video", "-k", "storyboard", "-k", "thumbnail"]
    code, out, _ = invoke(capsys, ID, *kinds, "-p", "asset_start_time=3")

    tokens = json.loads(out)
    assert (code, list(tokens)) == (0, ["playback-token", "storyboard-token", "thumbnail-token"])
    assert claims(tokens["playback-token"], "v")["asset_start_time"] == 3
    assert claims(tokens["storyboard-token"], "s")["asset_start_time"] == 3
    assert "asset_start_time" not in claims(tokens["thumbnail-token"], "t")


def test_url(capsys: pytest.CaptureFixture[str]) -> None:
    """Addresses are printed one to a line, at Mux or where the base URL says."""
    code, out, _ = invoke(
        capsys, ID, "-k", "video", "-k", "gif", "-k", "counts-asset", "--url", "--base-url", "http://localhost:8787"
    )

    lines = out.splitlines()
    assert code == 0
    assert [line.partition("?")[0] for line in lines] == [
        f"http://localhost:8787/{ID}.m3u8",
        f"http://localhost:8787/{ID}/animated.gif",
        "http://localhost:8787/counts",
    ]
    assert claims(parse_qs(urlsplit(lines[1]).query)["token"][0], "g")["sub"] == ID
    assert invoke(capsys, ID, "--url")[1].startswith(f"https://stream.mux.com/{ID}.m3u8?token=")


def test_key_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key may come from a file, under an id of its own."""
    monkeypatch.delenv("MUX_PRIVATE_KEY")
    path = tmp_path / "key.pem"
    path.write_bytes(keys.pem())

    code, out, _ = invoke(capsys, ID, "--key-file", str(path), "--key-id", "other")
    assert code == 0
    assert verify(out.strip(), {"other": keys.public_pem()}, audience="v").key_id == "other"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-k", "videos"], "'videos' is not one of video, thumbnail"),
        (["-p", "time=2"], "'time' is not a parameter of video"),
        (["-p", "time"], "--param takes NAME=VALUE"),
        (["-p", "max_resolution=huge"], "max_resolution is 'huge'"),
        (["--expires", "soon"], "expires_in is 'soon'"),
        (["-k", "drm_license", "--url"], "no single address"),
        (["--key-file", "/nothing/here"], "cannot be read"),
    ],
)
def test_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """What cannot be signed is said in a sentence, with the exit code of a wrong call."""
    code, out, err = invoke(capsys, ID, *arguments)

    assert (code, out) == (2, "")
    assert words in re.sub(r"[\s│]+", " ", err)


def test_no_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, the message names what to set."""
    monkeypatch.delenv("MUX_SIGNING_KEY")

    code, _, err = invoke(capsys, ID)
    assert code == 2
    assert "set MUX_SIGNING_KEY" in err
