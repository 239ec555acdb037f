"""The application: three things that a program with Mux behind it does, in one page of code.

* The browser sends a film to Mux itself, to a URL that the application asked for. No byte of it passes through here.
* A webhook says when it can be watched. It wakes the browsers that wait for it, which costs no request; if it gets lost, the client looks.
* Who may watch is the application's decision: it signs a link for each who may, good for an hour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse

from mux_async import AssetErroredError, BadRequestError, DeadlineExceededError, Mux, NotFoundError, UploadError
from mux_async.signing import Signer
from mux_async.webhooks import WebhookRouter
from mux_async.webhooks.events import AssetEvent
from mux_async.webhooks.starlette import endpoint

PAGE = Path(__file__).with_name("page.html")


def create_app(mux: Mux, hooks: WebhookRouter, signer: Signer) -> FastAPI:
    app = FastAPI()
    films: dict[str, str] = {}  # titles by the upload they came in; a table, in an application that is started again

    hooks.attach(mux)
    app.add_route("/webhooks/mux", endpoint(hooks), methods=["POST"])

    @hooks.on("video.asset.ready")
    async def publish(event: AssetEvent) -> None:
        if upload_id := event.data.upload_id:
            films[upload_id] = (event.data.meta.title if event.data.meta else None) or "Untitled"

    @app.get("/")
    async def show_page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text())

    @app.get("/films")
    async def list_films() -> list[dict[str, str]]:
        return [{"id": upload_id, "title": title} for upload_id, title in films.items()]

    @app.post("/uploads")
    async def start_upload(request: Request, title: Annotated[str, Body(embed=True, max_length=200)]) -> dict[str, str]:
        upload = await mux.with_options(priority="interactive", deadline=10.0).video.uploads.create(
            cors_origin=str(request.base_url).rstrip("/"),  # only pages of this application may send to it
            new_asset_settings={"playback_policies": ["signed"], "meta": {"title": title}},
        )
        return {"id": upload.id, "url": upload.url or ""}

    @app.get("/films/{upload_id}")
    async def watch_film(upload_id: str) -> dict[str, str | None]:
        """Wait until the film can be watched, and sign a link for this browser."""
        try:
            asset = await mux.video.assets.wait_for_upload(upload_id, timeout=25.0)
        except DeadlineExceededError:
            return {"status": "preparing", "hls": None, "poster": None}  # the browser asks again
        except (AssetErroredError, UploadError) as error:
            raise HTTPException(422, "Mux could not make a film of this file") from error
        except (NotFoundError, BadRequestError) as error:
            raise HTTPException(404, "there is no such film") from error
        (playback_id,) = asset.playback_ids or []
        return {
            "status": "ready",
            "hls": playback_id.hls_url(signer=signer, expires_in="1h", hosts=mux.hosts),
            "poster": playback_id.thumbnail_url(signer=signer, expires_in="1h", width=640, hosts=mux.hosts),
        }

    return app
