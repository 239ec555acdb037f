"""Events of live streams as an async iterator, from webhooks where they arrive, and from polling the API where they do not.

::

    async for event in mux.live.watch(stream):
        match event.type:
            case "video.live_stream.active":
                print("on air")
            case "video.live_stream.idle":
                break
"""

from mux_async.live._events import LiveEvent, LiveEventType
from mux_async.live._watch import Live, LiveWatch

__all__ = ["Live", "LiveEvent", "LiveEventType", "LiveWatch"]
