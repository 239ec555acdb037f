"""The official Python client, ``mux_python``, unchanged: it works with the emulator as with Mux."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from mux_async.emulator import EmulatorSettings
from tests.cli.commands import emulate_here
from tests.emulator import official

FILM = "https://example.com/film.mp4"


class Client:
    """The parts of the client by name, over one connection pool: ``client.AssetsApi.list_assets()``."""

    def __init__(self, origin: str) -> None:
        self.module = official.mux_python()
        configuration = self.module.Configuration(host=origin, username="test-token", password="test-secret")
        self._client = self.module.ApiClient(configuration)
        call = self._client.call_api

        def call_here(*args: Any, _host: object = None, **named: Any) -> Any:
            del _host  # one operation (list_dimension_elements) insists on Mux's own host, whatever the configuration says
            return call(*args, **named)

        self._client.call_api = call_here
        self.origin = origin

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)(self._client)

    def close(self) -> None:
        self._client.close()

    def refused(self, handler: Callable[[], object]) -> int:
        """Return the status that *handler* is refused with."""
        with pytest.raises(self.module.ApiException) as caught:
            handler()
        return int(caught.value.status)


def eventually(look: Callable[[], Any], *, within: float = 20.0) -> Any:
    """Poll until the result is true, because the client has no waits."""
    end = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < end, "nothing to be seen"
        time.sleep(0.02)
    return found


def put(url: str, body: bytes, **headers: str) -> int:
    with build_opener(ProxyHandler({})).open(Request(url, body, headers, method="PUT"), timeout=10) as response:
        return int(response.status)


def control(client: Client, path: str, body: object = None) -> None:
    request = Request(f"{client.origin}/_emulator/{path}", json.dumps(body or {}).encode(), method="POST")
    with build_opener(ProxyHandler({})).open(request, timeout=10):
        pass


@pytest.fixture(scope="module")
def client() -> Generator[Client, None, None]:
    official.mux_python()
    with emulate_here(EmulatorSettings(limits=None, instant=True)) as emulator:
        found = Client(emulator.origin)
        yield found
        found.close()


def test_assets(client: Client) -> None:
    """The life cycle of an asset: created, ready, changed, with tracks, renditions and a master, played, deleted."""
    api, of = client.AssetsApi, client.module
    settings = of.InputSettings(url=FILM)
    request = of.CreateAssetRequest(inputs=[settings], playback_policies=[of.PlaybackPolicy.PUBLIC], mp4_support="none")
    asset_id = api.create_asset(request).data.id
    asset = eventually(lambda: (found := api.get_asset(asset_id).data).status == "ready" and found)
    assert asset.playback_ids[0].policy == "public"
    assert asset.duration > 0
    assert {track.type for track in asset.tracks} == {"video", "audio"}
    assert api.get_asset_input_info(asset_id).data[0].settings.url == FILM
    assert api.update_asset(asset_id, of.UpdateAssetRequest(passthrough="mine")).data.passthrough == "mine"
    assert api.list_assets(limit=10).data[0].id == asset_id

    playback = api.create_asset_playback_id(asset_id, of.CreatePlaybackIDRequest(policy="signed")).data
    assert api.get_asset_playback_id(asset_id, playback.id).data.policy == "signed"
    assert client.PlaybackIDApi.get_asset_or_livestream_id(playback.id).data.object.id == asset_id
    api.delete_asset_playback_id(asset_id, playback.id)

    text = of.CreateTrackRequest(url="https://example.com/a.vtt", type="text", text_type="subtitles", language_code="en")
    track = api.create_asset_track(asset_id, text).data
    audio = next(track.id for track in asset.tracks if track.type == "audio")
    wanted = [of.AssetGeneratedSubtitleSettings(language_code="en", name="made")]
    api.generate_asset_track_subtitles(asset_id, audio, of.GenerateTrackSubtitlesRequest(generated_subtitles=wanted))
    api.delete_asset_track(asset_id, track.id)

    rendition = api.create_asset_static_rendition(asset_id, of.CreateStaticRenditionRequest(resolution="highest")).data
    files = eventually(
        lambda: [file for file in api.get_asset(asset_id).data.static_renditions.files if file.status == "ready"]
    )
    assert files[0].name == "highest.mp4"
    api.delete_asset_static_rendition(asset_id, rendition.id)
    api.update_asset_master_access(asset_id, of.UpdateAssetMasterAccessRequest(master_access="temporary"))
    assert eventually(lambda: api.get_asset(asset_id).data.master.url)

    with build_opener(ProxyHandler({})).open(f"{client.origin}/{asset.playback_ids[0].id}.m3u8", timeout=10) as response:
        assert response.read().startswith(b"#EXTM3U")
    api.delete_asset(asset_id)
    assert client.refused(lambda: api.get_asset(asset_id)) == 404
    assert client.refused(lambda: api.get_asset("nonsense")) == 400


def test_uploads(client: Client, tmp_path: Path) -> None:
    """A file is PUT to the URL of a direct upload and becomes an asset; another upload is cancelled."""
    api, of = client.DirectUploadsApi, client.module
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(700_000))
    asset = of.CreateAssetRequest(inputs=[], playback_policies=["public"])
    upload = api.create_direct_upload(of.CreateUploadRequest(new_asset_settings=asset, cors_origin="*")).data
    assert put(upload.url, film.read_bytes()) == 200
    done = eventually(lambda: (found := api.get_direct_upload(upload.id).data).status == "asset_created" and found)
    assert eventually(lambda: client.AssetsApi.get_asset(done.asset_id).data.status == "ready")
    other = api.create_direct_upload(of.CreateUploadRequest(cors_origin="*")).data
    assert api.cancel_direct_upload(other.id).data.status == "cancelled"
    assert [entry.id for entry in api.list_direct_uploads(limit=2).data] == [other.id, upload.id]


def test_live_streams(client: Client) -> None:
    """A live stream from creation to its recording, and all its changes."""
    api, of = client.LiveStreamsApi, client.module
    request = of.CreateLiveStreamRequest(
        playback_policies=["public"], new_asset_settings=of.CreateAssetRequest(inputs=[], playback_policies=["public"])
    )
    stream = api.create_live_stream(request).data
    target = of.CreateSimulcastTargetRequest(url="rtmp://example.com/app", stream_key="key")
    target_id = api.create_live_stream_simulcast_target(stream.id, target).data.id
    assert api.get_live_stream_simulcast_target(stream.id, target_id).data.status == "idle"
    embedded = [of.LiveStreamEmbeddedSubtitleSettings(language_code="en", language_channel="cc1")]
    api.update_live_stream_embedded_subtitles(
        stream.id, of.UpdateLiveStreamEmbeddedSubtitlesRequest(embedded_subtitles=embedded)
    )
    generated = [of.LiveStreamGeneratedSubtitleSettings(language_code="en", name="English")]
    api.update_live_stream_generated_subtitles(
        stream.id, of.UpdateLiveStreamGeneratedSubtitlesRequest(generated_subtitles=generated)
    )
    playback = api.create_live_stream_playback_id(stream.id, of.CreatePlaybackIDRequest(policy="public")).data
    assert api.get_live_stream_playback_id(stream.id, playback.id).data.id == playback.id
    api.delete_live_stream_playback_id(stream.id, playback.id)

    control(client, f"live-streams/{stream.stream_key}/connect")
    active = eventually(lambda: (found := api.get_live_stream(stream.id).data).status == "active" and found)
    assert client.AssetsApi.get_asset(active.active_asset_id).data.live_stream_id == stream.id
    assert api.signal_live_stream_complete(stream.id).data is not None
    idle = eventually(lambda: (found := api.get_live_stream(stream.id).data).status == "idle" and found)
    assert idle.recent_asset_ids == [active.active_asset_id]
    control(client, f"live-streams/{stream.id}/disconnect")

    api.disable_live_stream(stream.id)
    assert api.get_live_stream(stream.id).data.status == "disabled"
    api.enable_live_stream(stream.id)
    assert api.update_live_stream(stream.id, of.UpdateLiveStreamRequest(passthrough="mine")).data.passthrough == "mine"
    assert api.reset_stream_key(stream.id).data.stream_key != stream.stream_key
    api.delete_live_stream_simulcast_target(stream.id, target_id)
    assert api.list_live_streams(limit=5).data[0].id == stream.id
    api.delete_live_stream(stream.id)


def test_keys(client: Client) -> None:
    """Signing keys, by both of their paths."""
    api = client.SigningKeysApi
    key = api.create_signing_key().data
    assert key.private_key
    assert api.get_signing_key(key.id).data.private_key is None
    assert key.id in [entry.id for entry in client.URLSigningKeysApi.list_url_signing_keys().data]
    api.delete_signing_key(key.id)
    assert client.refused(lambda: api.get_signing_key(key.id)) == 404


def test_around(client: Client) -> None:
    """Restrictions, vocabularies, DRM configurations, delivery usage and web inputs."""
    of = client.module
    api = client.PlaybackRestrictionsApi
    referrer = of.ReferrerDomainRestriction(allowed_domains=["*.example.com"], allow_no_referrer=True)
    agent = of.UserAgentRestrictionRequest(allow_no_user_agent=True, allow_high_risk_user_agent=False)
    made = api.create_playback_restriction(of.CreatePlaybackRestrictionRequest(referrer=referrer, user_agent=agent)).data
    changed = of.UpdateReferrerDomainRestrictionRequest(allowed_domains=["*"], allow_no_referrer=False)
    assert api.update_referrer_domain_restriction(made.id, changed).data.referrer.allowed_domains == ["*"]
    changed = of.UpdateUserAgentRestrictionRequest(allow_no_user_agent=False, allow_high_risk_user_agent=False)
    assert api.update_user_agent_restriction(made.id, changed).data.user_agent.allow_no_user_agent is False
    assert api.get_playback_restriction(made.id).data.id == api.list_playback_restrictions().data[0].id
    api.delete_playback_restriction(made.id)

    words = client.TranscriptionVocabulariesApi
    known = words.create_transcription_vocabulary(of.CreateTranscriptionVocabularyRequest(name="n", phrases=["Mux"])).data
    request = of.UpdateTranscriptionVocabularyRequest(phrases=["Mux", "HLS"])
    assert words.update_transcription_vocabulary(known.id, request).data.phrases == ["Mux", "HLS"]
    assert words.list_transcription_vocabularies().data[0].id == words.get_transcription_vocabulary(known.id).data.id
    words.delete_transcription_vocabulary(known.id)

    configuration = client.DRMConfigurationsApi.list_drm_configurations().data[0]
    assert client.DRMConfigurationsApi.get_drm_configuration(configuration.id).data.id == configuration.id
    assert client.DeliveryUsageApi.list_delivery_usage().limit == 100

    stream = client.LiveStreamsApi.create_live_stream(of.CreateLiveStreamRequest(playback_policies=["public"])).data
    inputs = client.WebInputsApi
    request = of.CreateWebInputRequest(url="https://example.com", live_stream_id=stream.id)
    web = inputs.create_web_input(request).data
    assert inputs.get_web_input(web.id).data.status == "idle"
    assert inputs.list_web_inputs().data[0].id == web.id
    inputs.delete_web_input(web.id)


def test_data(client: Client) -> None:
    """Every endpoint of Mux Data, read with the client's own models, and annotations written."""
    of = client.module
    views = client.VideoViewsApi.list_video_views(limit=5, timeframe=["7:days"])
    assert len(views.data) == 5
    assert client.VideoViewsApi.get_video_view(views.data[0].id).data.events
    metrics = client.MetricsApi
    overall = metrics.get_overall_values("video_startup_time", timeframe=["7:days"], filters=["country:US"])
    assert overall.data.total_views > 0
    assert metrics.list_breakdown_values("views", group_by="country", timeframe=["7:days"]).data
    assert metrics.get_metric_timeseries_data("views", timeframe=["7:days"], group_by="day").data
    assert metrics.list_all_metric_values(dimension="country", value="US").data[0].name == "totals"
    assert metrics.list_insights("viewer_experience_score").data is not None
    dimensions = client.DimensionsApi
    assert "country" in dimensions.list_dimensions().data.basic
    assert dimensions.list_dimension_values("country").data
    assert dimensions.list_dimension_elements("video_cdn_trace").data is not None
    assert client.FiltersApi.list_filters().data.basic
    assert client.FiltersApi.list_filter_values("browser").data
    assert client.ErrorsApi.list_errors(timeframe=["7:days"]).data
    incidents = client.IncidentsApi.list_incidents()
    assert client.IncidentsApi.get_incident(incidents.data[0].id).data.id == incidents.data[0].id
    assert client.IncidentsApi.list_related_incidents(incidents.data[0].id).data is not None
    assert client.ExportsApi.list_exports().data
    assert client.ExportsApi.list_exports_views().data[0].files
    for api, name, histogram in (
        (client.MonitoringApi, "monitoring", "video-startup-time"),
        (client.RealTimeApi, "realtime", "video-startup-time"),
    ):
        metric = "current-concurrent-viewers"
        assert getattr(api, f"list_{name}_dimensions")().data
        assert getattr(api, f"list_{name}_metrics")().data
        assert getattr(api, f"get_{name}_breakdown")(metric, dimension="country").data is not None
        assert getattr(api, f"get_{name}_timeseries")(metric).data
        assert getattr(api, f"get_{name}_histogram_timeseries")(histogram).data
    assert client.MonitoringApi.get_monitoring_breakdown_timeseries("current-concurrent-viewers", dimension="country").data
    annotations = client.AnnotationsApi
    now = int(time.time())
    note = annotations.create_annotation(of.AnnotationInput(date=now - 60, note="a release")).data
    assert annotations.update_annotation(note.id, of.AnnotationInput(date=now - 60, note="two")).data.note == "two"
    assert annotations.get_annotation(note.id).data.id == annotations.list_annotations().data[0].id
    annotations.delete_annotation(note.id)
