"""Answer photos over plain HTTP, for programs: POST /api/classify, and a page that shows how."""

import asyncio
import html
import os
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, File, HTTPException, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from gradio.route_utils import get_root_url
from pydantic import BaseModel

from models.page.photo_tab import AnswerData, ask
from models.page.request_guard import BUSY, RETRY_SECONDS
from models.photos import MAX_BYTES, PhotoError
from models.predictor import Predictor
from models.sources.served_model import ModelSource

AT_ONCE = 2  # one pass of the network uses all cores, so more would only wait for each other
MAX_WAITING = 32  # requests; further ones are told to try again
MAX_PHOTOS = 50  # in a request
HOW_TO = Path(__file__).with_name("api.html")


class Refusal(BaseModel):
    """Why there is no answer."""

    detail: str


def build_api(source: ModelSource) -> APIRouter:
    """Build the routes /api (how to use it) and /api/classify.

    Args:
        source: Each request reads its model once, and so keeps one to its end.
    """
    api = APIRouter()
    free = asyncio.Semaphore(AT_ONCE)
    waiting = 0

    @api.post(
        "/api/classify",
        summary="Tell which landmark is in a photo, or in several",
        responses={
            400: {"model": Refusal, "description": "A photo that cannot be read, and why"},
            503: {"model": Refusal, "description": "Too many requests; see Retry-After"},
        },
    )
    async def classify(
        photo: Annotated[list[UploadFile], File(description="A photo; several may be given")],
    ) -> AnswerData | list[AnswerData]:
        """Answer as /classify does: an object for one photo, a list of them for several."""
        nonlocal waiting
        if len(photo) > MAX_PHOTOS:
            raise HTTPException(400, f"{len(photo)} photos; send at most {MAX_PHOTOS} at once")
        if waiting >= MAX_WAITING:
            raise HTTPException(503, BUSY, {"Retry-After": str(RETRY_SECONDS)})
        waiting += 1
        try:
            async with free:
                return await run_in_threadpool(answer_photos, source.served.predictor, photo)
        except PhotoError as error:
            raise HTTPException(400, str(error)) from error
        finally:
            waiting -= 1

    @api.get("/api", include_in_schema=False)
    def show_how(request: Request) -> HTMLResponse:
        root = get_root_url(request, "/api", os.environ.get("GRADIO_ROOT_PATH"))
        page = HOW_TO.read_text(encoding="utf-8")
        return HTMLResponse(page.replace("URL", html.escape(root)))

    return api


def answer_photos(predictor: Predictor, photos: list[UploadFile]) -> AnswerData | list[AnswerData]:
    """Answer photos one after the other.

    Raises:
        PhotoError: One of several cannot be read; the message begins with its name.
    """
    answers = []
    for photo in photos:
        try:
            # One byte too many tells that it is too large.
            asked = ask(predictor, photo.file.read(MAX_BYTES + 1))
        except PhotoError as error:
            raise PhotoError(
                f"{photo.filename}: {error}" if len(photos) > 1 else str(error)
            ) from error
        answers.append(AnswerData.of(asked.answer, asked.place))
    return answers[0] if len(answers) == 1 else answers
