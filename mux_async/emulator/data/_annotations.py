"""``/data/v1/annotations``: notes on dates. They are the only part of the Data API that can be written."""

from __future__ import annotations

import uuid

from mux_async.emulator.data._fields import iso
from mux_async.emulator.data._requests import DataRequest, Operation
from mux_async.emulator.http._messages import Response, created, data, invalid, json_response, no_content, not_found
from mux_async.emulator.state._records import Annotation
from mux_async.emulator.state._state import Json


def _written(annotation: Annotation) -> Json:
    return {
        "id": annotation.id,
        "date": iso(annotation.date * 1000),
        "note": annotation.note,
        "sub_property_id": annotation.sub_property_id,
    }


def _one(request: DataRequest) -> Annotation:
    given = request.call.params["ANNOTATION_ID"]
    try:
        annotation_id = str(uuid.UUID(given))
    except ValueError:
        raise invalid(f'Annotation id "{given[:80]}" was invalid') from None
    found = request.call.environment.annotations.get(annotation_id)
    if found is None:
        raise not_found()
    return found


def _list(request: DataRequest) -> Response:
    """Without a timeframe, all of them, whenever they are: notes on the future would never be seen otherwise."""
    query = request.query
    found = sorted(request.call.environment.annotations.values(), key=lambda annotation: (annotation.date, annotation.id))
    timeframe = request.timeframe() if query.list_of("timeframe") else None
    if timeframe is not None:
        found = [annotation for annotation in found if timeframe.start <= annotation.date < timeframe.end]
    if query.descending("desc"):
        found.reverse()
    page = [_written(annotation) for annotation in query.page(found)]
    more: Json = {} if timeframe is None else {"timeframe": timeframe.as_list()}
    return json_response(200, {"data": page, "total_row_count": len(found), **more})


def _create(request: DataRequest) -> Response:
    given = request.call.json("AnnotationInput")
    annotation = Annotation(
        request.call.state.id_generator.uuid("annotation"), given["date"], given["note"], given.get("sub_property_id")
    )
    request.call.environment.annotations[annotation.id] = annotation
    return created(_written(annotation))


def _update(request: DataRequest) -> Response:
    annotation = _one(request)
    given = request.call.json("AnnotationInput")
    annotation.date, annotation.note = given["date"], given["note"]
    annotation.sub_property_id = given.get("sub_property_id", annotation.sub_property_id)
    return data(_written(annotation))


def _delete(request: DataRequest) -> Response:
    del request.call.environment.annotations[_one(request).id]
    return no_content()


OPERATIONS: tuple[Operation, ...] = (
    ("GET", "/data/v1/annotations", _list),
    ("POST", "/data/v1/annotations", _create),
    ("GET", "/data/v1/annotations/{ANNOTATION_ID}", lambda request: data(_written(_one(request)))),
    ("PATCH", "/data/v1/annotations/{ANNOTATION_ID}", _update),
    ("DELETE", "/data/v1/annotations/{ANNOTATION_ID}", _delete),
)
