"""Real encoders: Debian's ffmpeg pushes to the emulator over RTMP, and what plays is what was pushed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mux_async.emulator.rtmp import chunks
from tests._servers import require

pytest.importorskip("av", reason="real media need mux-async[media]")

from tests.emulator.live_hls import LiveChecker
from tests.emulator.media.encoding import (
    BLUE,
    GREEN,
    H264,
    PATH,
    PATIENCE,
    RED,
    Ingest,
    colour_at,
    decoded_seconds,
    encoder,
    ingesting,
    is_near,
    picture,
    pushing,
)
from tests.emulator.official import missing
from tests.emulator.test_rtmp_machine import command

pytestmark = [pytest.mark.proof, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Generator[Ingest, None, None]:
    require("ffmpeg")
    with ingesting(tmp_path_factory.mktemp("media")) as running:
        yield running


def test_pushed_reconnected_and_played(ingest: Ingest) -> None:
    """What ffmpeg pushes plays while it is pushed and later, over a reconnection, and the recording has its length and its pictures."""
    stream = ingest.create(reconnect_window=60, latency_mode="standard")
    live, before = stream["playback_ids"][0]["id"], len(ingest.events())

    with pushing(ingest, stream, *picture("red", "blue", seconds=5), *H264) as process:
        assert ingest.client.get(f"/{live}.m3u8").status == 412
        ingest.until(lambda: ingest.get(stream)["status"] == "active")
        name = ingest.client.get(f"/{live}.m3u8").body.decode().splitlines()[-1]
        url = f"{ingest.client.origin}/{name}"
        checker = LiveChecker(lambda target: ingest.client.get(target).body, url)
        played = decoded_seconds(url, "-live_start_index", "0", "-t", "6")
        while process.poll() is None:
            checker.poll()
            time.sleep(0.5)
        assert process.returncode == 0, process.stderr and process.stderr.read()
    ingest.until(lambda: "live_stream.disconnected" in ingest.events()[before:])
    assert ingest.get(stream)["status"] == "active"
    with pushing(ingest, stream, *picture("green", seconds=3), *H264) as process:
        assert process.wait(PATIENCE) == 0
    ingest.until(lambda: ingest.events()[before:].count("live_stream.disconnected") == 2)
    checker.poll()
    ingest.client.data("PUT", f"{PATH}/{stream['id']}/complete")
    ingest.until(lambda: "asset.live_stream_completed" in ingest.events()[before:])
    checker.poll()

    happened = [event for event in ingest.events()[before:] if "static_rendition" not in event]
    assert happened == [
        "live_stream.connected",
        "asset.created",
        "live_stream.recording",
        "live_stream.active",
        *(["asset.ready"] if happened.index("asset.ready") == 4 else []),
        "live_stream.disconnected",
        "live_stream.connected",
        "live_stream.recording",
        *(["asset.ready"] if happened.index("asset.ready") > 4 else []),
        "live_stream.disconnected",
        "live_stream.idle",
        "asset.live_stream_completed",
    ]
    assert played == pytest.approx(6.0, abs=0.1)
    assert checker.has_ended
    checker.read_again()
    last = ingest.client.text(f"/{name}").splitlines()
    assert last.count("#EXT-X-DISCONTINUITY") == 1
    assert "#EXT-X-MEDIA-SEQUENCE:0" in last
    target = int(next(line for line in last if "TARGETDURATION" in line).partition(":")[2])
    lengths = [float(line.partition(":")[2].rstrip(",")) for line in last if line.startswith("#EXTINF")]
    assert max(lengths) < target + 0.5
    assert sum(lengths) == pytest.approx(13.0, abs=0.2)

    asset = ingest.client.data("GET", f"/video/v1/assets/{ingest.get(stream)['recent_asset_ids'][-1]}")
    playback_id = asset["playback_ids"][0]["id"]
    assert (asset["status"], asset["aspect_ratio"], asset.get("is_live")) == ("ready", "16:9", None)
    assert asset["duration"] == pytest.approx(13.0, abs=0.2)
    assert [entry["duration"] for entry in asset["recording_times"]] == [pytest.approx(10, abs=0.1), pytest.approx(3, abs=0.1)]
    assert decoded_seconds(f"{ingest.client.origin}/{playback_id}.m3u8") == pytest.approx(13.0, abs=0.1)
    for moment, colour in ((2, RED), (7, BLUE), (12, GREEN)):
        assert is_near(colour_at(ingest, playback_id, f"time={moment}"), colour), moment
    ingest.until(lambda: ingest.client.get(f"/{playback_id}/highest.mp4").status == 200)
    assert decoded_seconds(f"{ingest.client.origin}/{playback_id}/highest.mp4") == pytest.approx(13.0, abs=0.1)


@pytest.mark.parametrize("mode", ["reduced", "low"])
def test_latency_modes(ingest: Ingest, mode: str) -> None:
    """With low and reduced latency segments are short, although the encoder has few key frames, and the latest picture is shown."""
    stream = ingest.create(latency_mode=mode)
    live = stream["playback_ids"][0]["id"]

    with pushing(ingest, stream, *picture("red", "blue", seconds=4), *H264) as process:
        ingest.until(lambda: ingest.get(stream)["status"] == "active")
        assert process.poll() is None
        first = colour_at(ingest, live, "latest=true")
        assert process.wait(PATIENCE) == 0
    ingest.until(lambda: ingest.get(stream)["status"] == "idle")
    asset = ingest.client.data("GET", f"/video/v1/assets/{ingest.get(stream)['recent_asset_ids'][-1]}")
    playlist = ingest.client.get(f"/{asset['playback_ids'][0]['id']}/rendition/180.m3u8").body.decode()
    lengths = [float(line.partition(":")[2].rstrip(",")) for line in playlist.splitlines() if line.startswith("#EXTINF")]

    assert is_near(first, RED) or is_near(first, BLUE)
    assert max(lengths) <= {"reduced": 2.1, "low": 1.1}[mode]
    assert asset["duration"] == pytest.approx(8.0, abs=0.2)


def test_refusals(ingest: Ingest) -> None:
    """A wrong key, a second encoder, a disabled stream and other codecs are refused, with a reason on both sides and no key in the log."""
    stream, other = ingest.create(), ingest.create()
    ingest.client.data("PUT", f"{PATH}/{other['id']}/disable")

    def refused(address: str, *arguments: str) -> str:
        with encoder(address, *(arguments or (*picture("red", seconds=20), *H264))) as process:
            assert process.stderr is not None
            said = process.stderr.read()
            assert process.wait(PATIENCE) != 0
            return said

    wrong = refused(f"{ingest.address}/not-{stream['stream_key']}")
    elsewhere = refused(f"{ingest.address.removesuffix('/app')}/live/{stream['stream_key']}")
    disabled = refused(f"{ingest.address}/{other['stream_key']}")
    mp3 = refused(
        f"{ingest.address}/{stream['stream_key']}", *picture("red", seconds=20), *H264[:-1], "libmp3lame", "-ar", "44100"
    )
    ingest.until(lambda: ingest.get(stream)["status"] == "idle" and "MP3" in ingest.lines[-2] + ingest.lines[-1])
    with pushing(ingest, stream, *picture("red", seconds=30), *H264):
        ingest.until(lambda: ingest.get(stream)["status"] == "active")
        second = refused(f"{ingest.address}/{stream['stream_key']}")
    log = "\n".join(ingest.lines)

    assert "no live stream has this stream key" in wrong
    assert "application is app" in elsewhere
    assert "disabled" in disabled
    assert mp3
    assert "has an encoder already" in second
    for said in (
        "no live stream has this stream key",
        "rtmp://HOST:PORT/app/STREAM_KEY",
        "disabled",
        "MP3",
        "has an encoder already",
    ):
        assert said in log
    assert stream["stream_key"] not in log


def test_disabled_while_pushing(ingest: Ingest) -> None:
    """Disabling a live stream ends the connection of its encoder."""
    stream = ingest.create()
    with pushing(ingest, stream, *picture("red", seconds=60), *H264) as process:
        ingest.until(lambda: ingest.get(stream)["status"] == "active")
        ingest.client.data("PUT", f"{PATH}/{stream['id']}/disable")

        assert process.wait(PATIENCE) != 0
    assert ingest.get(stream)["status"] == "disabled"


def test_simulcast(ingest: Ingest, tmp_path: Path) -> None:
    """A simulcast target on this machine records what is pushed; others get nothing; one that cannot be reached is errored."""
    with ingesting(tmp_path / "media") as target:
        received = target.create()
        targets = [
            {"url": target.address, "stream_key": received["stream_key"]},
            {"url": "rtmp://127.0.0.1:1/app", "stream_key": "none"},
            {"url": "rtmp://rtmp.example.com/app", "stream_key": "none"},
        ]
        stream = ingest.create(simulcast_targets=targets)

        with pushing(ingest, stream, *picture("blue", seconds=60), *H264) as process:
            ingest.until(
                lambda: (
                    [entry["status"] for entry in ingest.get(stream)["simulcast_targets"]]
                    == ["broadcasting", "errored", "broadcasting"]
                )
            )
            ingest.until(lambda: target.get(received)["status"] == "active")
            process.terminate()
            process.wait(PATIENCE)
        ingest.until(lambda: target.get(received)["status"] == "idle")
        asset = target.client.data("GET", f"/video/v1/assets/{target.get(received)['recent_asset_ids'][-1]}")

        assert is_near(colour_at(target, asset["playback_ids"][0]["id"], "time=0.5"), BLUE)
        assert any("not on this machine" in line for line in ingest.lines)
        assert any("Connection refused" in line for line in ingest.lines)
        assert "none" not in " ".join(ingest.lines).split()


def test_the_socket_takes_anything(ingest: Ingest) -> None:
    """Connections that send random bytes, or nothing at all, are ended, and other requests do not wait for them."""
    port, random = int(ingest.address.split(":")[2].split("/")[0]), Random(5)
    slowest = 0.0
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection, suppress(OSError):
            connection.sendall(random.choice([b"", b"\x03", b"\x03" + bytes(3072)]) + random.randbytes(100_000))
        began = time.monotonic()
        assert ingest.client.get("/_emulator/health").status == 200
        slowest = max(slowest, time.monotonic() - began)
    silent = socket.create_connection(("127.0.0.1", port), PATIENCE)
    silent.settimeout(PATIENCE)

    assert slowest < 2.0
    assert silent.recv(1) == b""
    silent.close()


def test_continued_after_a_restart(tmp_path: Path) -> None:
    """What was pushed before the emulator stopped is stored: the recording ends after the restart, and plays."""
    require("ffmpeg")
    state = tmp_path / "mux.state"
    with ingesting(tmp_path / "media", state=state) as first:
        stream = first.create(reconnect_window=0.1, latency_mode="standard")
        with pushing(first, stream, *picture("red", "blue", seconds=30), *H264):
            first.until(lambda: first.get(stream)["status"] == "active")
            playing = first.client.get(f"/{stream['playback_ids'][0]['id']}/rendition/180.m3u8").body.decode()
    with ingesting(tmp_path / "media", state=state) as second:
        second.until(lambda: second.get(stream)["status"] == "idle")
        asset = second.client.data("GET", f"/video/v1/assets/{second.get(stream)['recent_asset_ids'][-1]}")
        second.until(lambda: second.client.get(f"/{asset['playback_ids'][0]['id']}.m3u8").status == 200)

        assert "180-0.m4s" in playing
        assert asset["duration"] >= 4.0
        assert decoded_seconds(f"{second.client.origin}/{asset['playback_ids'][0]['id']}.m3u8") == pytest.approx(
            asset["duration"], abs=0.1
        )


def test_silent_encoder(tmp_path: Path) -> None:
    """An encoder that connects and sends nothing is disconnected after five minutes, here on a faster clock."""
    hello = b"\x03" + bytes(2 * 1536)
    messages = [
        command("connect", 1.0, {"app": "app"}),
        command("createStream", 2.0, None),
    ]
    with ingesting(tmp_path / "media", time_scale=300.0) as ingest:
        stream = ingest.create()
        messages.append(command("publish", 3.0, None, stream["stream_key"], "live"))
        with socket.create_connection(("127.0.0.1", int(ingest.address.split(":")[2].split("/")[0])), PATIENCE) as connection:
            connection.sendall(hello + b"".join(chunks(message, 3, 128) for message in messages))
            ingest.until(lambda: "live_stream.connected" in ingest.events())
            ingest.until(lambda: "live_stream.idle" in ingest.events())

        assert ingest.events()[-3:] == ["live_stream.disconnected", "live_stream.idle", "asset.errored"]
        assert any("sent nothing" in line for line in ingest.lines)


def test_srt(tmp_path: Path) -> None:
    """Encoders push over SRT, one after the other, with the passphrase of the newest live stream; none goes on after the emulator."""
    protocols = subprocess.run([require("ffmpeg"), "-v", "error", "-protocols"], capture_output=True, text=True, check=True)
    if "srt" not in protocols.stdout.split():
        missing("this ffmpeg has no SRT")

    def sending(address: str, stream: dict[str, Any], passphrase: str, seconds: int) -> subprocess.Popen[bytes]:
        source = ["ffmpeg", "-nostdin", "-v", "error", *picture("red", seconds=seconds), *H264, "-g", "25", "-f", "mpegts"]
        query = f"streamid={stream['stream_key']}&passphrase={passphrase}&connect_timeout=30000"
        return subprocess.Popen([*source, f"{address}?{query}"], stderr=subprocess.DEVNULL)

    with ingesting(tmp_path / "media", with_srt=True) as ingest:
        before, stream = ingest.create(), ingest.create(reconnect_window=60)
        # A listener with the passphrase of a stream that was the newest one a moment ago would refuse the next encoder.
        ingest.until(lambda: srt_listeners(stream["srt_passphrase"]))
        with sending(ingest.srt, stream, before["srt_passphrase"], 2) as wrong:
            assert wrong.wait(PATIENCE) != 0
        for count in (1, 2):
            with sending(ingest.srt, stream, stream["srt_passphrase"], 4) as sender:
                ingest.until(lambda: ingest.get(stream).get("active_ingest_protocol") == "srt")
                assert sender.wait(PATIENCE) == 0
            ingest.until(partial(has_disconnected, ingest, count))
        ingest.client.data("PUT", f"{PATH}/{stream['id']}/complete")
        asset = ingest.client.data("GET", f"/video/v1/assets/{ingest.get(stream)['recent_asset_ids'][-1]}")
        assert is_near(colour_at(ingest, asset["playback_ids"][0]["id"], "time=1"), RED)
        ingest.until(lambda: srt_listeners(stream["srt_passphrase"]))

    log = "\n".join(ingest.lines)
    assert asset["ingest_type"] == "live_srt"
    assert asset["duration"] == pytest.approx(8.0, abs=1.0)
    assert "srt an encoder was refused: Incorrect passphrase" in log
    assert "srt the encoder of live stream" in log
    assert not any(secret in log for secret in (stream["stream_key"], stream["srt_passphrase"]))
    assert not srt_listeners(stream["srt_passphrase"])


def has_disconnected(ingest: Ingest, count: int) -> bool:
    return ingest.events().count("live_stream.disconnected") == count


def srt_listeners(passphrase: str) -> list[str]:
    """Return the processes of ffmpeg that listen with this passphrase."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if f"passphrase={passphrase}" in line and "mode=listener" in line]


def test_reconnected_with_other_sizes(ingest: Ingest) -> None:
    """An encoder that comes back twice, with other sizes and rates, continues one recording; its download is as long, in the first size."""
    stream = ingest.create(reconnect_window=60)
    sizes = ("320x180", "180x320", "640x360")
    for number, size in enumerate(sizes):
        source = ["-f", "lavfi", "-i", f"color=red:s={size}:r={25 + number}:d=4", "-f", "lavfi", "-i", "sine=d=4", "-g", "25"]
        with pushing(ingest, stream, *source, *H264) as process:
            assert process.wait(PATIENCE) == 0
        ingest.until(lambda: ingest.lines[-1].endswith(f"{stream['id']} disconnected"))
    ingest.client.data("PUT", f"{PATH}/{stream['id']}/complete")
    asset = ingest.client.data("GET", f"/video/v1/assets/{ingest.get(stream)['recent_asset_ids'][-1]}")
    playback_id = asset["playback_ids"][0]["id"]
    ingest.until(lambda: ingest.client.get(f"/{playback_id}/highest.mp4").status == 200)
    entries = "stream=width,height:format=duration"
    command_line = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", entries, "-of", "json"]
    url = f"{ingest.client.origin}/{playback_id}/highest.mp4"
    download = json.loads(subprocess.run([*command_line, url], capture_output=True, check=True, timeout=PATIENCE).stdout)
    image = ingest.client.get(f"/{playback_id}/thumbnail.png?time=1").image()

    assert asset["duration"] == pytest.approx(12.0, abs=0.2)
    assert float(download["format"]["duration"]) == pytest.approx(12.0, abs=0.2)
    assert download["streams"] == [{"width": 320, "height": 180}]
    assert (image.width, image.height) == (320, 180)
    assert [track.get("max_width") for track in asset["tracks"]] == [320, None]


def test_command(tmp_path: Path) -> None:
    """`mux-async emulate --rtmp` without a number takes encoders at Mux's port, prints the address, and logs who was refused, and why."""
    require("ffmpeg")
    command_line = [sys.executable, "-m", "mux_async.cli", "emulate", "--rtmp", "--port", "0", "--store", str(tmp_path)]
    with socket.socket() as probe:
        is_free = probe.connect_ex(("127.0.0.1", 5222)) != 0
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            if not is_free:
                assert "choose another with --rtmp" in process.stderr.read()
                return
            lines = list(iter(process.stdout.readline, "  rate limits on (token-bucket, burst x5, per account)\n"))
            with encoder("rtmp://127.0.0.1:5222/app/hush", *picture("red", seconds=5), *H264) as refused:
                assert refused.wait(PATIENCE) != 0
            logged = process.stdout.readline()
        finally:
            process.kill()

    assert "  encoders push to rtmp://127.0.0.1:5222/app/STREAM_KEY\n" in lines
    assert "rtmp an encoder was refused: no live stream has this stream key" in logged
