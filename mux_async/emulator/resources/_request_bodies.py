"""The request bodies of the operations that the emulator serves.

Each shape follows the schema of the same name in facts/mux-api.json; a test compares values, bounds and required members. Where Mux
takes more than the schema says (a bare string for a list), so does the shape: facts/BEHAVIOUR.md, section 4.1.
"""

from __future__ import annotations

from mux_async.emulator.validation._shapes import Shape, any_of, choice, flag, items, members, number, string

PLAYBACK_POLICIES = ("public", "signed", "drm")
VIDEO_QUALITIES = ("basic", "plus", "premium")
ENCODING_TIERS = ("smart", "baseline", "premium")
RESOLUTION_TIERS = ("1080p", "1440p", "2160p")
MP4_SUPPORTS = ("none", "standard", "capped-1080p", "audio-only", "audio-only,capped-1080p")
RENDITION_RESOLUTIONS = ("highest", "audio-only", "2160p", "1440p", "1080p", "720p", "540p", "480p", "360p", "270p")
LATENCY_MODES = ("low", "reduced", "standard")
LANGUAGE_CHANNELS = ("cc1", "cc2", "cc3", "cc4")
LIVE_LANGUAGES = ("en", "en-US", "es", "fr", "de", "pt", "it")
SUBTITLE_LANGUAGES = (
    *("en", "es", "it", "pt", "de", "fr", "pl", "ru", "nl", "ca", "tr", "sv"),
    *("uk", "no", "fi", "sk", "el", "cs", "hr", "da", "ro", "bg", "auto"),
)

_passthrough = string(255)


def _one_or_more(shape: Shape) -> Shape:
    return any_of(items(shape), shape)


ASSET_METADATA = members(title=string(512), creator_id=string(128), external_id=string(128))
CREATE_PLAYBACK_ID = members(policy=choice(*PLAYBACK_POLICIES), drm_configuration_id=string())
CREATE_STATIC_RENDITION = members(["resolution"], resolution=choice(*RENDITION_RESOLUTIONS), passthrough=_passthrough)
GENERATED_SUBTITLE = members(language_code=choice(*SUBTITLE_LANGUAGES), name=string(), passthrough=_passthrough)
INPUT_SETTINGS = members(
    url=string(),
    type=choice("video", "audio", "text"),
    language_code=string(),
    name=string(),
    text_type=choice("subtitles", "chapters"),
    closed_captions=flag(),
    passthrough=string(),
    start_time=number(),
    end_time=number(),
    overlay_settings=members(
        height=string(),
        horizontal_align=choice("left", "center", "right"),
        horizontal_margin=string(),
        opacity=string(),
        vertical_align=choice("top", "middle", "bottom"),
        vertical_margin=string(),
        width=string(),
    ),
    generated_subtitles=items(GENERATED_SUBTITLE),
)
_inputs = _one_or_more(any_of(INPUT_SETTINGS, string()))
_ASSET_MEMBERS: dict[str, Shape] = {
    "inputs": _inputs,
    "input": _inputs,
    "playback_policies": _one_or_more(choice(*PLAYBACK_POLICIES)),
    "playback_policy": _one_or_more(choice(*PLAYBACK_POLICIES)),
    "advanced_playback_policies": items(CREATE_PLAYBACK_ID),
    "copy_overlays": flag(),
    "directives": items(members(["id"], id=string())),
    "encoding_tier": choice(*ENCODING_TIERS),
    "generate_shots": flag(),
    "master_access": choice("none", "temporary"),
    "max_resolution_tier": choice(*RESOLUTION_TIERS),
    "meta": ASSET_METADATA,
    "mp4_support": choice(*MP4_SUPPORTS),
    "normalize_audio": flag(),
    "passthrough": _passthrough,
    "per_title_encode": flag(),
    "static_renditions": items(CREATE_STATIC_RENDITION),
    "test": flag(),
    "video_quality": choice(*VIDEO_QUALITIES),
}
CREATE_ASSET = members(**_ASSET_MEMBERS)
ASSET_OPTIONS = members(**_ASSET_MEMBERS)
UPDATE_ASSET = members(passthrough=_passthrough, meta=ASSET_METADATA, thumbnail_time=number(0))
UPDATE_MASTER_ACCESS = members(["master_access"], master_access=choice("none", "temporary"))
UPDATE_MP4_SUPPORT = members(["mp4_support"], mp4_support=choice(*MP4_SUPPORTS))
CREATE_TRACK = members(
    ["url", "type", "language_code"],
    url=string(),
    type=choice("text", "audio"),
    language_code=string(),
    text_type=choice("subtitles", "chapters"),
    name=string(),
    closed_captions=flag(),
    passthrough=string(),
)
UPDATE_TRACK = members(language_code=string(), name=string(), closed_captions=flag(), passthrough=string())
GENERATE_SUBTITLES = members(["generated_subtitles"], generated_subtitles=items(GENERATED_SUBTITLE))

CREATE_UPLOAD = members(
    cors_origin=string(),
    timeout=number(60, 604_800, whole=True),
    test=flag(),
    new_asset_settings=ASSET_OPTIONS,
)

EMBEDDED_SUBTITLE = members(
    language_channel=choice(*LANGUAGE_CHANNELS), language_code=string(), name=string(), passthrough=_passthrough
)
LIVE_GENERATED_SUBTITLE = members(
    language_code=choice(*LIVE_LANGUAGES), name=string(), passthrough=_passthrough, transcription_vocabulary_ids=items(string())
)
CREATE_SIMULCAST_TARGET = members(["url"], url=string(), stream_key=string(), passthrough=string())
_live_members: dict[str, Shape] = {
    "latency_mode": choice(*LATENCY_MODES),
    "max_continuous_duration": number(60, 43_200, whole=True),
    "meta": members(title=string(512)),
    "passthrough": _passthrough,
    "reconnect_slate_url": string(),
    "reconnect_window": number(0, 1800),
    "use_slate_for_standard_latency": flag(),
}
CREATE_LIVE_STREAM = members(
    **_live_members,
    advanced_playback_policies=items(CREATE_PLAYBACK_ID),
    audio_only=flag(),
    embedded_subtitles=items(EMBEDDED_SUBTITLE),
    generated_subtitles=items(LIVE_GENERATED_SUBTITLE, maximum=1),
    low_latency=flag(),
    new_asset_settings=ASSET_OPTIONS,
    playback_policies=_one_or_more(choice(*PLAYBACK_POLICIES)),
    playback_policy=_one_or_more(choice(*PLAYBACK_POLICIES)),
    reduced_latency=flag(),
    simulcast_targets=items(CREATE_SIMULCAST_TARGET),
    test=flag(),
)
UPDATE_LIVE_STREAM = members(
    **_live_members,
    new_asset_settings=members(
        mp4_support=choice(*MP4_SUPPORTS),
        master_access=choice("none", "temporary"),
        video_quality=choice("plus", "premium"),
        meta=ASSET_METADATA,
    ),
)
UPDATE_EMBEDDED_SUBTITLES = members(embedded_subtitles=items(EMBEDDED_SUBTITLE))
UPDATE_GENERATED_SUBTITLES = members(generated_subtitles=items(LIVE_GENERATED_SUBTITLE, maximum=1))
UPDATE_NEW_ASSET_STATIC_RENDITIONS = members(["static_renditions"], static_renditions=items(CREATE_STATIC_RENDITION))
