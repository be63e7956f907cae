"""Makes jobs of the form of a request: checks everything that it says, and fetches its pictures."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from fluxvision import imaging
from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import ImageRequired, InvalidRequest
from fluxvision.core.images import InputImage
from fluxvision.core.types import Caller, Job
from fluxvision.gateway.gateway import ParsedFields
from fluxvision.http.client_api import EditRequest
from fluxvision.http.files import copy_picture
from fluxvision.http.middleware import request_id as new_request_id
from fluxvision.http.parsing.body import FileReference, Form
from fluxvision.http.state import AppState
from fluxvision.net import fetch

IMAGE, MASK = "image", "mask"


async def admit_jobs(
    state: AppState, caller: Caller, form: Form, folder: Path, request_id: str, *, missing: str = EditRequest.missing
) -> list[Job]:
    """Check everything, fetch the pictures of a form into `folder`, and return the caller's job for each to enlarge.

    The first has the id of the request. Raises `InvalidRequest` that tells every parameter that is wrong; `missing` is
    what it says where there is no picture.
    """
    parsed = _parse(state, form, missing)
    names = [name for name in form.pictures if name != MASK]
    wanted = names if parsed.values.get("images_mode") == "each" else [IMAGE]
    mask = await _fetch(state, caller, form, folder, MASK) if MASK in form.pictures else None
    jobs = []
    for number, name in enumerate(wanted):
        image = await _fetch(state, caller, form, folder, name)
        job_id = request_id if number == 0 else new_request_id(time.time_ns() // 1_000_000)
        jobs.append(replace(parsed.job(image, mask, job_id, len(names)), caller=caller))
    return jobs


def _parse(state: AppState, form: Form, missing: str) -> ParsedFields:
    """Return the checked fields of a form that has a picture."""
    errors = list[InvalidRequest]()
    model: Any = form.fields.pop("model", None)
    if IMAGE not in form.pictures:
        errors.append(ImageRequired(missing, param=IMAGE))
    if not isinstance(model, str | None):
        errors.append(InvalidRequest("model must be a text.", param="model"))
        model = None
    try:
        parsed = state.gateway.parse(model or "", form.fields)
    except InvalidRequest as error:
        errors += error.errors or [error]
    if errors:
        raise InvalidRequest.join(errors)
    return parsed


async def _fetch(state: AppState, caller: Caller, form: Form, folder: Path, name: str) -> InputImage:
    """Return a picture of the form with its header read."""
    picture, param = form.pictures[name], form.places.get(name, name.partition(".")[0])
    path = picture if isinstance(picture, Path) else folder / f"{name}.fetched"
    if isinstance(picture, FileReference):
        await copy_picture(state, caller, picture.id, param, path)
    elif not isinstance(picture, Path):
        limit, patience = state.settings.max_upload_bytes, state.settings.fetch_timeout
        await fetch.resolve(picture, path, param, guard=state.guard, limit=limit, patience=patience)
    content = form.contents.get(name)
    if imaging.is_quick_to_read(path.stat().st_size if content is None else len(content), content):
        return state.probe(path, param, content)
    return await run_in_thread(state.probe, path, param, content)
