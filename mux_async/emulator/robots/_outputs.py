"""Outputs of Robots: generated, always the same for the same asset, and valid by the described schemas.

The media are not analysed. Times lie within the asset (and within the scope that was asked for), numbers of things are those
asked for, and scores come from a hash. What changes an asset is in `mux_async.emulator.robots._effects`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast
from zlib import crc32

import attrs

from mux_async.emulator.media._probe import MediaInfo
from mux_async.emulator.resources._shots import shot_list
from mux_async.emulator.state._records import Job, Json
from mux_async.emulator.state._state import Asset

CUE_SECONDS = 2.5
_WORDS = ("the", "film", "shows", "a", "river", "and", "people", "who", "cross", "it", "by", "boat", "before", "night", "falls")
_TOPICS = ("river", "boats", "people", "evening", "travel", "work", "weather", "music", "food", "sport")
_DEFAULT_THRESHOLD = 0.8


@attrs.frozen
class Material:
    """What a job works on: a ready asset, from *start* to *end* in seconds."""

    job: Job
    asset: Asset
    media: MediaInfo
    start: float
    end: float

    @classmethod
    def of(cls, job: Job, asset: Asset, media: MediaInfo) -> Material:
        """Read the scope from the job's parameters; a scope outside of the asset does not count."""
        steering: Json = job.parameters.get("output_steering") or {}
        scope: Json = steering.get("scope") or {}
        start = min(float(scope.get("start_time") or 0.0), media.duration)
        end = min(float(scope.get("end_time") or media.duration), media.duration)
        if end <= start:
            start, end = 0.0, media.duration
        return cls(job, asset, media, start, end)

    @property
    def parameters(self) -> Json:
        """Of the job."""
        return self.job.parameters

    @property
    def title(self) -> str:
        """Of the asset, or a name for it."""
        return str((self.asset.meta or {}).get("title") or "Untitled film")

    def share(self, *names: object) -> float:
        """A number from 0 to 1 that depends on the asset and *names* alone."""
        return crc32("/".join(map(str, (self.asset.id, *names))).encode()) % 1001 / 1000

    def pieces(self, count: int) -> list[tuple[float, float]]:
        """Cut the scope into *count* stretches of the same length, in seconds."""
        step = (self.end - self.start) / count
        return [(self.start + index * step, self.start + (index + 1) * step) for index in range(count)]


def cues(media: MediaInfo, start: float = 0.0, end: float | None = None) -> list[Json]:
    """Captions between two times: cues with times in milliseconds; empty without audio."""
    if not media.channels:
        return []
    last = media.duration if end is None else end
    found: list[Json] = []
    for index in range(int(start // CUE_SECONDS), int(last // CUE_SECONDS) + 1):
        begin, stop = max(start, index * CUE_SECONDS), min(last, (index + 1) * CUE_SECONDS)
        if stop > begin:
            words = [_WORDS[(index * 4 + offset) % len(_WORDS)] for offset in range(4)]
            found.append({"start_ms": _ms(begin), "end_ms": _ms(stop), "text": " ".join(words)})
    return found


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _concepts(material: Material, key: object) -> list[Json]:
    first = int(material.share(key) * 9)
    return [
        {"concept": topic, "rationale": f"It is shown where the {topic} is mentioned.", "score": material.share(key, topic)}
        for topic in (_TOPICS[first], _TOPICS[(first + 3) % len(_TOPICS)])
    ]


def _summarize(material: Material) -> Json:
    parameters = material.parameters
    title = f"{material.title}, summarized"
    description = f"{material.title}: {round(material.end - material.start)} seconds of video."
    steering: Json = parameters.get("output_steering") or {}
    taxonomy: Json = steering.get("tag_taxonomy") or {}
    labels = [str(value["label"]) for value in taxonomy.get("values", ())] or list(_TOPICS)
    return {
        "title": title[: parameters.get("title_length") or len(title)],
        "description": description[: parameters.get("description_length") or len(description)],
        "tags": labels[: parameters.get("tag_count") or 10],
    }


def _moderate(material: Material) -> Json:
    interval = float(material.parameters.get("sampling_interval") or 5)
    count = max(1, min(int((material.end - material.start) / interval), material.parameters.get("max_samples") or 20))
    samples = [
        {
            "time": round(begin, 3),
            "sexual": material.share("sexual", index) / 5,
            "violence": material.share("violence", index) / 5,
        }
        for index, (begin, _) in enumerate(material.pieces(count))
    ]
    highest = {name: max(sample[name] for sample in samples) for name in ("sexual", "violence")}
    thresholds: Mapping[str, float] = material.parameters.get("thresholds") or {}
    exceeds = any(score > thresholds.get(name, _DEFAULT_THRESHOLD) for name, score in highest.items())
    return {"thumbnail_scores": samples, "max_scores": highest, "exceeds_threshold": exceeds}


def _chapters(material: Material) -> Json:
    steering: Json = material.parameters.get("output_steering") or {}
    length = {"coarse": 120.0, "fine": 15.0}.get(steering.get("chapter_granularity", ""), 45.0)
    pieces = material.pieces(max(1, round((material.end - material.start) / length)))
    return {
        "chapters": [{"start_time": round(begin, 3), "title": f"Part {index + 1}"} for index, (begin, _) in enumerate(pieces)]
    }


def _scenes(material: Material) -> Json:
    shortest = float(material.parameters.get("min_scene_duration_ms") or 15_000) / 1000
    most = max(1, int((material.end - material.start) / shortest))
    count = max(1, min(most, material.parameters.get("min_scenes") or 3))
    scenes: list[Json] = []
    for index, (begin, end) in enumerate(material.pieces(count)):
        shots = [shot for shot in shot_list(material.media.duration) if begin <= shot[0] < end]
        captions = cues(material.media, begin, end)
        scenes.append(
            {
                "start_ms": _ms(begin),
                "end_ms": _ms(end),
                "title": f"Scene {index + 1}",
                "shot_count": len(shots),
                "shots": [
                    {"start_ms": _ms(first), "end_ms": _ms(last), "visual_description": "A wide view."} for first, last in shots
                ],
                "cues": captions,
                "visual_narrative": "People cross a river.",
                "audible_narrative": " ".join(cue["text"] for cue in captions[:3]),
                "notable_visual_concepts": _concepts(material, index),
            }
        )
    return {"scenes": scenes}


def _questions(material: Material) -> Json:
    answers: list[Json] = []
    longest: int = material.parameters.get("max_free_form_answer_length") or 500
    for request in material.parameters["questions"]:
        options: list[str] = request.get("answer_options") or ["yes", "no"]
        share = material.share("question", request["question"])
        picked = options[min(int(share * len(options)), len(options) - 1)]
        free = f"In {material.title}, the answer is: {picked}."[:longest]
        answers.append(
            {
                "question": request["question"],
                "answer": free if request.get("free_form_reply") else picked,
                "confidence": round(0.5 + share / 2, 3),
                "reasoning": f"It follows from what is seen after {round(material.start + share, 3)} s.",
                "skipped": False,
            }
        )
    return {"answers": answers}


def _key_moments(material: Material) -> Json:
    wanted: Json = material.parameters.get("target_duration_ms") or {}
    length = min(float(wanted.get("max") or 10_000) / 1000, material.end - material.start)
    count = max(1, min(int((material.end - material.start) / length), material.parameters.get("max_moments") or 5))
    moments: list[Json] = []
    for index, (begin, _) in enumerate(material.pieces(count)):
        captions = cues(material.media, begin, begin + length)
        moment: Json = {
            "start_ms": _ms(begin),
            "end_ms": _ms(begin + length),
            "title": f"Moment {index + 1}",
            "overall_score": material.share("moment", index),
            "cues": captions,
            "audible_narrative": " ".join(cue["text"] for cue in captions),
            "notable_audible_concepts": [_TOPICS[index % len(_TOPICS)]],
        }
        if material.media.has_video:
            moment |= {"visual_narrative": "People cross a river.", "notable_visual_concepts": _concepts(material, index)}
        if captions:
            moment["quotable_segment"] = {"start_ms": captions[0]["start_ms"], "text": captions[0]["text"]}
        moments.append(moment)
    return {"moments": moments}


def _insights(material: Material) -> Json:
    moments = [
        {
            "start_ms": _ms(begin),
            "end_ms": _ms(end),
            "engagement_score": material.share("engagement", index),
            "insight": f"Part {index + 1} is watched as often as its neighbours.",
        }
        for index, (begin, end) in enumerate(material.pieces(3))
    ]
    return {
        "moment_insights": moments,
        "overall_insight": {"summary": f"{material.title} is watched to the end.", "trends": ["Viewers stay."]},
    }


def _thumbnails(material: Material) -> Json:
    names = ("brand_fit", "composition", "contrast_color", "face_or_action", "focus")
    found: list[Json] = []
    for index, (begin, end) in enumerate(material.pieces(material.parameters.get("max_thumbnails") or 1)):
        scores = {name: material.share(name, index) for name in names}
        found.append(
            {
                "timestamp_ms": _ms((begin + end) / 2),
                "description": "People on a boat.",
                "alt_text": "People on a boat.",
                "subscores": scores,
                "overall": round(sum(scores.values()) / len(scores), 3),
            }
        )
    found.sort(key=lambda entry: -float(entry["overall"]))
    return {"best_thumbnails": found}


def edited(text: str, parameters: Mapping[str, Any]) -> tuple[str, int]:
    """Apply the replacements of an edit-captions job to a text; return it, and how many there were."""
    count = 0
    for rule in parameters.get("replacements") or ():
        if rule["find"]:
            pattern = re.compile(re.escape(str(rule["find"])), 0 if rule.get("case_sensitive") else re.IGNORECASE)
            text, found = pattern.subn(str(rule["replace"]).replace("\\", r"\\"), text)
            count += found
    return text, count


def _analysis(material: Material) -> Json:
    """Everything at once; the fields of scenes and key moments are not published, so they are those of the workflows that find them."""
    starts = [*_chapters(material)["chapters"]]
    ends = [*(chapter["start_time"] for chapter in starts[1:]), round(material.end, 3)]
    return {
        **{"summary" if name == "description" else name: value for name, value in _summarize(material).items()},
        "chapters": [{**chapter, "end_time": end} for chapter, end in zip(starts, ends, strict=True)],
        "scenes": _scenes(material)["scenes"],
        "key_moments": _key_moments(material)["moments"],
    }


def _contextual_texts(material: Material) -> Json:
    """A text for each place in each variant; the form of results is not published, so this is a guess."""
    variants: list[Json] = material.parameters.get("variants") or [{"key": "default"}]
    artifacts: list[Json] = material.parameters.get("artifacts") or [{"key": "text"}]
    found: list[Json] = []
    for variant in variants:
        for artifact in artifacts:
            longest: Json = artifact.get("max_length") or {}
            words = f"{material.title}: people cross a river by boat before night falls.".split()
            text = " ".join(words[: longest["value"]] if longest.get("unit") == "words" else words)
            if longest.get("unit") == "characters":
                text = text[: longest["value"]]
            found.append({"variant": variant.get("key"), "artifact": artifact.get("key"), "text": text})
    return {"texts": found}


_MILLISECONDS = {"start_ms": "start_time", "end_ms": "end_time", "timestamp_ms": "time"}


def in_seconds(value: Any) -> Any:
    """Return outputs as version 1 has them: times in seconds."""
    if isinstance(value, dict):
        members = cast("Json", value)
        return {
            _MILLISECONDS.get(name, name): member / 1000 if name in _MILLISECONDS else in_seconds(member)
            for name, member in members.items()
        }
    return [in_seconds(item) for item in value] if value.__class__ is list else value


ANSWERS: Mapping[str, Callable[[Material], Json]] = {
    "analyze-structure": _analysis,
    "ask-questions": _questions,
    "find-best-thumbnails": _thumbnails,
    "find-key-moments": _key_moments,
    "find-scenes": _scenes,
    "generate-chapters": _chapters,
    "generate-contextual-text": _contextual_texts,
    "generate-engagement-insights": _insights,
    "moderate": _moderate,
    "summarize": _summarize,
}
"""The workflows that analyse; the others change tracks."""
