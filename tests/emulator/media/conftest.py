"""What the tests of real media share: inputs that are made once, and an emulator with a media worker, behind a socket."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mux_async.emulator.media import MediaWorker

if TYPE_CHECKING:  # the library may not be there: then every module here is skipped, and says why
    from tests.emulator.media.serving import MediaClient


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of inputs."""
    from tests.emulator.media.inputs import make, turned

    folder = tmp_path_factory.mktemp("inputs")
    film = make(folder / "film.mp4")
    make(folder / "film.webm")
    make(folder / "tone.wav", 2.0, size=None)
    make(folder / "long.mp4", 12.0, size=(64, 36), gop=120)
    make(folder / "narrow.mp4", 1.0, size=(16, 1600), sound=False)
    turned(film, folder / "turned.mp4")
    content = film.read_bytes()
    (folder / "cut.mp4").write_bytes(content[: len(content) // 2])
    (folder / "text.mp4").write_bytes(b"This is no film, however it is called.\n" * 100)
    (folder / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{film}\n#EXT-X-ENDLIST\n")
    (folder / "script.mp4").write_text(f"ffconcat version 1.0\nfile {film}\n")
    return folder


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Generator[MediaWorker, None, None]:
    with MediaWorker(tmp_path_factory.mktemp("media")) as made:
        yield made


@pytest.fixture(scope="session")
def client(worker: MediaWorker) -> Generator[MediaClient, None, None]:
    """An emulator that shows real films, served on a socket."""
    from tests.emulator.media.serving import MediaClient, serving

    with serving(worker) as origin:
        yield MediaClient(origin)
