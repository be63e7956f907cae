"""SETTINGS: one row per setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

PREFIX = "FLUXVISION_"

LEVELS = ("debug", "info", "warning", "error")

Kind = Literal["text", "integer", "number", "switch", "secret", "secrets", "path", "upstreams"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. Environment name: FLUXVISION_ and the name in capitals; TOML name: the name."""

    name: str
    kind: Kind
    default: Any
    help: str
    low: float | None = None
    choices: tuple[str, ...] = ()
    high: float | None = None
    env: str = ""

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return self.env or PREFIX + self.name.upper()


SETTINGS: tuple[Setting, ...] = (
    Setting("host", "text", "127.0.0.1", "Address to listen on."),
    Setting("port", "integer", 8000, "Port to listen on.", 0, high=65535),
    Setting(
        "health_port",
        "integer",
        0,
        "Further port for /healthz and /readyz alone, which other connections cannot block; 0: none.",
        0,
        high=65535,
    ),
    Setting("public_url", "text", "", "Address that clients see, used in links; empty: taken from the request."),
    Setting(
        "api_keys",
        "secrets",
        (),
        "Keys that may call the API, or sha256:HEX of them, separated by commas; none: any key, loopback only.",
    ),
    Setting("allow_unauthenticated", "switch", False, "Listen beyond loopback although no key is configured."),
    Setting(
        "data_dir",
        "path",
        "",
        "Folder for results and uploads; empty: a private folder under the system's temporary one.",
    ),
    Setting("media_ttl", "number", 3600.0, "Seconds that a result link works.", 1),
    Setting("max_upload_bytes", "integer", 100_000_000, "Largest request body in bytes.", 1),
    Setting("max_input_pixels", "integer", 100_000_000, "Largest input picture in pixels.", 1),
    Setting("max_output_pixels", "integer", 400_000_000, "Largest result over HTTP, uncropped, in pixels.", 1),
    Setting(
        "max_job_memory",
        "integer",
        0,
        "Most bytes of memory that one picture may be planned to take; 0: a quarter of the machine's, at least 1.5 GB.",
        0,
    ),
    Setting("max_frames", "integer", 1_000, "Most frames an animated input may have (only the first is used).", 1),
    Setting("workers", "integer", 1, "Pictures that are worked on at the same time.", 1),
    Setting("queue", "integer", 16, "Requests of one key that may wait for a worker before its new ones get 429.", 0),
    Setting("threads", "integer", 0, "Threads of one picture; 0: one per processor core.", 0),
    Setting(
        "worker_processes",
        "integer",
        0,
        "Processes that make tiles here, on a cluster the most; 0: threads of this one, for FLUX one per GPU.",
        0,
        high=1024,
    ),
    Setting("cluster", "text", "", "Ray cluster that makes tiles: auto or ray://host:10001; empty: this machine does."),
    Setting("deadline", "number", 900.0, "Seconds one request may take in all.", 1),
    Setting(
        "upload_timeout", "number", 30.0, "Seconds without a byte of the body before the request ends with 408.", 0.1
    ),
    Setting("fetch_timeout", "number", 15.0, "Seconds to fetch a picture given by URL.", 0.1),
    Setting("allow_private_urls", "switch", False, "Fetch picture URLs from private addresses too."),
    Setting(
        "policy",
        "text",
        "quality",
        "Which offer of a model goes first: the best (quality), the cheapest (price) or the fastest (latency).",
        choices=("quality", "price", "latency"),
    ),
    Setting("allow_degraded", "switch", True, "Let the CPU engine stand in for providers that invent detail."),
    Setting("attempt_timeout", "number", 300.0, "Seconds one remote provider may take before the next is tried.", 1),
    Setting("remote_parallel", "integer", 64, "Calls to one remote provider at the same time.", 1),
    Setting("flux_model", "text", "", "Folder or hub id of FLUX's weights; empty: the provider flux is not used."),
    Setting(
        "flux_engine",
        "text",
        "flux2-klein-4b",
        "Which FLUX it is: flux2-klein-4b, flux2-klein-base-4b, flux1-schnell, flux1-dev or flux1-dev-tile.",
        choices=("flux2-klein-4b", "flux2-klein-base-4b", "flux1-schnell", "flux1-dev", "flux1-dev-tile"),
    ),
    Setting("flux_revision", "text", "", "Revision of the weights at the hub; empty: the newest."),
    Setting("flux_device", "text", "auto", "Where FLUX runs: auto, cuda, cuda:1, mps or cpu."),
    Setting(
        "flux_licence_agreed",
        "switch",
        False,
        "Use flux1-dev and flux1-dev-tile: their licence, which lets no commercial service be run, was agreed to.",
    ),
    Setting("flux_compile", "switch", True, "Compile FLUX's blocks where the GPU can: the first tile waits for it."),
    Setting("flux_fp8", "switch", False, "Run FLUX's matrices in 8 bits: half the memory, and other results."),
    Setting(
        "flux_passes",
        "text",
        "auto",
        "Passes of FLUX over a picture: 1; 2 above factor 2, the second on what the first made; auto: 2 at factor 4.",
        choices=("auto", "1", "2"),
    ),
    Setting(
        "flux_fidelity",
        "number",
        45.0,
        "Least LR-PSNR in dB of what FLUX enlarges: how near it is, reduced again, to the source; 0: not held to it.",
        0,
        high=60,
    ),
    Setting("flux_tile_captions", "switch", False, "Let the captioner look at each tile by itself."),
    Setting(
        "flux_resume",
        "path",
        "",
        "Folder where finished tiles wait for a job that was killed; empty: one in the user's cache; none: nowhere.",
    ),
    Setting("captioner", "text", "qwen3-vl-2b", "What looks at the picture before FLUX; none: nothing does."),
    Setting("caption_model", "text", "", "Folder or hub id of the captioner's weights; empty: its own at the hub."),
    Setting("fal_key", "secret", "", "Key of fal.ai; empty: fal.ai is not used.", env="FAL_KEY"),
    Setting("fal_queue_url", "text", "https://queue.fal.run", "Address of fal.ai's queue."),
    Setting("fal_storage_url", "text", "https://rest.fal.ai", "Address of fal.ai's storage."),
    Setting(
        "fal_megapixel",
        "text",
        "1000000",
        "Pixels of a megapixel on fal.ai's bill, which it does not publish.",
        choices=("1000000", "1048576"),
    ),
    Setting(
        "openai",
        "upstreams",
        (),
        "Other servers that speak OpenAI's images API: [[openai]] tables in the file, a JSON list in the environment.",
    ),
    Setting("playground", "switch", True, "Let the page work without a key, on what is free."),
    Setting(
        "playground_budget",
        "number",
        0.0,
        "Dollars that all requests of the page without a key may cost together on one day (UTC).",
        0,
        high=1_000_000,
    ),
    Setting(
        "playground_rate",
        "integer",
        20,
        "Pictures that the page may ask for without a key, per minute and address; of dry runs six times as many.",
        1,
        high=1_000_000,
    ),
    Setting(
        "playground_pixels",
        "integer",
        25_000_000,
        "Largest result of the page without a key on a server that has keys, in pixels.",
        1,
    ),
    Setting("drain_timeout", "number", 30.0, "Seconds that running requests get to finish after SIGTERM.", 0),
    Setting(
        "log_level",
        "text",
        "info",
        "The least important log lines that are written: debug, info, warning or error.",
        None,
        LEVELS,
    ),
)

BY_NAME: Mapping[str, Setting] = {row.name: row for row in SETTINGS}
