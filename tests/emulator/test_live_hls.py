"""Live playlists of simulated pushes, polled as players do, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.emulator.harness import Account
from tests.emulator.live_hls import LiveChecker, MediaPlaylist, check, check_step, parse

MODES = ("standard", "reduced", "low")


class Broadcast:
    """A live stream of an account with virtual time. *actions* say at which second what the encoder does."""

    def __init__(self, actions: Mapping[float, str], **members: Any) -> None:
        self.account = Account()
        body = {"playback_policies": ["public"], "new_asset_settings": {"playback_policies": ["public"]}, **members}
        self.stream = self.account.data("POST", "/video/v1/live-streams", body)
        self.actions = dict(actions)
        self.checkers: dict[str, LiveChecker] = {}

    def get(self, url: str) -> bytes:
        response = self.account.send("GET", url, authorization="")
        assert response.status == 200, (url, response.status, response.body)
        return response.body

    def run(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass, and poll every rendition at each step from the moment that the stream is active."""
        started = self.account.clock.now
        for count in range(round(seconds / step)):
            for second in [second for second in self.actions if second <= count * step + 1e-9]:
                getattr(self.account.emulator.live, self.actions.pop(second))(self.stream["id"])
            self.poll()
            self.account.clock.now = started + (count + 1) * step

    def poll(self) -> None:
        stream = self.account.data("GET", f"/video/v1/live-streams/{self.stream['id']}")
        if stream["status"] == "active":
            asset = self.account.asset(stream["active_asset_id"])
            self._follow("stream", stream)
            if asset["status"] == "ready":
                self._follow("asset", asset)
        for checker in self.checkers.values():
            checker.poll()

    def _follow(self, name: str, owner: Any) -> None:
        for number in (0, -1) if name == "stream" else (0,):
            if f"{name}{number}" not in self.checkers:
                address = f"/{owner['playback_ids'][0]['id']}.m3u8"
                self.checkers[f"{name}{number}"] = LiveChecker.of_multivariant(self.get, address, number=number)

    @property
    def asset(self) -> Any:
        stream = self.account.data("GET", f"/video/v1/live-streams/{self.stream['id']}")
        return self.account.asset(stream["recent_asset_ids"][-1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("extra", [{}, {"audio_only": True, "use_slate_for_standard_latency": True}])
def test_from_start_to_end(mode: str, extra: dict[str, Any]) -> None:
    """Playlists hold every rule of live HLS, from the moment that the stream is active, over two reconnects, until its end."""
    actions = {0: "connect", 13.4: "disconnect", 20.2: "connect", 21.5: "disconnect", 30: "connect", 37.1: "disconnect"}
    broadcast = Broadcast(actions, latency_mode=mode, reconnect_window=10, **extra)
    broadcast.run(50)

    assert len(broadcast.checkers) == 3
    slates = 2 if mode != "standard" or "use_slate_for_standard_latency" in extra else 0
    for checker in broadcast.checkers.values():
        checker.read_again()
        assert checker.has_ended
        assert checker.discontinuities >= 2 + slates
        assert checker.duration == pytest.approx(broadcast.asset["duration"], abs=0.1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seconds", [1.2, 3.0, 7.0])
def test_short_streams(mode: str, seconds: float) -> None:
    """A stream that sends for a second, or a few, is listed with its true length: nothing that was listed changes at its end."""
    broadcast = Broadcast({0: "connect", 1.0 + seconds: "disconnect"}, latency_mode=mode, reconnect_window=0)
    broadcast.run(11, step=0.1)
    checker = broadcast.checkers["stream0"]

    assert broadcast.asset["duration"] == pytest.approx(seconds, abs=0.1)
    assert checker.has_ended
    assert checker.duration == pytest.approx(seconds, abs=0.1)


def test_at_once() -> None:
    """With instant work a stream plays as soon as an encoder is connected, and ends well if it disconnects at once."""
    broadcast = Broadcast({0: "connect", 0.5: "disconnect"}, reconnect_window=0)
    broadcast.account = Account(instant=True)
    broadcast.stream = broadcast.account.data("POST", "/video/v1/live-streams", {"playback_policies": ["public"]})
    broadcast.account.emulator.live.connect(broadcast.stream["id"])
    stream = broadcast.account.data("GET", f"/video/v1/live-streams/{broadcast.stream['id']}")
    checker = LiveChecker.of_multivariant(broadcast.get, f"/{stream['playback_ids'][0]['id']}.m3u8")
    checker.poll()
    broadcast.account.pass_time(0.5)
    checker.poll()
    broadcast.account.emulator.live.disconnect(stream["id"])
    broadcast.account.pass_time(60.0)
    checker.poll()

    assert checker.has_ended
    assert checker.duration == pytest.approx(broadcast.asset["duration"], abs=0.1)


HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-MEDIA-SEQUENCE:{}\n"
ONE = HEAD.format(0) + "#EXTINF:5,\na\n#EXTINF:5,\nb\n"


def _step(before: str, after: str) -> Callable[[], None]:
    return lambda: check_step(parse(before), parse(after))


def _alone(playlist: str) -> Callable[[], None]:
    return lambda: check(parse(playlist))


@pytest.mark.parametrize(
    "broken",
    [
        _step(ONE, ONE.replace("5,\nb", "4.5,\nb")),
        _step(ONE, ONE.replace("a\n", "c\n")),
        _step(ONE, HEAD.format(0) + "#EXTINF:5,\na\n"),
        _step(HEAD.format(3) + "#EXTINF:5,\na\n", HEAD.format(2) + "#EXTINF:5,\na\n#EXTINF:5,\nb\n"),
        _step(ONE, HEAD.format(1) + "#EXTINF:5,\nb\n"),
        _step(ONE + "#EXT-X-ENDLIST\n", ONE + "#EXTINF:5,\nc\n#EXT-X-ENDLIST\n"),
        _step(ONE, ONE.replace("DURATION:5", "DURATION:6")),
        _step(ONE.replace("#EXTINF:5,\nb", "#EXT-X-DISCONTINUITY\n#EXTINF:5,\nb"), ONE),
        _step(ONE, ONE.replace("#EXT-X-MEDIA", "#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-MEDIA")),
        _alone(ONE.replace("5,\nb", "5.6,\nb")),
        _alone(ONE.replace("b\n", "a\n")),
        _alone(HEAD.format(0)),
        _alone(ONE.replace("#EXTINF:5,\nb", '#EXT-X-PART:URI="p",DURATION=1\n#EXTINF:5,\nb')),
        _alone(ONE + "#EXT-X-ENDLIST\n#EXTINF:5,\nc\n"),
    ],
)
def test_the_checker(broken: Callable[[], None]) -> None:
    """The checker finds each kind of fault."""
    with pytest.raises(AssertionError):
        broken()


def test_the_checker_allows() -> None:
    """The checker has nothing against a window that slides, with a discontinuity that leaves."""
    names = "abcdefg"

    def window(first: int) -> MediaPlaylist:
        lines = [f"#EXT-X-DISCONTINUITY-SEQUENCE:{int(first > 1)}\n"]
        lines += [f"{'#EXT-X-DISCONTINUITY' if name == 'b' else ''}\n#EXTINF:5,\n{name}\n" for name in names[first : first + 4]]
        return parse(HEAD.format(first) + "".join(lines))

    for first in range(3):
        check_step(window(first), window(first + 1))
