"""The disk reserve: seen on the real file system, whose free space no test has to fill."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.storage.disk import DiskReserve


def test_there_is_room_as_long_as_more_is_free_than_is_to_stay_free(tmp_path: Path) -> None:
    free_bytes = shutil.disk_usage(tmp_path).free
    assert DiskReserve(tmp_path, 0).shortage() is None
    assert DiskReserve(tmp_path, free_bytes // 2).shortage() is None


def test_a_shortage_says_how_much_is_missing_and_names_no_folder(tmp_path: Path) -> None:
    shortage = DiskReserve(tmp_path, 1 << 60).shortage()
    assert shortage is not None
    assert "1099511627776 MiB are to stay free" in shortage
    assert str(tmp_path) not in shortage


def test_a_folder_that_is_gone_counts_as_a_shortage(tmp_path: Path) -> None:
    assert DiskReserve(tmp_path / "gone", 0).shortage() == "can't be asked (No such file or directory)"
