"""A served process with fal.ai on loopback: who serves, what is told and paid, and what happens when fal goes away."""

from __future__ import annotations

import base64
import io
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from PIL import Image, ImageCms
from skimage import data

from fakes.fal import FakeFal, running_fal
from fakes.pictures import is_the_photo
from fakes.server import Server, form, wait_until
from fluxvision.catalog import catalog
from fluxvision.catalog.catalog import CATALOG

MODEL = "flux-vision-upscaler"
PROMPT = "a very private wish"
SIZE = (96, 64)
BILL = round(192 * 128 / 10)
"""Micro-dollars of twice the size at $0.10 per megapixel."""
BACK = 30.0
"""Seconds after which a breaker that opened once has let a probe pass, on a busy machine too."""
SERVE = ("fluxvision", "serve")


@pytest.fixture(scope="module")
def fal():
    with running_fal() as running:
        yield running


def served(folder: Path, upstream: FakeFal, **settings: str) -> Server:
    urls = {"fal_queue_url": upstream.queue_url, "fal_storage_url": upstream.storage_url}
    return Server(folder / "data", {**urls, "threads": "2", **settings}, {"FAL_KEY": upstream.key}, module=SERVE)


@pytest.fixture(scope="module")
def server(fal, tmp_path_factory):
    """`fluxvision serve` with a key for fal, for everything that goes well."""
    with served(tmp_path_factory.mktemp("served"), fal) as running:
        yield running
        silent(running, fal)


@pytest.fixture(autouse=True)
def well(fal):
    """Every test begins with a fal that is well and has forgotten what was."""
    fal.fail("")
    fal.queue = fal.work = 0.0
    fal.paid = 0
    for ledger in (fal.submissions, fal.cancelled, fal.uploads, fal.asked):
        ledger.clear()


@pytest.fixture(scope="session")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(data.astronaut()[60:188, 160:352]).resize(SIZE, Image.Resampling.BICUBIC).save(path)
    return path


def silent(server: Server, upstream: FakeFal) -> None:
    """Assert that nothing private is in the log."""
    words = (*upstream.key.split(":"), PROMPT, "base64,", "iVBOR", "photo.png", "Traceback", upstream.url)
    assert [word for word in words if word in server.log] == []
    assert '"unexpected"' not in server.log, [line for line in server.log.splitlines() if "unexpected" in line]


def edited(server: Server, photo: Path, model: str = MODEL, path: str = "/v1/images/edits", **fields):
    given = {"model": model, "prompt": PROMPT, "response_format": "b64_json", **fields}
    parts = [(name, str(value).lower() if isinstance(value, bool) else str(value)) for name, value in given.items()]
    return server.post(path, form(("image", photo.read_bytes(), "photo.png"), *parts))


def opened(text: str) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    picture.load()
    return picture


def picture_of(answer, number: int = 0) -> Image.Image:
    assert answer.status == 200, answer.body
    return opened(answer.json()["data"][number]["b64_json"])


def tries(answer) -> list[tuple[str, str, float]]:
    return [(one["provider"], one["outcome"], one["cost"]) for one in answer.json()["metadata"]["attempts"]]


def test_the_best_provider_serves(server, fal, photo):
    """The picture is fal's; headers, metadata, attempts and receipt say so, and the bill is the quote."""
    quote = edited(server, photo, path="/v1/images/edits?dryRun=true", seed=5).json()
    assert fal.asked == []
    answer = edited(server, photo, seed=5)
    is_the_photo(picture_of(answer), photo, (192, 128))
    said = answer.json()["metadata"]
    headers = answer.headers
    assert (headers["x-fluxvision-provider"], headers["x-fluxvision-model"]) == ("fal", MODEL)
    assert headers["x-fluxvision-request-id"] == headers["x-request-id"] == answer.json()["id"]
    assert (said["provider"], said["executed_model"]) == ("fal", "fal/fal-ai/flux-vision-upscaler")
    assert (said["degraded"], said["failures"], said["seed"]) == (False, [], 5)
    assert (quote["provider"], quote["total_cost_micros"]) == ("fal", BILL)
    assert round(said["cost"] * 1e6) == BILL
    assert tries(answer) == [("fal", "ok", BILL / 1e6)]
    assert said["attempts"][0]["upstream_id"] == fal.submissions[0].id
    assert said["normalization"] == quote["normalization"]
    lines = {line["parameter"]: line for line in said["normalization"]}
    assert (lines["seed"]["to"], lines["prompt"]["honoured"]) == (5, False)
    assert answer.json()["data"][0]["revised_prompt"] == "a picture of something"
    assert {"upscale_factor", "creativity", "seed", "image_url"} <= set(fal.submissions[0].body)
    assert PROMPT not in json.dumps(fal.submissions[0].body)


def test_a_dry_run_calls_nobody(server, fal, photo):
    """Multipart and JSON, in the query and in the body: the same quote, and fal has heard nothing."""
    image = "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()
    asked = {"model": MODEL, "image": image, "n": 3, "scale_factor": 2}
    headers = {"Content-Type": "application/json"}
    answers = [
        edited(server, photo, n=3, scale_factor=2, path="/v1/images/edits?dryRun=true"),
        edited(server, photo, n=3, scale_factor=2, dryRun="true"),
        server.post("/v1/images/edits?dryRun=true", (headers, json.dumps(asked).encode())),
        server.post("/v1/images/edits", (headers, json.dumps({**asked, "dryRun": True}).encode())),
    ]
    for answer in answers:
        quote = answer.json()
        assert (answer.status, quote["estimated"], quote["currency"]) == (200, True, "USD")
        assert (quote["provider"], quote["total_cost_micros"], quote["size"]) == ("fal", 3 * BILL, "192x128")
        assert quote["alternatives"] == [{"provider": "embedded", "total_cost_micros": 0}]
    assert (fal.asked, fal.submissions, fal.uploads) == ([], [], [])


def test_one_of_three_fails(server, fal, photo):
    """Two pictures of consecutive seeds come, the failure is listed, and only what was made is paid."""
    fal.fail("submit 500 x1")
    answer = edited(server, photo, n=3, seed=40)
    said = answer.json()["metadata"]
    assert [picture_of(answer, number).size for number in range(2)] == [(192, 128)] * 2
    assert len(answer.json()["data"]) == 2
    assert len(said["failures"]) == 1
    assert sorted(tries(answer)) == [("fal", "UPSTREAM_ERROR", 0.0), *[("fal", "ok", BILL / 1e6)] * 2]
    assert round(said["cost"] * 1e6) == 2 * BILL
    assert sorted(one.body["seed"] for one in fal.submissions) == sorted(said["seeds"])
    assert set(said["seeds"]) < {40, 41, 42}


@pytest.mark.parametrize(
    "case",
    [
        ({"engine": "span"}, "embedded", None),
        ({"steps": 20}, "fal", None),
        ({"guidance": 2.5}, "fal", None),
        ({"prompt": "guide it"}, None, "prompt"),
        ({"negative_prompt": "no"}, None, "negative_prompt"),
        ({"resemblance": 0.5}, None, "resemblance"),
        ({"steps": 20, "engine": "span"}, None, "steps"),
        ({"scale_factor": 4, "size": "1000x1000"}, None, "size"),
    ],
    ids=lambda case: " ".join(case[0]),
)
def test_strict_goes_where_everything_is_honoured(server, fal, photo, case):
    """A provider that cannot honour a parameter is passed over; where nobody can, the parameter is named."""
    fields, provider, param = case
    answer = edited(server, photo, **{"strict": True, "prompt": "", **fields})
    if provider is not None:
        picture_of(answer)
        assert answer.headers["x-fluxvision-provider"] == provider
        assert all(line["honoured"] for line in answer.json()["metadata"]["normalization"])
        assert len(fal.submissions) == (provider == "fal")
        return
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert param in answer.json()["error"]["message"]
    assert fal.asked == []


def test_strict_with_a_deep_picture_needs_the_own_engine(server, fal, photo, tmp_path):
    """16 bits are refused under strict, and made by the engine that is named; else by fal in 8, which is told."""
    path = tmp_path / "deep.png"
    with Image.open(photo) as opened_photo:
        deep = opened_photo.convert("L").point(lambda grey: grey * 257, "I").convert("I;16")
    deep.save(path)
    strict = edited(server, path, strict=True, prompt="")
    error = strict.json()["error"]
    assert (strict.status, error["param"]) == (400, "image")
    assert f"embedded/{MODEL} makes it without inventing detail." in error["message"]
    pinned = edited(server, path, f"embedded/{MODEL}", strict=True, prompt="")
    assert pinned.json()["metadata"]["provider"] == "embedded"
    assert picture_of(pinned).mode == "I;16"
    assert fal.asked == []
    plain = edited(server, path)
    lines = {line["parameter"]: line for line in plain.json()["metadata"]["normalization"]}
    assert (plain.headers["x-fluxvision-provider"], lines["image"]["honoured"]) == ("fal", False)


def test_what_fal_drops_is_there_again(server, fal, photo, tmp_path):
    """Alpha, colour profile, EXIF and resolution survive, though fal was sent and sends none of them."""
    exif = Image.Exif()
    exif[0x010E] = "a meadow"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(photo) as plain:
        clear = plain.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(SIZE))
    path = tmp_path / "clear.png"
    clear.save(path, exif=exif, icc_profile=profile, dpi=(300, 300))
    made = picture_of(edited(server, path))
    sent = Image.open(io.BytesIO(base64.b64decode(fal.submissions[0].body["image_url"].partition(",")[2])))
    assert (sent.mode, set(sent.info) & {"icc_profile", "exif"}) == ("RGB", set())
    assert sent.info.get("dpi", (72, 72)) == pytest.approx((72, 72), abs=1)
    assert (made.mode, made.size, made.info["icc_profile"]) == ("RGBA", (192, 128), profile)
    assert made.getexif()[0x010E] == "a meadow"
    assert made.info["dpi"] == pytest.approx((300, 300), abs=1)
    wanted = Image.linear_gradient("L").resize((192, 128))
    pairs = zip(made.getchannel("A").tobytes(), wanted.tobytes(), strict=True)
    assert max(abs(ours - theirs) for ours, theirs in pairs) <= 4
    is_the_photo(made, photo, (192, 128))


def test_a_mask_keeps_fals_detail_where_it_is_transparent(server, fal, photo):
    """Under the opaque part lies the faithful enlargement, under the transparent one what fal made; fal saw no mask."""
    mask = Image.new("RGBA", SIZE, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (48, 0, 96, 64))
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    fields = [("model", MODEL), ("response_format", "b64_json"), ("image", photo.read_bytes(), "photo.png")]
    masked = picture_of(server.post("/v1/images/edits", form(*fields, ("mask", stream.getvalue(), "mask.png"))))
    assert not any("mask" in name for name in fal.submissions[0].body)
    theirs = picture_of(edited(server, photo))
    faithful = picture_of(edited(server, photo, f"embedded/{MODEL}", creativity=0))
    assert masked.size == theirs.size == faithful.size == (192, 128)
    kept, free = (0, 0, 84, 128), (116, 0, 192, 128)
    assert masked.crop(kept).tobytes() == faithful.crop(kept).convert("RGB").tobytes()
    assert masked.crop(free).tobytes() == theirs.crop(free).tobytes()
    assert theirs.tobytes() != faithful.convert("RGB").tobytes()


def test_the_sdk_streams_from_fal(server, fal, photo):
    """The official SDK iterates a preview, then the result that fal made."""
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0) as client, photo.open("rb") as file:
        stream = client.images.edit(model=MODEL, image=file, prompt=PROMPT, stream=True, partial_images=2)
        events = list(stream)
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert opened(events[0].b64_json).size == (192, 128)
    is_the_photo(opened(events[1].b64_json), photo, (192, 128))
    assert events[-1].metadata["provider"] == "fal"
    assert len(fal.submissions) == 1
    theirs = picture_of(edited(server, photo))
    assert opened(events[-1].b64_json).tobytes() == theirs.tobytes()


def test_a_stream_that_fails_says_so(server, fal, photo):
    """The error comes as an event with its code, and the SDK raises it."""
    fal.fail("submit policy")
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0) as client, photo.open("rb") as file:
        stream = client.images.edit(model=MODEL, image=file, prompt=PROMPT, stream=True)
        with pytest.raises(openai.APIError) as caught:
            list(stream)
    assert caught.value.code == "CONTENT_POLICY_VIOLATION"


def test_repeated_requests(server, fal, photo):
    """Many requests of one SDK client, in turn and at once, are as many jobs with as many different pictures."""
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/v1") as client:

        def ask(seed: int):
            with photo.open("rb") as file:
                return client.images.edit(
                    model=MODEL, image=file, prompt="", response_format="b64_json", extra_body={"seed": seed}
                )

        answers = [ask(1), ask(1)]
        with ThreadPoolExecutor(4) as pool:
            answers += pool.map(ask, range(2, 8))
    assert [answer.metadata["seed"] for answer in answers] == [1, 1, *range(2, 8)]
    assert {answer.metadata["provider"] for answer in answers} == {"fal"}
    assert (len(fal.submissions), fal.paid) == (8, 8)
    ids = [answer.metadata["attempts"][0]["upstream_id"] for answer in answers]
    assert sorted(ids) == [one.id for one in fal.submissions]


@pytest.mark.parametrize(("fault", "error"), [("result none", "502"), ("submit balance", "502"), ("submit 401", "500")])
def test_the_sdk_does_not_try_what_only_costs_money(server, fal, photo, fault, error):
    """Where a retry is useless the answer says so, and the SDK, which would, asks once."""
    fal.fail(fault)
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=2) as client, photo.open("rb") as file:
        with pytest.raises(openai.APIStatusError) as caught:
            client.images.edit(model=f"fal/{MODEL}", image=file, prompt=PROMPT)
        assert caught.value.response.headers["x-should-retry"] == "false"
    assert str(caught.value.status_code) == error
    assert [stage for stage, _ in fal.asked].count("submit") == 1
    assert PROMPT not in str(caught.value)


@pytest.mark.parametrize("fault", ["result 499"])
def test_a_job_that_somebody_else_cancelled_has_an_answer(server, fal, photo, fault):
    """The caller is still there and gets the one error body."""
    fal.fail(fault)
    answer = edited(server, photo)
    assert answer.json()["error"]["code"] == "CANCELLED"


def test_a_caller_that_goes_away_keeps_what_it_bought(server, fal, photo):
    """The connection is closed in the middle of the work: the job goes on until somebody cancels it."""
    fal.work = 30.0
    headers, body = form(("model", MODEL), ("image", photo.read_bytes(), "photo.png"))
    head = f"POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with server.connect() as connection:
        connection.sendall(head.encode() + b"\r\n" + body)
        assert wait_until(lambda: len(fal.submissions) == 1)
    time.sleep(1.0)
    assert fal.cancelled == []
    running = server.get("/v1/requests?status=running").json()["data"]
    assert len(running) == 1
    server.get(f"/v1/requests/{running[0]['id']}", method="DELETE")
    assert wait_until(lambda: fal.cancelled == [fal.submissions[0].id])
    assert fal.paid == 0
    assert server.nothing_left()
    fal.work = 0.0
    assert edited(server, photo).headers["x-fluxvision-provider"] == "fal"


def test_killed_in_the_middle_and_back_again(tmp_path, photo):
    """The request under way is finished here and says so; fal is left alone until a probe finds it well again."""
    with running_fal(work=30.0) as upstream, served(tmp_path, upstream, attempt_timeout="1.5") as server:
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(edited, server, photo)
            assert wait_until(lambda: len(upstream.submissions) == 1)
            upstream.kill()
            started = time.monotonic()
            answer = pending.result(60)
        assert time.monotonic() - started < 20
        is_the_photo(picture_of(answer), photo, (192, 128))
        assert answer.headers["x-fluxvision-provider"] == "embedded"
        assert answer.json()["metadata"]["degraded"] is True
        assert [one[:2] for one in tries(answer)] == [("fal", "UPSTREAM_ERROR"), ("embedded", "ok")]

        for _ in range(2):
            answer = edited(server, photo)
            assert answer.headers["x-fluxvision-provider"] == "embedded"
            assert tries(answer)[0] == ("fal", "UPSTREAM_UNREACHABLE", 0.0)
        opened_at = time.monotonic()
        for _ in range(2):
            answer = edited(server, photo)
            assert tries(answer) == [("embedded", "ok", 0.0)]
            assert answer.json()["metadata"]["degraded"] is True
            assert [one["provider"] for one in answer.json()["metadata"]["excluded"]] == ["fal"]
        assert len(upstream.submissions) == 1

        upstream.work = 0.0
        upstream.revive()
        served_by = []
        while time.monotonic() - opened_at < BACK and "fal" not in served_by:
            served_by.append(edited(server, photo).headers["x-fluxvision-provider"])
            time.sleep(0.2)
        assert time.monotonic() - opened_at > 3.5
        assert served_by[-1] == "fal"
        assert [edited(server, photo).headers["x-fluxvision-provider"] for _ in range(3)] == ["fal"] * 3
        silent(server, upstream)


QUOTED = [
    *itertools.product(
        [model.id for model in CATALOG if model.offers[0].price.metric != "second"],
        [
            {},
            {"n": 2},
            {"scale_factor": 3},
            {"scale_factor": 1.37, "n": 2},
            {"size": "301x211"},
            {"size": "50x50", "fit": "cover"},
            {"aspect_ratio": "1:1", "fit": "pad"},
        ],
    ),
    (MODEL, {"scale_factor": 4, "n": 3}),
    (MODEL, {"size": "500x100", "fit": "stretch"}),
    (MODEL, {"size": "900x900"}),
    ("topaz-upscale", {"resolution": "2K"}),
]


@pytest.mark.parametrize(("model", "fields"), QUOTED, ids=lambda value: value if isinstance(value, str) else str(value))
def test_a_quote_is_the_bill(server, fal, photo, model, fields):
    """What the dry run says is what the picture costs, to the micro-dollar, and what fal made is what was quoted."""
    quote = edited(server, photo, model, "/v1/images/edits?dryRun=true", **fields).json()
    answer = edited(server, photo, model, **fields)
    said = answer.json()["metadata"]
    assert said["provider"] == quote["provider"] == "fal"
    assert round(said["cost"] * 1e6, 3) == quote["total_cost_micros"] > 0
    assert sum(part["total_cost"] for part in quote["components"]) == quote["total_cost_micros"]
    assert quote["size"] == said["size"] == "{}x{}".format(*picture_of(answer).size)
    assert len(fal.submissions) == fal.paid == fields.get("n", 1)


def test_started_blocks_are_counted(server, tmp_path):
    """A picture over 24 megapixels costs two blocks, quoted and billed."""
    path = tmp_path / "large.png"
    Image.new("L", (1300, 1200), 90).save(path)
    quote = edited(server, path, "topaz-upscale", "/v1/images/edits?dryRun=true", scale_factor=4).json()
    said = edited(server, path, "topaz-upscale", scale_factor=4, output_format="jpeg").json()["metadata"]
    assert round(said["cost"] * 1e6) == quote["total_cost_micros"] == 160_000


@pytest.mark.parametrize("model", [model.id for model in CATALOG if model.offers[0].price.metric == "second"])
@pytest.mark.parametrize("n", [1, 3])
def test_seconds_are_billed_as_reported(server, fal, photo, model, n):
    """A price by the second is not known beforehand; the bill is that of the 1.25 seconds that fal reports, each."""
    quote = edited(server, photo, model, "/v1/images/edits?dryRun=true", n=n).json()
    assert quote["total_cost_micros"] is None
    price = catalog.find_model(model)[0].offers[0].price.unit_price
    said = edited(server, photo, model, n=n).json()["metadata"]
    assert round(said["cost"] * 1e6, 3) == n * int(1.25 * price + 0.5)
    assert len(fal.submissions) == n
