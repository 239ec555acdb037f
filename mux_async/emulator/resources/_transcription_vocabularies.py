"""``/video/v1/transcription-vocabularies``: phrases for the captions of live streams (facts/BEHAVIOUR.md, section 6.1)."""

from __future__ import annotations

from mux_async.emulator.http._messages import Response, created, data
from mux_async.emulator.resources._collections import delete_route, list_route, retrieve_route
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._records import Vocabulary
from mux_async.emulator.state._serialization import present
from mux_async.emulator.state._state import Environment

_PATH, _ID = "/video/v1/transcription-vocabularies", "TRANSCRIPTION_VOCABULARY_ID"
MAX_LIMIT = 10
"""Vocabularies per page, which is also the default (facts/BEHAVIOUR.md, section 3.1)."""


def _create(call: ApiCall) -> Response:
    body = call.json("CreateTranscriptionVocabularyRequest")
    members = body["phrases"], body.get("name"), body.get("passthrough")
    vocabulary = Vocabulary(*call.state.identity("vocabulary"), *members)
    call.environment.vocabularies[vocabulary.id] = vocabulary
    return created(present(vocabulary))


def _update(call: ApiCall) -> Response:
    vocabulary = call.environment.one(call.environment.vocabularies, call.params[_ID])
    body = call.json("UpdateTranscriptionVocabularyRequest")
    # A replacement: members that are left out are removed, as was recorded for the name.
    vocabulary.phrases, vocabulary.name, vocabulary.passthrough = body["phrases"], body.get("name"), body.get("passthrough")
    vocabulary.updated_at = call.state.now
    return data(present(vocabulary))


def _vocabularies(environment: Environment) -> dict[str, Vocabulary]:
    return environment.vocabularies


ROUTES = (
    Route("POST", _PATH, _create),
    list_route(_PATH, _vocabularies, limit=MAX_LIMIT, most=MAX_LIMIT),
    retrieve_route(_PATH, _ID, _vocabularies),
    Route("PUT", f"{_PATH}/{{{_ID}}}", _update),
    delete_route(_PATH, _ID, _vocabularies),
)
