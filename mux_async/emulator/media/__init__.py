"""Real media for the emulator: uploaded and fetched files are inspected and converted, and images are made of them.

Needs PyAV, which contains FFmpeg: ``pip install 'mux-async[media]'``. FFmpeg runs in worker processes, so that neither a long
conversion nor a malformed file disturbs the emulator::

    with MediaWorker() as media:
        emulator = Emulator(EmulatorSettings(media=media))

May import ``http``.
"""

from mux_async.emulator.media._worker import FetchRule, MediaWorker, has_media

__all__ = ["FetchRule", "MediaWorker", "has_media"]
