"""A tour of the whole API: every operation is called once with success, on things that the tour made before.

Told in terms of a function that sends a request and returns what is under ``data``, so that any account can be led through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mux_async.emulator import Emulator
from tests.emulator.harness import Json
from tests.generated import spec


class Guest(Protocol):
    """Whoever is led through."""

    emulator: Emulator

    def pass_time(self, seconds: float) -> None: ...

    def ok(self, method: str, target: str, body: object = None) -> Json: ...

    def data(self, method: str, target: str, body: object = None) -> Any: ...

    def put(self, url: str, body: bytes = b"", content_range: str | None = None, **headers: str) -> Any: ...

    def send(self, method: str, target: str, body: object = None) -> Any: ...


FILM = {"inputs": [{"url": "https://example.com/film.mp4"}], "playback_policies": ["public"]}


def assets(guest: Guest) -> Json:
    """Assets and everything that hangs below them. Returns one that stays, ready, with a playback id."""
    members = {"static_renditions": [{"resolution": "highest"}], "meta": {"title": "A film"}}
    asset = guest.data("POST", "/video/v1/assets", {**FILM, **members})
    here = f"/video/v1/assets/{asset['id']}"
    guest.pass_time(30)
    guest.data("GET", here)
    guest.data("GET", "/video/v1/assets?limit=10")
    guest.data("GET", f"{here}/input-info")
    guest.data("PATCH", here, {"passthrough": "mine", "thumbnail_time": 1.5, "meta": {"title": "Another film"}})
    guest.ok("DELETE", f"{here}/thumbnail-time")
    guest.data("PUT", f"{here}/master-access", {"master_access": "temporary"})
    playback_id = guest.data("POST", f"{here}/playback-ids", {"policy": "public"})["id"]
    guest.data("GET", f"{here}/playback-ids/{playback_id}")
    guest.data("GET", f"/video/v1/playback-ids/{playback_id}")
    guest.ok("DELETE", f"{here}/playback-ids/{playback_id}")
    rendition = guest.data("POST", f"{here}/static-renditions", {"resolution": "audio-only"})
    guest.ok("DELETE", f"{here}/static-renditions/{rendition['id']}")
    track = {"url": "https://example.com/en.vtt", "type": "text", "text_type": "subtitles", "language_code": "en"}
    uploaded = guest.data("POST", f"{here}/tracks", track)["id"]
    guest.data("PATCH", f"{here}/tracks/{uploaded}", {"name": "English"})
    audio = next(track["id"] for track in asset_of(guest, asset)["tracks"] if track["type"] == "audio")
    guest.data(
        "POST", f"{here}/tracks/{audio}/generate-subtitles", {"generated_subtitles": [{"language_code": "en", "name": "made"}]}
    )
    guest.pass_time(30)
    playback(guest, asset_of(guest, asset))
    guest.ok("DELETE", f"{here}/tracks/{uploaded}")
    guest.data("POST", f"{here}/shots", {})
    guest.pass_time(60)
    guest.data("GET", f"{here}/shots")
    guest.ok("DELETE", f"{here}/shots")
    legacy = guest.data("POST", "/video/v1/assets", FILM)["id"]
    guest.pass_time(30)
    guest.data("PUT", f"/video/v1/assets/{legacy}/mp4-support", {"mp4_support": "capped-1080p"})
    guest.ok("DELETE", f"/video/v1/assets/{legacy}")
    return asset_of(guest, asset)


def asset_of(guest: Guest, asset: Json) -> Json:
    found: Json = guest.data("GET", f"/video/v1/assets/{asset['id']}")
    return found


def playback(guest: Guest, asset: Json) -> None:
    """What can be played and looked at of a ready asset."""
    here = f"/{asset['playback_ids'][0]['id']}"
    texts = [track["id"] for track in asset["tracks"] if track.get("text_source", "").startswith("generated")]
    for path in (
        ".m3u8",
        "/thumbnail.png?width=320",
        "/animated.gif",
        "/storyboard.json",
        "/storyboard.vtt",
        "/storyboard.webp",
        "/highest.mp4",
        f"/text/{texts[0]}.vtt",
        f"/text/{texts[0]}.txt",
    ):
        assert guest.send("GET", here + path).status == 200, path


def uploads(guest: Guest) -> None:
    """Uploads: one that becomes an asset, one that is cancelled."""
    upload = guest.data(
        "POST", "/video/v1/uploads", {"cors_origin": "*", "new_asset_settings": {"playback_policies": ["public"]}}
    )
    assert guest.put(upload["url"], b"a film").status == 200
    guest.data("GET", f"/video/v1/uploads/{upload['id']}")
    guest.data("GET", "/video/v1/uploads")
    other = guest.data("POST", "/video/v1/uploads", {"cors_origin": "*"})["id"]
    guest.data("PUT", f"/video/v1/uploads/{other}/cancel")


def live_streams(guest: Guest) -> None:
    """Live streams, from their making to a recording, and what can be changed about them."""
    body = {"playback_policies": ["public"], "new_asset_settings": {"playback_policies": ["public"]}}
    stream = guest.data("POST", "/video/v1/live-streams", body)
    here = f"/video/v1/live-streams/{stream['id']}"
    target = guest.data("POST", f"{here}/simulcast-targets", {"url": "rtmp://example.com/app", "stream_key": "key"})["id"]
    guest.data("GET", f"{here}/simulcast-targets/{target}")
    guest.data(
        "PUT", f"{here}/embedded-subtitles", {"embedded_subtitles": [{"language_channel": "cc1", "language_code": "en"}]}
    )
    guest.data("PUT", f"{here}/generated-subtitles", {"generated_subtitles": [{"language_code": "en", "name": "English"}]})
    renditions = f"{here}/new-asset-settings/static-renditions"
    guest.data("PUT", renditions, {"static_renditions": [{"resolution": "highest"}]})
    guest.ok("DELETE", renditions)
    playback_id = guest.data("POST", f"{here}/playback-ids", {"policy": "public"})["id"]
    guest.data("GET", f"{here}/playback-ids/{playback_id}")
    guest.ok("DELETE", f"{here}/playback-ids/{playback_id}")
    guest.emulator.live.connect(stream["id"])
    guest.pass_time(60)
    guest.data("GET", here)
    guest.data("PUT", f"{here}/complete")
    guest.pass_time(600)
    guest.ok("DELETE", f"{here}/simulcast-targets/{target}")
    guest.data("PATCH", here, {"passthrough": "mine"})
    guest.data("POST", f"{here}/reset-stream-key")
    guest.data("PUT", f"{here}/disable")
    guest.data("PUT", f"{here}/enable")
    guest.data("GET", "/video/v1/live-streams?status=idle")
    guest.ok("DELETE", here)


def around_video(guest: Guest) -> None:
    """Restrictions, vocabularies, DRM configurations, delivery usage."""
    agents = {"allow_no_user_agent": True, "allow_high_risk_user_agent": False}
    body = {"referrer": {"allowed_domains": ["*.example.com"], "allow_no_referrer": True}, "user_agent": agents}
    here = f"/video/v1/playback-restrictions/{guest.data('POST', '/video/v1/playback-restrictions', body)['id']}"
    guest.data("GET", here)
    guest.data("GET", "/video/v1/playback-restrictions")
    guest.data("PUT", f"{here}/referrer", {"allowed_domains": ["*"], "allow_no_referrer": False})
    guest.data("PUT", f"{here}/user_agent", agents)
    guest.ok("DELETE", here)
    words = guest.data("POST", "/video/v1/transcription-vocabularies", {"name": "words", "phrases": ["Mux"]})["id"]
    here = f"/video/v1/transcription-vocabularies/{words}"
    guest.data("GET", here)
    guest.data("GET", "/video/v1/transcription-vocabularies")
    guest.data("PUT", here, {"phrases": ["Mux", "anyio"]})
    guest.ok("DELETE", here)
    configuration = guest.data("GET", "/video/v1/drm-configurations")[0]["id"]
    guest.data("GET", f"/video/v1/drm-configurations/{configuration}")
    guest.data("GET", "/video/v1/delivery-usage")


def legacy(guest: Guest) -> None:
    """What Mux has given up: web inputs, spaces and their broadcasts."""
    stream = guest.data("POST", "/video/v1/live-streams", {"playback_policies": ["public"]})["id"]
    web = guest.data("POST", "/video/v1/web-inputs", {"url": "https://example.com", "live_stream_id": stream})["id"]
    here = f"/video/v1/web-inputs/{web}"
    guest.data("GET", here)
    guest.data("GET", "/video/v1/web-inputs")
    guest.data("PUT", f"{here}/url", {"url": "https://example.com/2"})
    guest.data("PUT", f"{here}/launch")
    guest.pass_time(60)
    guest.data("PUT", f"{here}/reload")
    guest.data("PUT", f"{here}/shutdown")
    guest.pass_time(600)
    guest.ok("DELETE", here)
    space = guest.data("POST", "/video/v1/spaces", {})["id"]
    here = f"/video/v1/spaces/{space}"
    guest.data("GET", here)
    guest.data("GET", "/video/v1/spaces")
    broadcast = guest.data("POST", f"{here}/broadcasts", {"live_stream_id": stream})["id"]
    guest.data("GET", f"{here}/broadcasts/{broadcast}")
    guest.emulator.spaces.join(space, "somebody")
    guest.data("POST", f"{here}/broadcasts/{broadcast}/start")
    guest.data("POST", f"{here}/broadcasts/{broadcast}/stop")
    guest.emulator.spaces.leave(space, "somebody")
    guest.pass_time(600)
    guest.ok("DELETE", f"{here}/broadcasts/{broadcast}")
    guest.ok("DELETE", here)


def system(guest: Guest) -> None:
    """Keys of both generations, webhooks, usage exports, who am I."""
    for family in ("system", "video"):
        key = guest.data("POST", f"/{family}/v1/signing-keys")["id"]
        guest.data("GET", f"/{family}/v1/signing-keys/{key}")
        guest.data("GET", f"/{family}/v1/signing-keys")
        guest.ok("DELETE", f"/{family}/v1/signing-keys/{key}")
    hook = guest.data("POST", "/system/v1/webhooks", {"address": "https://example.com/hooks"})["id"]
    guest.data("GET", f"/system/v1/webhooks/{hook}")
    guest.data("GET", "/system/v1/webhooks")
    guest.data("PATCH", f"/system/v1/webhooks/{hook}", {"enabled": False})
    guest.ok("DELETE", f"/system/v1/webhooks/{hook}")
    guest.ok("GET", "/system/v1/usage/exports")
    guest.data("GET", "/system/v1/whoami")


def robots(guest: Guest, asset: Json) -> None:
    """In both versions, a job of every workflow, one that is cancelled, and a directive that runs. The terms of v1 are accepted."""
    for operation in spec.operations():
        if operation.id.startswith(("robots.jobs.", "robots_v0.jobs.")) and operation.id.endswith(".create"):
            # Editing captions leaves other tracks than it found.
            track = next(track["id"] for track in asset_of(guest, asset)["tracks"] if track["type"] == "text")
            known = {"asset_id": asset["id"], "track_id": track, "to_language_code": "de"}
            job = guest.data("POST", operation.path, job_body(operation, known))["id"]
            guest.pass_time(600)
            guest.data("GET", f"{operation.path}/{job}")
    for root in ("/robots/v0", "/robots/v1"):
        guest.data("GET", f"{root}/jobs?limit=5")
        job = guest.data("POST", f"{root}/jobs/summarize", {"parameters": {"asset_id": asset["id"], "title_length": 5}})["id"]
        guest.data("POST", f"{root}/jobs/{job}/cancel")
        body: Json = {
            "name": "all of it",
            "subject": {"type": "video.asset"},
            "workflows": [{"reference_id": "one", "workflow": "moderate", "parameters": {}}],
        }
        directive = guest.data("POST", f"{root}/directives", body)["id"]
        here = f"{root}/directives/{directive}"
        guest.data("GET", here)
        guest.data("GET", f"{root}/directives")
        run = guest.data("POST", f"{here}/runs", {"asset_id": asset["id"]})["run_id"]
        guest.pass_time(600)
        guest.data("GET", f"{here}/runs/{run}")
        guest.data("GET", f"{here}/runs")
        guest.ok("DELETE", here)


def metrics(guest: Guest, asset: Json) -> None:
    """Everything of Mux Data: annotations, and whatever can be read."""
    note = guest.data("POST", "/data/v1/annotations", {"date": int(guest.emulator.now) - 60, "note": "a release"})["id"]
    guest.data("PATCH", f"/data/v1/annotations/{note}", {"date": int(guest.emulator.now) - 30, "note": "another release"})
    ids: dict[str, Callable[[], str]] = {
        "ANNOTATION_ID": lambda: note,
        "ASSET_ID": lambda: str(asset["id"]),
        "DIMENSION_ID": lambda: "country",
        "DIMENSION_NAME": lambda: "country",
        "FILTER_ID": lambda: "browser",
        "INCIDENT_ID": lambda: str(guest.data("GET", "/data/v1/incidents")[0]["id"]),
        "PLAYBACK_ID": lambda: str(asset["playback_ids"][0]["id"]),
        "VIDEO_ID": lambda: str(guest.data("GET", "/data/v1/dimensions/video_id?limit=1")[0]["value"]),
        "VIDEO_VIEW_ID": lambda: str(guest.data("GET", "/data/v1/video-views")[0]["id"]),
    }
    for operation in spec.operations():
        if operation.path.startswith("/data/v1/") and operation.verb == "GET":
            guest.ok("GET", data_target(operation, ids))
    guest.ok("DELETE", f"/data/v1/annotations/{note}")


def data_target(operation: spec.Operation, ids: dict[str, Callable[[], str]]) -> str:
    """Return the path of an operation, filled, with the query parameters that it requires."""
    path = operation.path.replace("{DIMENSION_ID}/elements", "video_cdn_trace/elements")
    for parameter in operation.parameters:
        name = parameter["name"]
        if f"{{{name}}}" in path:
            words = spec.resolve(parameter["schema"]).get("enum")
            path = path.replace(f"{{{name}}}", words[0] if words else ids[name]())
    required = [
        parameter["name"] for parameter in operation.parameters if parameter["in"] == "query" and parameter.get("required")
    ]
    return path + ("?" if required else "") + "&".join(map(_query, required))


def _query(name: str) -> str:
    return {"dimension": "dimension=country", "value": "value=US", "values[]": "values[]=US&values[]=DE"}.get(
        name, f"{name}=country"
    )


def least(schema: Json, known: dict[str, Any], name: str = "") -> Any:
    """Return the smallest value that a schema allows; members that are *known* by name have that value."""
    schema = spec.resolve(schema)
    if name in known:
        return known[name]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {key: least(schema["properties"][key], known, key) for key in schema.get("required", ())}
        case "array":
            return [least(schema["items"], known) for _ in range(schema.get("minItems", 0))]
        case "string":
            return "en" if "language" in name else "words"
        case "boolean":
            return True
        case _:
            return schema.get("minimum", 1)


def job_body(operation: spec.Operation, known: dict[str, Any]) -> Json:
    """Return the smallest request for a job, with the *known* values in the parameters of that name."""
    body: Json = least(operation.body or {}, known)
    parameters = spec.resolve((operation.body or {})["properties"]["parameters"])
    given = {name: value for name, value in known.items() if name in parameters["properties"]}
    return {**body, "parameters": {**given, **least(parameters, known)}}


def changes(guest: Guest) -> Json:
    """Call every operation but those of Mux Data, which only reads what others do. Returns an asset that is left."""
    asset = assets(guest)
    uploads(guest)
    live_streams(guest)
    around_video(guest)
    legacy(guest)
    system(guest)
    robots(guest, asset)
    return asset


def everything(guest: Guest) -> Json:
    """Call every operation. Returns an asset that is left."""
    asset = changes(guest)
    metrics(guest, asset)
    return asset
