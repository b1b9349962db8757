"""What may be imported from the folder, and the errors for the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import NotFound
from app.storage.imports import Imports
from app.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize("path", ["link", "linked/secret", "data/link"])
async def test_a_link_is_refused_and_said_to_be_one(tmp_path: Path, store: LocalStore, path: str) -> None:
    folder = tmp_path / "imports"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "data" / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(NotFound, match=r"MLP_IMPORT_FOLDER: symbolic links are not followed\.$"):
        await Imports(store, folder, 1 << 20).file(path)


@pytest.mark.parametrize(
    ("path", "message"), [("file/x", "Not a directory"), ("none", "No such file or directory")]
)
async def test_other_errors_have_the_words_of_the_system(
    tmp_path: Path, store: LocalStore, path: str, message: str
) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(NotFound, match=message):
        await Imports(store, tmp_path, 1 << 20).file(path)
