"""Gateways on different machines, with one PostgreSQL and one bucket: each has what another one stored."""

from __future__ import annotations

import base64
import shutil
import signal

import openai
import pytest

from fakes.gateway import png
from fakes.postgres import empty_database
from fakes.s3 import open_link
from fakes.server import Server, wait_until

MODEL = ("model", "flux-vision-upscaler")
PICTURE = png(32, 24)
RESULT = png(64, 48, (0, 30, 60))


@pytest.fixture
def gateways(s3, bucket_url, postgres, tmp_path):
    """Returns a gateway, not started, with a data folder of its own."""
    database_url = empty_database(postgres)

    def make(name):
        settings = {"media_url": bucket_url, "database_url": database_url, "workers": "2"}
        return Server(tmp_path / name, settings, dict(s3.environment), module=("fakes.quick_take_up",))

    return make


def works(gateway, place):
    """Return whether a gateway is the one that works on a request: the others do not know its progress."""
    return gateway.get(place).json().get("progress", {}).get("total")


def test_another_machine_takes_up_what_a_killed_gateway_left(gateways, s3, bucket_url):
    """After kill -9, and with its disk gone, the other gateway makes the picture from the input in the bucket."""
    with gateways("one") as one, gateways("two") as two:
        both, fields = (one, two), (("tiles", "8"), ("tile_seconds", "1"))
        entered = one.edit(MODEL, ("image", PICTURE, "a"), *fields, Prefer="respond-async")
        place = f"/v1/requests/{entered.json()['id']}"
        assert wait_until(lambda: works(one, place) or works(two, place))
        running, left = both if works(one, place) else reversed(both)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        shutil.rmtree(running.folder)
        assert wait_until(lambda: left.get(place).json()["status"] == "completed")
        link = left.get(place).json()["response"]["data"][0]["url"]
        assert link.startswith(f"{s3.url}/{bucket_url.removeprefix('s3://')}/results/")
        assert open_link(link).body == RESULT
        assert wait_until(lambda: not [key for key in s3.keys(bucket_url) if key.startswith("jobs/")])


def test_a_link_of_the_bucket_ends_with_a_purge(gateways, s3, bucket_url):
    """OpenAI's SDK gets a link that opens the picture; a purge at another gateway deletes it, and the link is a 404."""
    with gateways("one") as server, gateways("two") as other:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any")
        answer = client.images.edit(
            model=MODEL[1],
            image=("a.png", PICTURE),
            prompt="",
            response_format="url",
            extra_headers={"Idempotency-Key": "one"},
        )
        link = answer.data[0].url
        found = open_link(link)
        assert (found.status, found.body, found.headers["content-type"]) == (200, RESULT, "image/png")
        place = f"/v1/requests/{answer.id}"
        assert open_link(other.get(place).json()["response"]["data"][0]["url"]).body == RESULT
        assert other.get(f"{place}/payloads", method="DELETE").status == 200
        assert open_link(link).status == 404
        assert s3.keys(bucket_url) == ["media.key"]


def test_a_repeated_request_gets_its_picture_from_another_gateway(gateways):
    """With one idempotency key the second gateway answers with the bytes that the first one stored."""
    fields = (MODEL, ("image", PICTURE, "a"), ("response_format", "b64_json"))
    with gateways("one") as server, gateways("two") as other:
        first = server.edit(*fields, **{"Idempotency-Key": "one"})
        again = other.edit(*fields, **{"Idempotency-Key": "one"})
        assert again.headers["idempotent-replayed"] == "true"
        for answer in (first, again):
            assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == RESULT
