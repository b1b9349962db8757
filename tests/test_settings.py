"""Settings are read from the environment and checked at once; their secrets are never printed."""

from __future__ import annotations

import os
from pathlib import Path

import pydantic
import pytest

from app.errors import StartupError
from app.settings import Settings, load_settings, settings_table

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in settings_table():
        monkeypatch.delenv(row.name, raising=False)


def test_defaults_suit_a_laptop() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert (settings.host, settings.port) == ("127.0.0.1", 9095)
    assert settings.max_concurrent_pipelines == 5
    assert settings.pipeline_timeout == 3600
    assert settings.max_concurrent_stages >= 2
    assert settings.stage_log_limit_bytes == 64 * 1024 * 1024
    assert settings.home.is_absolute()


@pytest.mark.skipif(os.geteuid() != 0, reason="root's home differs from a user's")
def test_root_stores_its_data_in_var_lib() -> None:
    assert load_settings().home == Path("/var/lib/ml-pipeline-thing")


def test_every_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "DATABASE_URL": "postgres://u:p@h/d",
        "HOST": "localhost",
        "PORT": "0",
        "MAX_CONCURRENT_PIPELINES": "7",
        "PIPELINE_TIMEOUT": "1.5",
        "MLP_HOME": "/srv/mlp",
        "MLP_MAX_CONCURRENT_STAGES": "3",
        "MLP_WORKER_CPUS": "2.5",
        "MLP_WORKER_MEMORY_MB": "4096",
        "MLP_LEASE_SECONDS": "20",
        "MLP_LOST_AFTER_SECONDS": "120",
        "MLP_ENVIRONMENT": "production",
        "MLP_LOG_LEVEL": "WARNING",
        "MLP_LOG_FORMAT": "json",
        "MLP_API_TOKEN": TOKEN,
        "MLP_ALLOWED_HOSTS": "a.example, b.example,",
        "MLP_ALLOWED_ORIGINS": "https://a.example",
        "MLP_TRUSTED_DOCUMENTS": "/srv/documents.json",
        "MLP_COMPILED_GRAPHQL": "false",
        "MLP_IMPORT_FOLDER": "/srv/data",
        "MLP_GRACE_SECONDS": "0",
        "MLP_STAGE_LOG_LIMIT_BYTES": "1MiB",
        "MLP_ARTIFACT_LIMIT_BYTES": "1000",
        "MLP_ARTIFACT_LIMIT_FILES": "9",
        "MLP_DATABASE_POOL_SIZE": "4",
        "MLP_WORKER": "false",
        "MLP_RUN_RETENTION_DAYS": "365",
        "MLP_SAMPLE_RETENTION_DAYS": "0.5",
        "MLP_EVENT_RETENTION_DAYS": "90",
        "MLP_LOG_RETENTION_DAYS": "60",
        "MLP_DISK_RESERVE_BYTES": "0",
    }
    assert set(texts) == {row.name for row in settings_table()}
    for name, text in texts.items():
        monkeypatch.setenv(name, text)
    settings = load_settings()
    assert settings.api_token is not None
    assert settings.api_token.get_secret_value() == TOKEN
    assert settings.model_dump(exclude={"api_token"}) == {
        "database_url": "postgresql+asyncpg://u:p@h/d",
        "host": "localhost",
        "port": 0,
        "max_concurrent_pipelines": 7,
        "pipeline_timeout": 1.5,
        "home": Path("/srv/mlp"),
        "max_concurrent_stages": 3,
        "worker_cpus": 2.5,
        "worker_memory_mb": 4096,
        "lease_seconds": 20,
        "lost_after_seconds": 120,
        "environment": "production",
        "log_level": "warning",
        "log_format": "json",
        "allowed_hosts": ("a.example", "b.example"),
        "allowed_origins": ("https://a.example",),
        "trusted_documents": Path("/srv/documents.json"),
        "compiled_graphql": False,
        "import_folder": Path("/srv/data"),
        "grace_seconds": 0,
        "stage_log_limit_bytes": 2**20,
        "artifact_limit_bytes": 1000,
        "artifact_limit_files": 9,
        "database_pool_size": 4,
        "worker": False,
        "run_retention_days": 365,
        "sample_retention_days": 0.5,
        "event_retention_days": 90,
        "log_retention_days": 60,
        "disk_reserve_bytes": 0,
    }


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("PORT", "")
    assert (load_settings().database_url, load_settings().port) == (None, 9095)


def test_an_override_takes_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1234")
    assert load_settings(port=0).port == 0


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("PORT", "sieben", "PORT: input should be a valid integer"),
        ("PORT", "65536", "PORT: input should be less than or equal to 65535"),
        (
            "MAX_CONCURRENT_PIPELINES",
            "0",
            "MAX_CONCURRENT_PIPELINES: input should be greater than or equal to 1",
        ),
        ("MLP_LOG_LEVEL", "loud", "MLP_LOG_LEVEL: input should be 'debug', 'info', 'warning' or 'error'"),
        ("MLP_API_TOKEN", "geheim", "MLP_API_TOKEN: must have at least 32 characters"),
        ("DATABASE_URL", "geheim", "DATABASE_URL: must look like postgresql://"),
        ("DATABASE_URL", "sqlite:///geheim.db", "DATABASE_URL: must start with postgresql://, not sqlite://"),
        ("DATABASE_URL", "postgresql+psycopg://u:geheim@h/d", "DATABASE_URL: must start with postgresql://"),
        ("DATABASE_URL", "postgresql://u:geheim@h/d?sslmode=on", "DATABASE_URL: sslmode must be one of"),
        (
            "DATABASE_URL",
            "postgresql://u:geheim@h/d?channel_binding=require",
            "channel_binding=require is not",
        ),
    ],
)
def test_a_wrong_value_is_reported_in_one_line_with_its_variable_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError) as refusal:
        load_settings()
    message = str(refusal.value)
    assert complaint in message
    assert "geheim" not in message
    assert "\n" not in message
    assert refusal.value.exit_code == 78
    assert refusal.value.__suppress_context__


def test_all_wrong_values_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("MLP_GRACE_SECONDS", "-1")
    with pytest.raises(StartupError, match=r"PORT: .*; MLP_GRACE_SECONDS: "):
        load_settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_public_address_needs_a_token(host: str) -> None:
    with pytest.raises(StartupError, match=r"set MLP_API_TOKEN .*, or HOST=127\.0\.0\.1"):
        load_settings(host=host)
    assert load_settings(host=host, api_token=TOKEN).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_loopback_address_needs_no_token(host: str) -> None:
    assert load_settings(host=host).host == host


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(api_token=TOKEN, database_url="postgresql://u:geheim@h/d")
    assert TOKEN not in f"{settings!r} {settings}"
    assert "geheim" not in f"{settings!r} {settings}"


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError):
        load_settings().port = 1


def test_file_called_env_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1234\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().port == 9095


def test_table_of_settings_is_the_same_on_every_machine() -> None:
    rows = {row.name: row for row in settings_table()}
    assert len(rows) == len(Settings.model_fields)
    assert all(row.description.endswith((".", "-")) for row in rows.values())
    assert rows["PORT"].default == "9095"
    assert rows["MLP_STAGE_LOG_LIMIT_BYTES"].default == "64MiB"
    assert rows["MLP_HOME"].default == rows["MLP_MAX_CONCURRENT_STAGES"].default == ""
