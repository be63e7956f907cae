"""Settings, one field per setting with default, limits and description, and SETTINGS, the same as table rows.

The module is long because the table is: a field per setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import msgspec
from msgspec import Meta

from fluxvision.core.openai_servers import OpenAIServer

PREFIX = "FLUXVISION_"
MASK = "***"

Kind = Literal["text", "integer", "number", "switch", "address", "path", "secret", "secrets", "list", "openai_servers"]

Address = Annotated[str, Meta(extra={"kind": "address"})]
Folder = Annotated[str, Meta(extra={"kind": "path"})]
Secret = Annotated[str, Meta(extra={"kind": "secret"})]
Secrets = Annotated[tuple[str, ...], Meta(extra={"kind": "secrets"})]
Texts = Annotated[tuple[str, ...], Meta(extra={"kind": "list"})]
OpenAIServers = Annotated[tuple[OpenAIServer, ...], Meta(extra={"kind": "openai_servers"})]
KINDS: Mapping[Any, Kind] = {str: "text", int: "integer", float: "number", bool: "switch"}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings. Flags, variables and documents are made from these fields, see SETTINGS.

    The TOML key is the field's name; the environment variable is FLUXVISION_NAME, or the field's extra `variable`.
    """

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on.")] = 8000
    health_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Further port for /healthz and /readyz alone, which other connections cannot block; 0: none.",
        ),
    ] = 0
    public_url: Annotated[
        Address, Meta(description="Address that clients see, used in links; empty: taken from the request.")
    ] = ""
    api_keys: Annotated[
        Secrets,
        Meta(
            description="Keys that may call the API, or sha256:HEX of them, separated by commas; none: any key, "
            "loopback only."
        ),
    ] = ()
    cors_origins: Annotated[
        Texts,
        Meta(
            pattern=r"\*|[a-z][a-z0-9+.-]*://[^/?#@*\s]+",
            examples=["https://app.example", "http://localhost:3000", "*"],
            description="Websites whose pages may call this server from a browser, such as https://app.example, "
            "separated by commas; *: all; none: its own page only.",
        ),
    ] = ()
    admin_key: Annotated[
        Secret,
        Meta(
            description="Key, or sha256:HEX of it, that may manage keys at /v1/keys and see all usage; empty: "
            "nobody may."
        ),
    ] = ""
    allow_unauthenticated: Annotated[
        bool, Meta(description="Listen beyond loopback although no key is configured.")
    ] = False
    data_dir: Annotated[
        Folder,
        Meta(description="Folder for results and uploads; empty: a private folder under the system's temporary one."),
    ] = ""
    database_url: Annotated[
        Secret,
        Meta(
            description="PostgreSQL that several gateways share, postgresql://USER:PASSWORD@HOST/NAME; empty: SQLite "
            "in data_dir."
        ),
    ] = ""
    history: Annotated[
        bool,
        Meta(
            description="Note every request in the database, where data_dir or database_url is set; paid ones always."
        ),
    ] = True
    otlp_endpoint: Annotated[
        Address,
        Meta(
            description="OpenTelemetry collector of spans and metrics by OTLP over HTTP, such as "
            "http://127.0.0.1:4318; empty: none.",
            extra={"variable": "OTEL_EXPORTER_OTLP_ENDPOINT"},
        ),
    ] = ""
    media_url: Annotated[
        str,
        Meta(
            pattern=r"((s3|gs|az)://[^/?#@\s]+(/[^?#@\s]*)?)?",
            examples=["s3://BUCKET/PREFIX", "gs://BUCKET/PREFIX", "az://CONTAINER/PREFIX"],
            description="Object store of results and of stored jobs' pictures, such as s3://BUCKET/PREFIX (gs://, "
            "az://), which several gateways share; credentials are those of the environment; empty: a folder in "
            "data_dir.",
        ),
    ] = ""
    media_ttl: Annotated[float, Meta(ge=1, description="Seconds that a result link works.")] = 3600.0
    max_upload_bytes: Annotated[int, Meta(ge=1, description="Largest request body in bytes.")] = 100_000_000
    max_batch_bytes: Annotated[
        int, Meta(ge=1, description="Largest input file of a batch in bytes; its pictures may be URLs or in it.")
    ] = 1_000_000_000
    max_input_pixels: Annotated[int, Meta(ge=1, description="Largest input picture in pixels.")] = 100_000_000
    max_output_pixels: Annotated[int, Meta(ge=1, description="Largest result over HTTP, uncropped, in pixels.")] = (
        400_000_000
    )
    max_job_memory: Annotated[
        int,
        Meta(
            ge=0,
            description="Most bytes of memory that one picture may be planned to take; 0: a quarter of the "
            "machine's, at least 1.5 GB.",
        ),
    ] = 0
    max_frames: Annotated[int, Meta(ge=1, description="Most frames that an animated input may have.")] = 1_000
    workers: Annotated[int, Meta(ge=1, description="Pictures that are worked on at the same time.")] = 1
    queue: Annotated[
        int, Meta(ge=0, description="Requests of one key that may wait for a worker before its new ones get 429.")
    ] = 16
    threads: Annotated[int, Meta(ge=0, description="Threads of one picture; 0: one per processor core.")] = 0
    device: Annotated[
        str,
        Meta(
            pattern=r"auto|cpu|gpu(:\d+)?",
            examples=["auto", "cpu", "gpu", "gpu:1"],
            description="Where the embedded engine runs: auto (a GPU with a Vulkan driver that computes right and "
            "faster, else the CPU), cpu, gpu, or gpu:1 for the second.",
        ),
    ] = "auto"
    models_dir: Annotated[
        Folder,
        Meta(
            description="Folder of networks of your own, NAME.param with NAME.bin beside it (ncnn), "
            "NAME.safetensors or NAME.pth: each is an engine of that name; or one such file; empty: none."
        ),
    ] = ""
    cluster: Annotated[
        Address,
        Meta(
            description="Deployment on a Ray cluster that makes tiles, such as http://head:8000/fluxvision; empty: "
            "this machine does."
        ),
    ] = ""
    cluster_token: Annotated[
        Secret, Meta(description="Secret of the deployment on the cluster, the same there; empty: it needs none.")
    ] = ""
    deadline: Annotated[
        float, Meta(ge=1, description="Seconds one request may take in all; a background one, while it has its turn.")
    ] = 900.0
    upload_timeout: Annotated[
        float, Meta(ge=0.1, description="Seconds without a byte of the body before the request ends with 408.")
    ] = 30.0
    fetch_timeout: Annotated[float, Meta(ge=0.1, description="Seconds to fetch a picture given by URL.")] = 15.0
    allow_private_urls: Annotated[
        bool, Meta(description="Fetch picture URLs from private addresses too, and post webhooks there and by http.")
    ] = False
    policy: Annotated[
        Literal["quality", "price", "latency"],
        Meta(
            description="Which offer of a model goes first: the best (quality), the cheapest (price) or the "
            "fastest (latency)."
        ),
    ] = "quality"
    allow_degraded: Annotated[
        bool, Meta(description="Let the CPU engine stand in for providers that invent detail.")
    ] = True
    attempt_timeout: Annotated[
        float, Meta(ge=1, description="Seconds one remote provider may take before the next is tried.")
    ] = 300.0
    list_aliases: Annotated[
        bool,
        Meta(
            description="List the aliases of models, such as gpt-image-1, in /models too: some clients look for them."
        ),
    ] = True
    remote_parallel: Annotated[int, Meta(ge=1, description="Calls to one remote provider at the same time.")] = 64
    flux_model: Annotated[
        str, Meta(description="Folder or hub id of FLUX's weights; empty: the provider flux is not used.")
    ] = ""
    flux_engine: Annotated[
        Literal["flux2-klein-4b", "flux2-klein-base-4b", "flux1-schnell", "flux1-dev", "flux1-dev-tile"],
        Meta(
            description="Which FLUX it is: flux2-klein-4b, flux2-klein-base-4b, flux1-schnell, flux1-dev or "
            "flux1-dev-tile."
        ),
    ] = "flux2-klein-4b"
    flux_revision: Annotated[str, Meta(description="Revision of the weights at the hub; empty: the newest.")] = ""
    flux_device: Annotated[
        str,
        Meta(
            description="Where FLUX runs: auto or cuda (every GPU), mps, cpu, cuda:1, or several such as cuda:0,cuda:1."
        ),
    ] = "auto"
    flux_licence_agreed: Annotated[
        bool,
        Meta(
            description="Use flux1-dev and flux1-dev-tile: their licence, which lets no commercial service be "
            "run, was agreed to."
        ),
    ] = False
    flux_compile: Annotated[
        bool, Meta(description="Compile FLUX's blocks where the GPU can: the first tile waits for it.")
    ] = True
    flux_fp8: Annotated[
        bool,
        Meta(
            description="Store FLUX's weights in 8 bits: half the memory, slower (nothing is compiled), other results."
        ),
    ] = False
    flux_passes: Annotated[
        Literal["auto", "1", "2"],
        Meta(
            description="Passes of FLUX over a picture: 1; 2 above factor 2, the second on what the first made; "
            "auto: 2 at factor 4."
        ),
    ] = "auto"
    flux_fidelity: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="Least LR-PSNR in dB of what FLUX enlarges: how near it is, reduced again, to the "
            "source; 0: derived from creativity and the source's measured damage.",
        ),
    ] = 0.0
    flux_tile_captions: Annotated[bool, Meta(description="Let the captioner look at each tile by itself.")] = False
    flux_resume: Annotated[
        Folder,
        Meta(
            description="Folder where finished tiles wait for a job that was killed; empty: one in the user's "
            "cache; none: nowhere."
        ),
    ] = ""
    captioner: Annotated[str, Meta(description="What looks at the picture before FLUX; none: nothing does.")] = (
        "qwen3-vl-2b"
    )
    caption_model: Annotated[
        str, Meta(description="Folder or hub id of the captioner's weights; empty: its own at the hub.")
    ] = ""
    fal_key: Annotated[
        Secret, Meta(description="Key of fal.ai; empty: fal.ai is not used.", extra={"variable": "FAL_KEY"})
    ] = ""
    fal_queue_url: Annotated[Address, Meta(description="Address of fal.ai's queue.")] = "https://queue.fal.run"
    fal_storage_url: Annotated[Address, Meta(description="Address of fal.ai's storage.")] = "https://rest.fal.ai"
    fal_megapixel: Annotated[
        Literal["1000000", "1048576"],
        Meta(description="Pixels of a megapixel on fal.ai's bill, which it does not publish."),
    ] = "1000000"
    openai: Annotated[
        OpenAIServers,
        Meta(
            description="Other servers that speak OpenAI's images API: [[openai]] tables in the file, a JSON "
            "list in the environment."
        ),
    ] = ()
    playground: Annotated[bool, Meta(description="Let the page work without a key, on what is free.")] = True
    playground_budget: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000_000,
            description="Dollars that all requests of the page without a key may cost together on one day (UTC).",
        ),
    ] = 0.0
    playground_rate: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Pictures that the page may ask for without a key, per minute and address; of dry runs "
            "six times as many.",
        ),
    ] = 20
    playground_pixels: Annotated[
        int, Meta(ge=1, description="Largest result of the page without a key on a server that has keys, in pixels.")
    ] = 25_000_000
    drain_timeout: Annotated[
        float, Meta(ge=0, description="Seconds that running requests get to finish after SIGTERM.")
    ] = 30.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least important log lines that are written: debug, info, warning or error."),
    ] = "info"

    def __repr__(self) -> str:
        """Return a text without secrets."""
        return f"{type(self).__name__}(...)"

    def mask_secrets(self) -> Self:
        """Return the same settings with a mask in place of each secret."""
        return msgspec.structs.replace(self, **{row.name: _mask(row, getattr(self, row.name)) for row in SETTINGS})


class LoadedSettings(Settings, frozen=True, kw_only=True):
    """The settings, with the origin of each value."""

    origin: Mapping[str, str]
    """Where each setting comes from, by name: default, file, environment or flag."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A row of SETTINGS: one setting, made from its field."""

    name: str
    kind: Kind
    default: Any
    help: str
    variable: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    pattern: str | None
    examples: tuple[str, ...]


def _make_row(field: msgspec.structs.FieldInfo) -> Setting:
    plain, *metas = get_args(field.type)
    choices = get_args(plain) if get_origin(plain) is Literal else ()
    extra = {name: value for meta in metas for name, value in (meta.extra or {}).items()}
    return Setting(
        name=field.name,
        kind=extra.get("kind") or KINDS[str if choices else plain],
        default=field.default,
        help=metas[-1].description,
        variable=extra.get("variable", PREFIX + field.name.upper()),
        low=metas[-1].ge,
        high=metas[-1].le,
        choices=choices,
        pattern=metas[-1].pattern,
        examples=tuple(metas[-1].examples or ()),
    )


def _mask(row: Setting, value: Any) -> Any:
    match row.kind:
        case "secret":
            return MASK if value else ""
        case "secrets":
            return (MASK,) * len(value)
        case "openai_servers":
            return tuple(msgspec.structs.replace(one, key=MASK if one.key and not one.key_env else "") for one in value)
    return value


SETTINGS: tuple[Setting, ...] = tuple(map(_make_row, msgspec.structs.fields(Settings)))
BY_NAME: Mapping[str, Setting] = {row.name: row for row in SETTINGS}
