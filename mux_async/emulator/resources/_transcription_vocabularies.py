"""``/video/v1/transcription-vocabularies``: phrases for the captions of live streams (facts/BEHAVIOUR.md, section 6.1)."""

from __future__ import annotations

from mux_async.emulator.http._messages import Response, created, data, no_content
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._records import Json, Vocabulary
from mux_async.emulator.state._serialization import epoch, without_none

MAX_LIMIT = 10
"""Vocabularies per page, which is also the default (facts/BEHAVIOUR.md, section 3.1)."""


def _shown(vocabulary: Vocabulary) -> Json:
    return without_none(
        {
            "id": vocabulary.id,
            "created_at": epoch(vocabulary.created_at),
            "updated_at": epoch(vocabulary.updated_at),
            "name": vocabulary.name,
            "passthrough": vocabulary.passthrough,
            "phrases": vocabulary.phrases,
        }
    )


def _vocabulary(call: ApiCall) -> Vocabulary:
    return call.environment.one(call.environment.vocabularies, call.params["TRANSCRIPTION_VOCABULARY_ID"])


def _create(call: ApiCall) -> Response:
    body = call.json("CreateTranscriptionVocabularyRequest")
    state = call.state
    vocabulary = Vocabulary(
        state.id_generator.id("vocabulary"),
        state.next_number(),
        state.now,
        state.now,
        body["phrases"],
        body.get("name"),
        body.get("passthrough"),
    )
    call.environment.vocabularies[vocabulary.id] = vocabulary
    return created(_shown(vocabulary))


def _list(call: ApiCall) -> Response:
    found = call.page(list(reversed(call.environment.vocabularies.values())), default=MAX_LIMIT, most=MAX_LIMIT)
    return data([_shown(vocabulary) for vocabulary in found])


def _retrieve(call: ApiCall) -> Response:
    return data(_shown(_vocabulary(call)))


def _update(call: ApiCall) -> Response:
    vocabulary = _vocabulary(call)
    body = call.json("UpdateTranscriptionVocabularyRequest")
    # A replacement: what is left out is gone, as was recorded of the name.
    vocabulary.phrases, vocabulary.name, vocabulary.passthrough = body["phrases"], body.get("name"), body.get("passthrough")
    vocabulary.updated_at = call.state.now
    return data(_shown(vocabulary))


def _delete(call: ApiCall) -> Response:
    del call.environment.vocabularies[_vocabulary(call).id]
    return no_content()


_ONE = "/video/v1/transcription-vocabularies/{TRANSCRIPTION_VOCABULARY_ID}"
ROUTES = (
    Route("POST", "/video/v1/transcription-vocabularies", _create),
    Route("GET", "/video/v1/transcription-vocabularies", _list),
    Route("GET", _ONE, _retrieve),
    Route("PUT", _ONE, _update),
    Route("DELETE", _ONE, _delete),
)
