"""A tour of the whole API: every operation is called once, successfully, on objects that the tour created.

It works on any account that can send requests and return the ``data`` of a response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mux_async.emulator import Emulator
from tests.emulator.harness import Json
from tests.generated import spec


class TourAccount(Protocol):
    """An account that the tour can work on."""

    emulator: Emulator

    def pass_time(self, seconds: float) -> None: ...

    def ok(self, method: str, target: str, body: object = None) -> Json: ...

    def data(self, method: str, target: str, body: object = None) -> Any: ...

    def put(self, url: str, body: bytes = b"", content_range: str | None = None, **headers: str) -> Any: ...

    def send(self, method: str, target: str, body: object = None) -> Any: ...


FILM = {"inputs": [{"url": "https://example.com/film.mp4"}], "playback_policies": ["public"]}


def assets(account: TourAccount) -> Json:
    """Assets and their parts. Returns one that is ready and has a playback id."""
    members = {"static_renditions": [{"resolution": "highest"}], "meta": {"title": "A film"}}
    asset = account.data("POST", "/video/v1/assets", {**FILM, **members})
    here = f"/video/v1/assets/{asset['id']}"
    account.pass_time(30)
    account.data("GET", here)
    account.data("GET", "/video/v1/assets?limit=10")
    account.data("GET", f"{here}/input-info")
    account.data("PATCH", here, {"passthrough": "mine", "thumbnail_time": 1.5, "meta": {"title": "Another film"}})
    account.ok("DELETE", f"{here}/thumbnail-time")
    account.data("PUT", f"{here}/master-access", {"master_access": "temporary"})
    playback_id = account.data("POST", f"{here}/playback-ids", {"policy": "public"})["id"]
    account.data("GET", f"{here}/playback-ids/{playback_id}")
    account.data("GET", f"/video/v1/playback-ids/{playback_id}")
    account.ok("DELETE", f"{here}/playback-ids/{playback_id}")
    rendition = account.data("POST", f"{here}/static-renditions", {"resolution": "audio-only"})
    account.ok("DELETE", f"{here}/static-renditions/{rendition['id']}")
    track = {"url": "https://example.com/en.vtt", "type": "text", "text_type": "subtitles", "language_code": "en"}
    uploaded = account.data("POST", f"{here}/tracks", track)["id"]
    account.data("PATCH", f"{here}/tracks/{uploaded}", {"name": "English"})
    audio = next(track["id"] for track in asset_of(account, asset)["tracks"] if track["type"] == "audio")
    account.data(
        "POST", f"{here}/tracks/{audio}/generate-subtitles", {"generated_subtitles": [{"language_code": "en", "name": "made"}]}
    )
    account.pass_time(30)
    playback(account, asset_of(account, asset))
    account.ok("DELETE", f"{here}/tracks/{uploaded}")
    account.data("POST", f"{here}/shots", {})
    account.pass_time(60)
    account.data("GET", f"{here}/shots")
    account.ok("DELETE", f"{here}/shots")
    legacy = account.data("POST", "/video/v1/assets", FILM)["id"]
    account.pass_time(30)
    account.data("PUT", f"/video/v1/assets/{legacy}/mp4-support", {"mp4_support": "capped-1080p"})
    account.ok("DELETE", f"/video/v1/assets/{legacy}")
    return asset_of(account, asset)


def asset_of(account: TourAccount, asset: Json) -> Json:
    found: Json = account.data("GET", f"/video/v1/assets/{asset['id']}")
    return found


def playback(account: TourAccount, asset: Json) -> None:
    """Playback and images of a ready asset."""
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
        assert account.send("GET", here + path).status == 200, path


def uploads(account: TourAccount) -> None:
    """Uploads: one that becomes an asset, one that is cancelled."""
    upload = account.data(
        "POST", "/video/v1/uploads", {"cors_origin": "*", "new_asset_settings": {"playback_policies": ["public"]}}
    )
    assert account.put(upload["url"], b"a film").status == 200
    account.data("GET", f"/video/v1/uploads/{upload['id']}")
    account.data("GET", "/video/v1/uploads")
    other = account.data("POST", "/video/v1/uploads", {"cors_origin": "*"})["id"]
    account.data("PUT", f"/video/v1/uploads/{other}/cancel")


def live_streams(account: TourAccount) -> None:
    """Live streams, from creation to a recording, and all their changes."""
    body = {"playback_policies": ["public"], "new_asset_settings": {"playback_policies": ["public"]}}
    stream = account.data("POST", "/video/v1/live-streams", body)
    here = f"/video/v1/live-streams/{stream['id']}"
    target = account.data("POST", f"{here}/simulcast-targets", {"url": "rtmp://example.com/app", "stream_key": "key"})["id"]
    account.data("GET", f"{here}/simulcast-targets/{target}")
    account.data(
        "PUT", f"{here}/embedded-subtitles", {"embedded_subtitles": [{"language_channel": "cc1", "language_code": "en"}]}
    )
    account.data("PUT", f"{here}/generated-subtitles", {"generated_subtitles": [{"language_code": "en", "name": "English"}]})
    renditions = f"{here}/new-asset-settings/static-renditions"
    account.data("PUT", renditions, {"static_renditions": [{"resolution": "highest"}]})
    account.ok("DELETE", renditions)
    playback_id = account.data("POST", f"{here}/playback-ids", {"policy": "public"})["id"]
    account.data("GET", f"{here}/playback-ids/{playback_id}")
    account.ok("DELETE", f"{here}/playback-ids/{playback_id}")
    account.emulator.live.connect(stream["id"])
    account.pass_time(60)
    account.data("GET", here)
    account.data("PUT", f"{here}/complete")
    account.pass_time(600)
    account.ok("DELETE", f"{here}/simulcast-targets/{target}")
    account.data("PATCH", here, {"passthrough": "mine"})
    account.data("POST", f"{here}/reset-stream-key")
    account.data("PUT", f"{here}/disable")
    account.data("PUT", f"{here}/enable")
    account.data("GET", "/video/v1/live-streams?status=idle")
    account.ok("DELETE", here)


def around_video(account: TourAccount) -> None:
    """Restrictions, vocabularies, DRM configurations, delivery usage."""
    agents = {"allow_no_user_agent": True, "allow_high_risk_user_agent": False}
    body = {"referrer": {"allowed_domains": ["*.example.com"], "allow_no_referrer": True}, "user_agent": agents}
    here = f"/video/v1/playback-restrictions/{account.data('POST', '/video/v1/playback-restrictions', body)['id']}"
    account.data("GET", here)
    account.data("GET", "/video/v1/playback-restrictions")
    account.data("PUT", f"{here}/referrer", {"allowed_domains": ["*"], "allow_no_referrer": False})
    account.data("PUT", f"{here}/user_agent", agents)
    account.ok("DELETE", here)
    words = account.data("POST", "/video/v1/transcription-vocabularies", {"name": "words", "phrases": ["Mux"]})["id"]
    here = f"/video/v1/transcription-vocabularies/{words}"
    account.data("GET", here)
    account.data("GET", "/video/v1/transcription-vocabularies")
    account.data("PUT", here, {"phrases": ["Mux", "anyio"]})
    account.ok("DELETE", here)
    configuration = account.data("GET", "/video/v1/drm-configurations")[0]["id"]
    account.data("GET", f"/video/v1/drm-configurations/{configuration}")
    account.data("GET", "/video/v1/delivery-usage")


def legacy(account: TourAccount) -> None:
    """Resources that Mux has withdrawn: web inputs, spaces and their broadcasts."""
    stream = account.data("POST", "/video/v1/live-streams", {"playback_policies": ["public"]})["id"]
    web = account.data("POST", "/video/v1/web-inputs", {"url": "https://example.com", "live_stream_id": stream})["id"]
    here = f"/video/v1/web-inputs/{web}"
    account.data("GET", here)
    account.data("GET", "/video/v1/web-inputs")
    account.data("PUT", f"{here}/url", {"url": "https://example.com/2"})
    account.data("PUT", f"{here}/launch")
    account.pass_time(60)
    account.data("PUT", f"{here}/reload")
    account.data("PUT", f"{here}/shutdown")
    account.pass_time(600)
    account.ok("DELETE", here)
    space = account.data("POST", "/video/v1/spaces", {})["id"]
    here = f"/video/v1/spaces/{space}"
    account.data("GET", here)
    account.data("GET", "/video/v1/spaces")
    broadcast = account.data("POST", f"{here}/broadcasts", {"live_stream_id": stream})["id"]
    account.data("GET", f"{here}/broadcasts/{broadcast}")
    account.emulator.spaces.join(space, "somebody")
    account.data("POST", f"{here}/broadcasts/{broadcast}/start")
    account.data("POST", f"{here}/broadcasts/{broadcast}/stop")
    account.emulator.spaces.leave(space, "somebody")
    account.pass_time(600)
    account.ok("DELETE", f"{here}/broadcasts/{broadcast}")
    account.ok("DELETE", here)


def system(account: TourAccount) -> None:
    """Signing keys by both paths, webhooks, usage exports, and whoami."""
    for family in ("system", "video"):
        key = account.data("POST", f"/{family}/v1/signing-keys")["id"]
        account.data("GET", f"/{family}/v1/signing-keys/{key}")
        account.data("GET", f"/{family}/v1/signing-keys")
        account.ok("DELETE", f"/{family}/v1/signing-keys/{key}")
    hook = account.data("POST", "/system/v1/webhooks", {"address": "https://example.com/hooks"})["id"]
    account.data("GET", f"/system/v1/webhooks/{hook}")
    account.data("GET", "/system/v1/webhooks")
    account.data("PATCH", f"/system/v1/webhooks/{hook}", {"enabled": False})
    account.ok("DELETE", f"/system/v1/webhooks/{hook}")
    account.ok("GET", "/system/v1/usage/exports")
    account.data("GET", "/system/v1/whoami")


def robots(account: TourAccount, asset: Json) -> None:
    """In both versions, a job of every workflow, one that is cancelled, and a directive that runs. The terms of v1 are accepted."""
    for operation in spec.operations():
        if operation.id.startswith(("robots.jobs.", "robots_v0.jobs.")) and operation.id.endswith(".create"):
            # Editing captions leaves other tracks than it found.
            track = next(track["id"] for track in asset_of(account, asset)["tracks"] if track["type"] == "text")
            known = {"asset_id": asset["id"], "track_id": track, "to_language_code": "de"}
            job = account.data("POST", operation.path, job_body(operation, known))["id"]
            account.pass_time(600)
            account.data("GET", f"{operation.path}/{job}")
    for root in ("/robots/v0", "/robots/v1"):
        account.data("GET", f"{root}/jobs?limit=5")
        job = account.data("POST", f"{root}/jobs/summarize", {"parameters": {"asset_id": asset["id"], "title_length": 5}})["id"]
        account.data("POST", f"{root}/jobs/{job}/cancel")
        body: Json = {
            "name": "all of it",
            "subject": {"type": "video.asset"},
            "workflows": [{"reference_id": "one", "workflow": "moderate", "params": {}}],
        }
        directive = account.data("POST", f"{root}/directives", body)["id"]
        here = f"{root}/directives/{directive}"
        account.data("GET", here)
        account.data("GET", f"{root}/directives")
        run = account.data("POST", f"{here}/runs", {"asset_id": asset["id"]})["run_id"]
        account.pass_time(600)
        account.data("GET", f"{here}/runs/{run}")
        account.data("GET", f"{here}/runs")
        account.ok("DELETE", here)


def metrics(account: TourAccount, asset: Json) -> None:
    """Mux Data: annotations, and every GET."""
    note = account.data("POST", "/data/v1/annotations", {"date": int(account.emulator.now) - 60, "note": "a release"})["id"]
    account.data("PATCH", f"/data/v1/annotations/{note}", {"date": int(account.emulator.now) - 30, "note": "another release"})
    ids: dict[str, Callable[[], str]] = {
        "ANNOTATION_ID": lambda: note,
        "ASSET_ID": lambda: str(asset["id"]),
        "DIMENSION_ID": lambda: "country",
        "DIMENSION_NAME": lambda: "country",
        "FILTER_ID": lambda: "browser",
        "INCIDENT_ID": lambda: str(account.data("GET", "/data/v1/incidents")[0]["id"]),
        "PLAYBACK_ID": lambda: str(asset["playback_ids"][0]["id"]),
        "VIDEO_ID": lambda: str(account.data("GET", "/data/v1/dimensions/video_id?limit=1")[0]["value"]),
        "VIDEO_VIEW_ID": lambda: str(account.data("GET", "/data/v1/video-views")[0]["id"]),
    }
    for operation in spec.operations():
        if operation.path.startswith("/data/v1/") and operation.verb == "GET":
            account.ok("GET", data_target(operation, ids))
    account.ok("DELETE", f"/data/v1/annotations/{note}")


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


def changes(account: TourAccount) -> Json:
    """Call every operation but those of Mux Data, which only reads what others do. Returns an asset that is left."""
    asset = assets(account)
    uploads(account)
    live_streams(account)
    around_video(account)
    legacy(account)
    system(account)
    robots(account, asset)
    return asset


def everything(account: TourAccount) -> Json:
    """Call every operation. Returns an asset that is left."""
    asset = changes(account)
    metrics(account, asset)
    return asset
