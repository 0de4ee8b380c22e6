"""Settings: one frozen value object, read once from the environment or `clipgres.toml` at process start."""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from clipgres.errors import SetupError

PREFIX = "CLIPGRES_"
DEFAULT_MODEL = "openai/clip-vit-base-patch32"


def default_home() -> Path:
    """Where embedded servers keep their data: root's must lie where the PostgreSQL service user can reach it."""
    if os.geteuid() == 0:
        return Path("/var/lib/clipgres")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "clipgres"


class Settings(BaseSettings):
    """What an installation can change. Sizes are in the unit that the name ends with."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file="clipgres.toml", frozen=True, extra="forbid")

    database_url: SecretStr | None = Field(None, description="PostgreSQL to use; none: the embedded one")
    read_database_url: SecretStr | None = Field(None, description="a replica for searches")
    redis_url: SecretStr | None = Field(None, description="Redis to use; none: the embedded one")
    home: Path = Field(default_factory=default_home, description="data of the embedded servers, converted weights")
    model: str = Field(DEFAULT_MODEL, description="directory or hub id of a CLIP model; `tiny-clip`: the bundled one")
    model_revision: str | None = Field(None, description="40-hex revision of a hub model")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="where the model runs")
    threads: int | None = Field(None, ge=1, description="CPU threads of the model; none: one a core")
    admin_token: SecretStr | None = Field(None, description="needed for writes beyond loopback")
    thumbnails: bool = Field(True, description="keep a WebP of each picture, short side 256 px")

    fetch_allow: str = Field("", description="extra networks and ports that may be fetched from, comma-separated")
    fetch_threads: int = Field(32, ge=1, le=512, description="downloads at once in one worker")
    fetch_per_host: int = Field(2, ge=1, le=256, description="downloads at once from one host")
    fetch_connect_timeout_s: float = Field(5, gt=0)
    fetch_read_timeout_s: float = Field(10, gt=0)
    fetch_total_timeout_s: float = Field(30, gt=0, description="DNS, redirects and body together")
    fetch_max_redirects: int = Field(5, ge=0)
    fetch_max_bytes: int = Field(20_000_000, ge=1_000)
    fetch_robots: bool = Field(True, description="obey each host's robots.txt")
    fetch_opt_out: str = Field(
        "noai,noimageai", description="what an X-Robots-Tag may say that is obeyed; empty: nothing"
    )
    fetch_user_agent: str = Field("clipgres/0.1 (+https://github.com/clipgres/clipgres)", min_length=1)

    image_max_pixels: int = Field(50_000_000, ge=1_000)
    image_max_side: int = Field(20_000, ge=16)
    image_min_side: int = Field(16, ge=1)
    image_max_aspect: float = Field(50, ge=1)
    decode_processes: int | None = Field(None, ge=1, le=256, description="decoders beside a worker; none: one a core")
    decode_timeout_s: float = Field(10, gt=0, description="seconds that decoding one picture may take")
    decode_max_memory: int = Field(2_000_000_000, ge=500_000_000, description="bytes of memory of one decoder")
    upload_max_bytes: int = Field(10_000_000, ge=1_000)
    list_max_bytes: int = Field(2_000_000_000, ge=1_000, description="a list that is uploaded to the web application")
    caption_max_chars: int = Field(10_000, ge=1, le=100_000)

    batch_images: int = Field(256, ge=1, le=4_096, description="jobs claimed at once")
    model_batch: int = Field(32, ge=1, le=4_096, description="pictures in one run of the model")
    retry_base_s: float = Field(5, gt=0, description="first back-off; each further one is four times as long")
    lease_s: float = Field(30, gt=1)
    host_failures: int = Field(10, ge=1, description="failures in a row after which a host is left alone for a while")
    recheck_days: float = Field(
        30, ge=0, le=36_500, description="days until a link is looked at again at first; 0: never"
    )
    index_rows: int = Field(5_000, ge=1, description="rows from which a collection gets its HNSW index")
    search_timeout_ms: int = Field(5_000, ge=1)
    search_max_scan_tuples: int = Field(20_000, ge=1, description="rows one scan of the index may look at")
    reader_limit_s: float = Field(60, gt=0, description="seconds a statement or transaction of a reader may take")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over `clipgres.toml` in the working directory."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Raises:
        SetupError: an unknown `CLIPGRES_*` name (with the nearest known one) or a value that does not fit.
    """
    for name in sorted(os.environ):
        field = name.removeprefix(PREFIX).lower()
        if name.startswith(PREFIX) and field not in Settings.model_fields:
            raise SetupError(f"unknown setting {name}{_suggestion(field)}")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SetupError(_first_problem(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"clipgres.toml is not TOML: {error}") from error


def _suggestion(field: str) -> str:
    near = difflib.get_close_matches(field, Settings.model_fields, n=1)
    return f"; did you mean {PREFIX}{near[0].upper()}?" if near else ""


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    field = str(problem["loc"][0]) if problem["loc"] else "settings"
    unknown = problem["type"] == "extra_forbidden"
    hint = _suggestion(field) if unknown else ""
    return f"setting {PREFIX}{field.upper()}: {'unknown' if unknown else problem['msg']}{hint}"
