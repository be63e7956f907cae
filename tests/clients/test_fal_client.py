"""FakeFal speaks the protocol: the official fal_client works against it.

The client builds its addresses with https:// and fixed hosts for the storage, so its module's constants are set here;
everything else is its own.
"""

from __future__ import annotations

import io
import urllib.request

import fal_client
import pytest
from fal_client import client as module
from PIL import Image

from fakes.fal import running_fal
from fakes.pictures import is_the_photo

MODEL = "fal-ai/flux-vision-upscaler"


@pytest.fixture
def fal(monkeypatch):
    """FakeFal in a thread, and the client's addresses set to it. Connections that the client forgets are closed."""
    made = []
    original = module.SyncClient._get_cdn_client

    def remembered(client):
        made.append(original(client))
        return made[-1]

    monkeypatch.setattr(module.SyncClient, "_get_cdn_client", remembered)
    with running_fal(queue=0.05, work=0.05) as running:
        monkeypatch.setattr(module, "QUEUE_URL_FORMAT", f"{running.queue_url}/")
        monkeypatch.setattr(module, "REST_URL", running.storage_url)
        monkeypatch.setattr(module, "CDN_URL", running.cdn_url)
        yield running
        for forgotten in made:
            forgotten.close()


@pytest.fixture
def client(fal):
    """The client, with the fake's key."""
    made = fal_client.SyncClient(key=fal.key)
    yield made
    made._client.close()


def opened(url):
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310, the fake's own address
        return Image.open(io.BytesIO(answer.read()))


def test_subscribe(fal, client, photo):
    """`subscribe` sees the job wait and work, and gets the enlarged picture, its caption and its seed."""
    seen = []
    arguments = {"image_url": fal_client.encode_file(photo), "upscale_factor": 1.5, "seed": 3}
    result = client.subscribe(MODEL, arguments, on_queue_update=lambda update: seen.append(type(update).__name__))
    is_the_photo(opened(result["image"]["url"]), photo, (192, 192))
    assert (result["seed"], bool(result["caption"])) == (3, True)
    assert {"Queued", "Completed"} <= set(seen)
    assert fal.paid == 1


@pytest.mark.parametrize("repository", ["fal_v3", "fal"])
def test_upload(fal, client, photo, repository):
    """What `upload_file` has put into either storage can be enlarged."""
    url = client.upload_file(photo, repository=repository)
    result = client.subscribe(MODEL, {"image_url": url})
    is_the_photo(opened(result["image"]["url"]), photo, (256, 256))
    assert fal.uploads[0].size == photo.stat().st_size


def test_upload_in_parts(fal, client, photo, monkeypatch):
    """A very large file goes in parts and arrives whole."""
    monkeypatch.setattr(module, "MULTIPART_THRESHOLD", 100)
    monkeypatch.setattr(module, "MULTIPART_CHUNK_SIZE", 7_000)
    url = client.upload_file(photo)
    result = client.subscribe(MODEL, {"image_url": url})
    is_the_photo(opened(result["image"]["url"]), photo, (256, 256))
    assert fal.uploads[0].size == photo.stat().st_size > 14_000


def test_cancel(fal, client, photo):
    """A job that is cancelled is not paid, and its result is a 499."""
    fal.work = 30.0
    handle = client.submit(MODEL, {"image_url": fal_client.encode_file(photo)})
    handle.cancel()
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get()
    assert caught.value.status_code == 499
    assert (fal.cancelled, fal.paid) == ([handle.request_id], 0)


def test_validation(fal, client, photo):
    """A value out of range is refused with a 422 that says where."""
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        client.subscribe(MODEL, {"image_url": fal_client.encode_file(photo), "upscale_factor": 19})
    assert caught.value.status_code == 422
    assert caught.value.message[0]["loc"] == ["body", "upscale_factor"]
    assert fal.submissions == []


def test_a_completed_job_may_have_failed(fal, client, photo):
    """The status tells of the failure, and the result raises it with its type."""
    fal.fault = "status failed"
    handle = client.submit(MODEL, {"image_url": fal_client.encode_file(photo)})
    *_, last = handle.iter_events()
    assert (last.error, last.error_type) == ("It did not work.", "runner_server_error")
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get()
    assert (caught.value.status_code, caught.value.error_type) == (500, "runner_server_error")


async def test_the_asynchronous_client(fal, photo):
    """The asynchronous client works as well."""
    client = fal_client.AsyncClient(key=fal.key)
    result = await client.subscribe(MODEL, {"image_url": fal_client.encode_file(photo)})
    assert result["image"]["url"].startswith(fal.cdn_url)
    await (await client._client).aclose()
