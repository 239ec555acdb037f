"""A stream that ffmpeg pushes, in a real browser: the emulator's page plays it, live and over a reconnection."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from tests._servers import require
from tests.emulator.browser.browsing import Visit

pytest.importorskip("av", reason="real media need mux-async[media]")

from tests.emulator.media.encoding import H264, Ingest, ingesting, picture, pushing

pytestmark = [pytest.mark.proof, pytest.mark.timeout(240)]

OpenPage = Callable[[str], Visit]
VIDEO = "document.querySelector('#player video')"
COLOUR = """() => {
  const video = document.querySelector('#player video');
  const canvas = new OffscreenCanvas(16, 9).getContext('2d');
  canvas.drawImage(video, 0, 0, 16, 9);
  return [...canvas.getImageData(8, 4, 1, 1).data].slice(0, 3);
}"""


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Generator[Ingest, None, None]:
    require("ffmpeg")
    with ingesting(tmp_path_factory.mktemp("media")) as running:
        yield running


def colour(visit: Visit) -> list[int]:
    found: list[int] = visit.page.evaluate(COLOUR)
    return found


def test_played_on_the_page(ingest: Ingest, open_page: OpenPage) -> None:
    """The page plays what is pushed while it is pushed, goes on when the encoder comes back, and reaches the end."""
    stream = ingest.create(latency_mode="low", reconnect_window=60, meta={"title": "Pushed"})
    visit = open_page(ingest.client.origin)

    with pushing(ingest, stream, *picture("red", seconds=12), "-g", "25", *H264) as process:
        ingest.until(lambda: ingest.get(stream)["status"] == "active")
        visit.page.click(f'article[data-id="{stream["id"]}"] button.frame')
        visit.until(f"{VIDEO}.currentTime > 0.5 && {VIDEO}.videoWidth === 320")
        red = colour(visit)
        process.wait(60)
    ingest.until(lambda: ingest.events()[-1] == "live_stream.disconnected")
    with pushing(ingest, stream, *picture("blue", seconds=8), "-g", "25", *H264) as process:
        process.wait(60)
    ingest.until(lambda: ingest.events()[-1] == "live_stream.disconnected")
    ingest.client.data("PUT", f"/video/v1/live-streams/{stream['id']}/complete")
    visit.until(f"{VIDEO}.ended")
    blue = colour(visit)

    assert red[0] > 200
    assert red[2] < 60
    assert blue[2] > 200
    assert blue[0] < 60
    assert visit.page.evaluate(f"{VIDEO}.error") is None
