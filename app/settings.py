"""The settings, read once from the environment and checked before anything starts."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import StartupError

TOKEN_CHARACTERS = 32
_APPLICATION = "ml-pipeline-thing"
_ROOT_HOME = Path("/var/lib") / _APPLICATION


def _default_home() -> Path:
    return _ROOT_HOME if os.geteuid() == 0 else Path(platformdirs.user_data_dir(_APPLICATION))


def _usable_cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _default_concurrent_stages() -> int:
    return max(2, _usable_cpus())


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part for word in value.split(",") if (part := word.strip()))
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _long_enough(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < TOKEN_CHARACTERS:
        raise ValueError(f"must have at least {TOKEN_CHARACTERS} characters (openssl rand -hex 32 makes one)")
    return token


def _database_url(url: str) -> str:
    # Imported late: a client without DATABASE_URL does not load SQLAlchemy.
    from app.database import urls

    return urls.normalised(url)


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


_Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
_Positive = Annotated[int, Field(ge=1)]
_Days = Annotated[float, Field(gt=0, le=36_500)]


class Settings(BaseSettings):
    """The settings. Sizes are in bytes (``64MiB`` is accepted), times in seconds."""

    model_config = SettingsConfigDict(
        frozen=True, case_sensitive=True, env_ignore_empty=True, extra="forbid", hide_input_in_errors=True
    )

    database_url: Annotated[str, AfterValidator(_database_url)] | None = Field(
        default=None,
        alias="DATABASE_URL",
        repr=False,
        description="PostgreSQL 13 or newer, `postgresql://user:password@host:5432/name`, with libpq's parameters "
        "such as `?sslmode=verify-full`. Unset: an embedded PostgreSQL under MLP_HOME.",
    )
    host: str = Field(
        default="127.0.0.1",
        alias="HOST",
        description="Address to listen on. Any but a loopback address requires MLP_API_TOKEN.",
    )
    port: int = Field(
        default=9095, ge=0, le=65535, alias="PORT", description="Port to listen on; 0 picks a free one."
    )
    max_concurrent_pipelines: _Positive = Field(
        default=5,
        alias="MAX_CONCURRENT_PIPELINES",
        description="Runs that may execute at the same time; further runs wait as PENDING.",
    )
    pipeline_timeout: float = Field(
        default=3600,
        gt=0,
        alias="PIPELINE_TIMEOUT",
        description="Seconds after which a run is stopped, unless its pipeline has a timeout of its own.",
    )
    home: Annotated[Path, AfterValidator(_absolute)] = Field(
        default_factory=_default_home,
        alias="MLP_HOME",
        description="Folder for everything that this server stores: the embedded database, attempts, artifacts. "
        "Default: the user's data folder, for root /var/lib/ml-pipeline-thing.",
    )
    max_concurrent_stages: _Positive = Field(
        default_factory=_default_concurrent_stages,
        alias="MLP_MAX_CONCURRENT_STAGES",
        description="Stages that this worker executes at the same time. Default: the number of CPUs, at least 2.",
    )
    worker_cpus: float | None = Field(
        default=None,
        gt=0,
        alias="MLP_WORKER_CPUS",
        description="CPUs that the stages on this worker may claim together (`resources.cpus`, else 1 each). Default: "
        "the number of CPUs, at least MLP_MAX_CONCURRENT_STAGES.",
    )
    worker_memory_mb: _Positive | None = Field(
        default=None,
        alias="MLP_WORKER_MEMORY_MB",
        description="Memory in MB that the stages on this worker may claim together (`resources.memoryMb`). Unset: "
        "unlimited.",
    )
    lease_seconds: float = Field(
        default=30,
        ge=1,
        alias="MLP_LEASE_SECONDS",
        description="Seconds for which a worker counts as alive after a heartbeat; it sends four in that time.",
    )
    lost_after_seconds: float = Field(
        default=600,
        ge=1,
        alias="MLP_LOST_AFTER_SECONDS",
        description="Seconds after the end of its lease until the stages of a silent host are LOST and tried again "
        "elsewhere.",
    )
    environment: str = Field(
        default="development",
        min_length=1,
        alias="MLP_ENVIRONMENT",
        description="Name of this installation: the `environment` of runs that state none.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info",
        alias="MLP_LOG_LEVEL",
        description="Lowest level that is logged: debug, info, warning or error.",
    )
    log_format: Annotated[Literal["console", "json"], BeforeValidator(_lower)] = Field(
        default="console",
        alias="MLP_LOG_FORMAT",
        description="Log lines for people (console) or for machines (json).",
    )
    api_token: Annotated[SecretStr, AfterValidator(_long_enough)] | None = Field(
        default=None,
        alias="MLP_API_TOKEN",
        description="Secret that clients must send, at least 32 characters. Its holder can run any command here.",
    )
    allowed_hosts: _Words = Field(
        default=(),
        alias="MLP_ALLOWED_HOSTS",
        description="Host names that clients may use for this server besides HOST and the loopback names, separated "
        "by commas.",
    )
    allowed_origins: _Words = Field(
        default=(),
        alias="MLP_ALLOWED_ORIGINS",
        description="Origins of web pages that may use the API besides the server's own pages, separated by commas.",
    )
    trusted_documents: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        default=None,
        alias="MLP_TRUSTED_DOCUMENTS",
        description="JSON file of GraphQL documents by hash, as client builds write it; all other documents are "
        "refused.",
    )
    compiled_graphql: bool = Field(
        default=True,
        alias="MLP_COMPILED_GRAPHQL",
        description="Whether compiled plans execute GraphQL operations. If false, graphql-core does: the same "
        "answers, several times slower.",
    )
    import_folder: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        default=None,
        alias="MLP_IMPORT_FOLDER",
        description="Folder whose files clients may register as artifacts. Unset: they can't register files.",
    )
    grace_seconds: float = Field(
        default=10,
        ge=0,
        alias="MLP_GRACE_SECONDS",
        description="Seconds between SIGTERM and SIGKILL when a stage is stopped.",
    )
    stage_log_limit_bytes: ByteSize = Field(
        default=ByteSize(64 * 2**20),
        gt=0,
        alias="MLP_STAGE_LOG_LIMIT_BYTES",
        description="Output that is stored of one attempt of a stage.",
    )
    artifact_limit_bytes: ByteSize = Field(
        default=ByteSize(10 * 2**30),
        gt=0,
        alias="MLP_ARTIFACT_LIMIT_BYTES",
        description="Total size of the artifacts of one stage; it fails if they are larger.",
    )
    artifact_limit_files: _Positive = Field(
        default=1000,
        alias="MLP_ARTIFACT_LIMIT_FILES",
        description="Number of artifacts of one stage; it fails if there are more.",
    )
    database_pool_size: _Positive = Field(
        default=10,
        alias="MLP_DATABASE_POOL_SIZE",
        description="Database connections that stay open; under load up to twice as many, and 8 more for queries.",
    )
    worker: bool = Field(
        default=True,
        alias="MLP_WORKER",
        description="Whether this server executes stages itself, or only serves the API.",
    )
    run_retention_days: _Days | None = Field(
        default=None,
        alias="MLP_RUN_RETENTION_DAYS",
        description="Days after its end (or the last edit of its notes or tags) until a run is deleted with its "
        "artifacts; runs with registered models stay. Unset: never.",
    )
    sample_retention_days: _Days = Field(
        default=30,
        alias="MLP_SAMPLE_RETENTION_DAYS",
        description="Days after the end of a run until its CPU and memory samples are deleted; peaks and metrics stay.",
    )
    event_retention_days: _Days | None = Field(
        default=None,
        alias="MLP_EVENT_RETENTION_DAYS",
        description="Days after the end of a run until its events are deleted. Unset: with the run.",
    )
    log_retention_days: _Days | None = Field(
        default=None,
        alias="MLP_LOG_RETENTION_DAYS",
        description="Days after the end of a run until its captured logs are deleted; their last lines stay. "
        "Unset: with the run.",
    )
    disk_reserve_bytes: ByteSize = Field(
        default=ByteSize(2**30),
        alias="MLP_DISK_RESERVE_BYTES",
        description="Free space on the disk of MLP_HOME below which this worker starts nothing new.",
    )

    @property
    def claimable_cpus(self) -> float:
        """MLP_WORKER_CPUS; if unset, enough for MLP_MAX_CONCURRENT_STAGES stages that claim the default of one CPU."""
        return self.worker_cpus or float(max(_usable_cpus(), self.max_concurrent_stages))


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the table in docs/settings.md."""

    name: str
    default: str
    description: str


def load_settings(**overrides: object) -> Settings:
    """The settings of the environment, overridden by attribute name (``port=0``) from the command line.

    Raises a ``StartupError`` that names the variables and their problems, without any value.
    """
    given = {_variable(name): value for name, value in overrides.items()}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise StartupError("; ".join(map(_problem, error.errors()))) from None
    _check_public_bind(settings)
    return settings


def settings_table() -> list[SettingRow]:
    """All settings with their defaults and descriptions, in order of declaration."""
    return [
        SettingRow(_variable(name), _default_text(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _variable(name: str) -> str:
    return Settings.model_fields[name].alias or name


def _problem(error: ErrorDetails) -> str:
    own = error.get("ctx", {}).get("error")
    reason = str(own) if own else error["msg"][:1].lower() + error["msg"][1:]
    return f"{error['loc'][0]}: {reason}"


def _check_public_bind(settings: Settings) -> None:
    if settings.api_token is None and not _is_loopback(settings.host):
        raise StartupError(
            f"HOST={settings.host} would let every client that can connect run commands here: "
            "set MLP_API_TOKEN (at least 32 characters), or HOST=127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _default_text(default: Any) -> str:
    """A default as it is written in the environment; empty if there is none, or it depends on the machine."""
    match default:
        case ByteSize():
            return default.human_readable(separator="").replace(".0", "")
        case bool():
            return str(default).lower()
        case str() | int() | float():
            return str(default)
        case _:
            return ""
