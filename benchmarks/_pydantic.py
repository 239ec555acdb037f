"""The asset as a client over pydantic has it: every field optional and typed, unknown ones kept."""

from __future__ import annotations

from typing import Any

import pydantic


def _list_of(model: Any) -> Any:
    return list[model]


def models(base: type[pydantic.BaseModel]) -> tuple[Any, Any]:
    """Return the classes of the answers with one asset and with a page of them, on top of *base*."""
    text, number, flag = (str | None, None), (float | None, None), (bool | None, None)

    def define(called: str, /, **fields: Any) -> Any:
        return pydantic.create_model(called, __base__=base, __module__=__name__, **fields)

    playback: Any = define("PlaybackId", id=(str, ...), policy=text, drm_configuration_id=text)
    track: Any = define(
        "Track",
        id=text, type=text, duration=number, max_width=number, max_height=number, max_frame_rate=number, max_channels=number,
        max_channel_layout=text, text_type=text, text_source=text, language_code=text, name=text, closed_captions=flag,
        passthrough=text, status=text, primary=flag,
    )  # fmt: skip
    rendition: Any = define(
        "Rendition",
        id=text, name=text, ext=text, height=number, width=number, status=text, resolution=text, bitrate=number, filesize=text,
    )  # fmt: skip
    renditions: Any = define("Renditions", status=text, files=(_list_of(rendition) | None, None))
    meta: Any = define("Meta", title=text, creator_id=text, external_id=text)
    progress: Any = define("Progress", state=text, progress=number)
    asset: Any = define(
        "Asset",
        id=(str, ...), created_at=text, status=text, duration=number, max_stored_resolution=text, resolution_tier=text,
        max_resolution_tier=text, encoding_tier=text, video_quality=text, max_stored_frame_rate=number, aspect_ratio=text,
        playback_ids=(_list_of(playback) | None, None), tracks=(_list_of(track) | None, None), errors=(Any, None), upload_id=text,
        is_live=flag, passthrough=text, live_stream_id=text, master=(Any, None), master_access=text, mp4_support=text,
        source_asset_id=text, normalize_audio=flag, static_renditions=(renditions | None, None), recording_times=(Any, None),
        non_standard_input_reasons=(Any, None), test=flag, ingest_type=text, meta=(meta | None, None), progress=(progress | None, None),
    )  # fmt: skip
    return define("OneAsset", data=(asset, ...)), define("Assets", data=(_list_of(asset), ...), next_cursor=text)
