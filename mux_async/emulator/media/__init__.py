"""Real media for the emulator: what is uploaded or fetched is examined, made playable, and looked into for pictures.

Needs PyAV, which brings FFmpeg along: ``pip install 'mux-async[media]'``. All of FFmpeg's work happens in processes of its own, so that
a film that takes long, or a file that is broken on purpose, leaves the emulator alone::

    with MediaWorker() as media:
        emulator = Emulator(EmulatorSettings(media=media))
"""

from mux_async.emulator.media._worker import FetchRule, MediaWorker, has_media

__all__ = ["FetchRule", "MediaWorker", "has_media"]
