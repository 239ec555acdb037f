"""What Robots jobs change in assets: tracks that they add or delete, and members that they set."""

from __future__ import annotations

import io
import wave
from typing import Any

import attrs
import orjson

from mux_async.emulator.http._messages import Response, not_found, text
from mux_async.emulator.media._probe import MediaInfo
from mux_async.emulator.resources._asset_lifecycle import add_ready_track, add_track, remove_playback_ids
from mux_async.emulator.robots._outputs import ANSWERS, Material, cues, edited, in_seconds
from mux_async.emulator.state._records import Job, Json
from mux_async.emulator.state._state import Asset, Environment, State, Track
from mux_async.emulator.webhooks._events import asset_event, track_event

WORKFLOWS = (
    "summarize",
    "moderate",
    "generate-chapters",
    "find-scenes",
    "edit-captions",
    "translate-captions",
    "translate-audio",
    "ask-questions",
    "find-key-moments",
    "generate-engagement-insights",
    "generate-premium-captions",
    "find-best-thumbnails",
    "analyze-structure",
    "generate-contextual-text",
)
NEW_WORKFLOWS = frozenset({"analyze-structure", "generate-contextual-text"})
"""Version 0 got these when version 1 came."""
NEEDS = {
    "ask-questions": ("questions",),
    "edit-captions": ("track_id",),
    "translate-audio": ("to_language_code",),
    "translate-captions": ("track_id", "to_language_code"),
}
"""Parameters that a workflow cannot do without, besides the asset."""
NEEDS_SOUND = frozenset({"generate-premium-captions", "translate-audio"})
NEEDS_VIDEO = frozenset({"find-best-thumbnails", "find-scenes", "moderate"})


class JobFailedError(Exception):
    """A job cannot be done."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type
        self.message = message


def perform(state: State, environment: Environment, job: Job) -> Json:
    """Do the job, and return its outputs. Raises `JobFailedError`: it cannot be done."""
    asset = environment.assets.get(job.asset_id)
    if asset is None or asset.media is None:
        raise JobFailedError("asset_not_found", "The asset was deleted before the job was done")
    if job.workflow in NEEDS_SOUND and not asset.media.channels:
        raise JobFailedError("no_audio", "The asset has no audio to work on")
    if job.workflow in NEEDS_VIDEO and not asset.media.has_video:
        raise JobFailedError("no_video", "The asset has no video to work on")
    work = _Work(state, environment, job, asset, asset.media)
    if job.workflow not in ANSWERS:
        return work.tracks()
    outputs = ANSWERS[job.workflow](Material.of(job, asset, asset.media))
    work.act_on(outputs)
    return in_seconds(outputs) if job.version else outputs


@attrs.frozen
class _Work:
    _state: State
    _environment: Environment
    _job: Job
    _asset: Asset
    _media: MediaInfo

    # ---- workflows that analyse

    def act_on(self, outputs: Json) -> None:
        parameters = self._job.parameters
        if parameters.get("update_asset_meta"):
            self._asset.meta = {**(self._asset.meta or {}), "title": outputs["title"][:512]}
            asset_event(self._state, self._environment, "updated", self._asset)
        if parameters.get("update_asset_thumbnail"):
            self._asset.thumbnail_time = outputs["best_thumbnails"][0]["timestamp_ms"] / 1000
            asset_event(self._state, self._environment, "updated", self._asset)
        if parameters.get("update_asset_chapters"):
            track = self._add_text("chapters", parameters.get("output_language_code") or "en", "chapters")
            update = {"status": "created", "track_id": track.id}
            outputs |= {"asset_updates": {"chapters": update}} if self._job.version else {"asset_update": update}
        if outputs.get("exceeds_threshold") and parameters.get("on_flagged"):
            deleted = [entry.id for entry in self._asset.playback_ids]
            remove_playback_ids(self._environment, self._asset)
            self._asset.playback_ids.clear()
            outputs["flagged_action"] = {"action": "delete_playback_ids", "deleted_playback_ids": deleted}

    # ---- workflows about tracks

    def tracks(self) -> Json:
        works = {
            "edit-captions": self._edit,
            "translate-captions": self._translate_captions,
            "translate-audio": self._translate_audio,
            "generate-premium-captions": self._premium_captions,
        }
        return works[self._job.workflow]()

    @property
    def _uploads(self) -> bool:
        return self._job.parameters.get("upload_to_mux") is not False

    def _url(self, name: str) -> str:
        return f"{self._state.origin}/_emulator/robots/{self._job.id}/{name}"

    def _track_name(self, default: str) -> str:
        return str(self._job.parameters.get("track_name") or default)

    def _source(self) -> Track:
        wanted = self._job.parameters["track_id"]
        found = next((track for track in self._asset.tracks if track.id == wanted), None)
        if found is None:
            raise JobFailedError("track_not_found", "The track was deleted before the job was done")
        return found

    def _add_text(self, name: str, language: str, kind: str = "subtitles") -> Track:
        entry = {"language_code": language, "name": name, "text_type": kind}
        track = add_track(self._state, self._asset, entry, source="uploaded")
        add_ready_track(self._state, self._environment, self._asset, track)
        return track

    def _remove(self, track: Track) -> None:
        self._asset.tracks.remove(track)
        track.status = "deleted"
        track_event(self._state, self._environment, "deleted", self._asset, track)

    def _edit(self) -> Json:
        source, parameters = self._source(), self._job.parameters
        count = sum(edited(cue["text"], parameters)[1] for cue in cues(self._media))
        outputs: Json = {"total_replacement_count": count}
        if not self._uploads:
            return {**outputs, "temporary_vtt_url": self._url("captions.vtt")}
        name = f"{source.name} ({parameters.get('track_name_suffix') or 'edited'})"
        if self._job.version:  # the edited track takes the place and the name of the original
            name = parameters.get("track_name") or source.name or "captions"
        outputs["uploaded_track_id"] = self._add_text(name, source.language_code or "en").id
        if parameters.get("delete_original_track") is not False:
            self._remove(source)
        return outputs

    def _translate_captions(self) -> Json:
        parameters = self._job.parameters
        self._source()
        outputs: Json = {"never_translate_terms_preserved": True} if parameters.get("never_translate") else {}
        if not self._uploads:
            return {**outputs, "temporary_vtt_url": self._url("captions.vtt")}
        language: str = parameters["to_language_code"]
        return {**outputs, "uploaded_track_id": self._add_text(self._track_name(f"{language} (translated)"), language).id}

    def _translate_audio(self) -> Json:
        if not self._uploads:
            return {"temporary_audio_url": self._url("audio.wav")}
        language: str = self._job.parameters["to_language_code"]
        entry = {"type": "audio", "language_code": language, "name": self._track_name(f"{language} (dubbed)")}
        track = add_track(self._state, self._asset, entry, source="uploaded")
        add_ready_track(self._state, self._environment, self._asset, track)
        return {"uploaded_track_id": track.id}

    def _premium_captions(self) -> Json:
        parameters = self._job.parameters
        language: str = parameters.get("language_code") or "en"
        outputs: Json = {"language_code": language}
        if not parameters.get("language_code"):
            outputs |= {"detected_language": language, "auto_language_confidence": 0.98}
        outputs["temporary_srt_url"] = self._url("captions.srt")
        if parameters.get("include_words"):
            outputs["temporary_words_url"] = self._url("words.json")
        if self._uploads:
            if parameters.get("replace_existing"):
                same = [track for track in self._asset.tracks if track.type == "text" and track.language_code == language]
                for track in same:
                    self._remove(track)
                    outputs["replaced_track_id"] = track.id
            outputs["track_id"] = self._add_text(parameters.get("track_name") or f"{language} (premium)", language).id
        return outputs


def download(state: State, job_id: str, name: str) -> Response:
    """Answer at a temporary URL of a job. Raises `ApiError` (404): there is no such file."""
    environment, job = state.find(lambda environment: environment.jobs, job_id) or (None, None)
    asset = None if environment is None or job is None else environment.assets.get(job.asset_id)
    if job is None or asset is None or asset.media is None or job.status != "completed":
        raise not_found()
    captions = [{**cue, "text": edited(cue["text"], job.parameters)[0]} for cue in cues(asset.media)]
    match name:
        case "captions.vtt":
            return text(200, vtt(captions), "text/vtt; charset=utf-8")
        case "captions.srt":
            return text(200, _srt(captions), "application/x-subrip; charset=utf-8")
        case "words.json":
            return text(200, orjson.dumps({"words": _words(captions)}), "application/json; charset=utf-8")
        case "audio.wav":
            return text(200, _silence(), "audio/wav")
        case _:
            raise not_found()


def _clock(milliseconds: int, comma: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{comma}{rest:03}"


def vtt(captions: list[Json]) -> str:
    """Write cues as WebVTT."""
    blocks = [f"{_clock(cue['start_ms'], '.')} --> {_clock(cue['end_ms'], '.')}\n{cue['text']}\n" for cue in captions]
    return "\n".join(["WEBVTT\n", *blocks])


def _srt(captions: list[Json]) -> str:
    blocks = [
        f"{number}\n{_clock(cue['start_ms'], ',')} --> {_clock(cue['end_ms'], ',')}\n{cue['text']}\n"
        for number, cue in enumerate(captions, 1)
    ]
    return "\n".join(blocks)


def _words(captions: list[Json]) -> list[Json]:
    found: list[Json] = []
    for cue in captions:
        words: list[str] = cue["text"].split()
        step = (cue["end_ms"] - cue["start_ms"]) / max(1, len(words))
        for index, word in enumerate(words):
            start = round(cue["start_ms"] + index * step)
            found.append({"word": word, "start_ms": start, "end_ms": round(start + step)})
    return found


def _silence() -> bytes:
    stream: Any = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000))
    silence: bytes = stream.getvalue()
    return silence
