"""The walk of an output folder: plain files are taken, everything else is refused by name."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from app.runner.outputs import OutputFile, OutputRefused, OutputWalk, RefusalReason, walk_outputs


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def walk(folder: Path, *, max_files: int = 100, max_bytes: int = 1_000_000, max_depth: int = 8) -> OutputWalk:
    return walk_outputs(folder, max_files=max_files, max_bytes=max_bytes, max_depth=max_depth)


def paths(found: OutputWalk) -> list[str]:
    return [file.relative_path for file in found.files]


def refusals(found: OutputWalk) -> dict[str, RefusalReason]:
    return {refusal.path: refusal.reason for refusal in found.refusals}


def read(file: OutputFile) -> bytes:
    with file.opened() as fd:
        return os.pread(fd, 1 << 20, 0)


def test_plain_files_are_found_in_order_at_every_level(out: Path) -> None:
    (out / "models" / "v1").mkdir(parents=True)
    (out / "models" / "v1" / "tree.joblib").write_bytes(b"tree")
    (out / "b.csv").write_bytes(b"bb")
    (out / "Größe 1.csv").write_bytes(b"")
    (out / "empty folder").mkdir()
    found = walk(out)
    assert paths(found) == ["Größe 1.csv", "b.csv", "models/v1/tree.joblib"]
    assert [file.size_bytes for file in found.files] == [0, 2, 4]
    assert [read(file) for file in found.files] == [b"", b"bb", b"tree"]
    assert found.refusals == []


def test_a_folder_that_the_stage_removed_is_empty(tmp_path: Path) -> None:
    assert walk(tmp_path / "absent") == OutputWalk()


def test_a_link_in_place_of_the_output_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    found = walk(tmp_path / "out")
    assert paths(found) == []
    assert refusals(found) == {".": RefusalReason.OUTPUT_CHANGED}


def test_links_are_refused_and_never_followed(out: Path) -> None:
    (out / "ok.txt").write_text("ok")
    (out / "leak").symlink_to("/etc/passwd")
    (out / "root").symlink_to("/")
    (out / "loop").symlink_to("loop")
    (out / "environment").symlink_to("/proc/self/environ")
    found = walk(out)
    assert paths(found) == ["ok.txt"]
    assert refusals(found) == dict.fromkeys(["environment", "leak", "loop", "root"], RefusalReason.NOT_A_FILE)
    assert "leak: it is a symbolic link" in {str(refusal).split(",")[0] for refusal in found.refusals}


@pytest.mark.timeout(10)
def test_pipes_and_sockets_are_refused_without_waiting_for_them(out: Path) -> None:
    os.mkfifo(out / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(out / "socket"))
        found = walk(out)
    assert refusals(found) == {"pipe": RefusalReason.NOT_A_FILE, "socket": RefusalReason.NOT_A_FILE}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_devices_are_refused(out: Path) -> None:
    try:
        os.mknod(out / "zero", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this container may not make device nodes")
    assert refusals(walk(out)) == {"zero": RefusalReason.NOT_A_FILE}


def test_a_hard_link_to_a_file_elsewhere_is_refused(out: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (out / "mine").hardlink_to(secret)
    assert refusals(walk(out)) == {"mine": RefusalReason.HARD_LINK}


@pytest.mark.parametrize(
    "name",
    [b"new\nline", b"tab\there", b"escape\x1b[2J", b"not-utf8-\xff\xfe", b"back\\slash", b"c1-\xc2\x85"],
)
def test_names_that_could_mislead_are_refused_and_printed_with_escapes(out: Path, name: bytes) -> None:
    (out / os.fsdecode(name)).write_text("x")
    found = walk(out)
    assert paths(found) == []
    (refusal,) = found.refusals
    assert refusal.reason is RefusalReason.BAD_NAME
    assert refusal.message.isprintable()
    refusal.message.encode()


def test_a_folder_with_a_bad_name_is_refused_with_all_it_holds(out: Path) -> None:
    (out / "a\\b").mkdir()
    (out / "a\\b" / "file").write_text("x")
    assert refusals(walk(out)) == {"a\\b": RefusalReason.BAD_NAME}


def test_a_path_too_long_for_any_store_is_refused(out: Path) -> None:
    deep = out.joinpath(*["x" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    (refusal,) = walk(out).refusals
    assert refusal.reason is RefusalReason.BAD_NAME
    assert len(refusal.path) < 1100


def test_two_spellings_of_one_name_are_refused(out: Path) -> None:
    (out / "caf\u00e9").write_text("composed")
    (out / "cafe\u0301").write_text("decomposed")
    found = walk(out)
    assert len(found.files) == 1
    assert [refusal.reason for refusal in found.refusals] == [RefusalReason.NAME_COLLISION]


def test_two_thousand_files_are_walked_and_one_more_than_allowed_ends_the_walk(out: Path) -> None:
    for number in range(2000):
        (out / f"{number:04d}.txt").write_bytes(b"x")
    assert len(walk(out, max_files=2000).files) == 2000
    too_many = walk(out, max_files=1999)
    assert len(too_many.files) == 1999
    assert refusals(too_many) == {"1999.txt": RefusalReason.TOO_MANY_FILES}
    assert refusals(walk(out, max_files=10)) == {".": RefusalReason.TOO_MANY_FILES}


def test_folders_are_counted_too(out: Path) -> None:
    for number in range(5):
        (out / f"{number}").mkdir()
    assert refusals(walk(out, max_files=4)) == {"4": RefusalReason.TOO_MANY_FILES}


def test_more_bytes_than_allowed_end_the_walk(out: Path) -> None:
    (out / "a").write_bytes(bytes(60))
    (out / "b").write_bytes(bytes(41))
    (out / "c").write_bytes(bytes(1))
    found = walk(out, max_bytes=100)
    assert paths(found) == ["a"]
    assert refusals(found) == {"b": RefusalReason.TOO_MANY_BYTES}


def test_a_folder_that_is_too_deep_is_refused_and_its_siblings_are_collected(out: Path) -> None:
    folder_fd = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(300):
        os.mkdir("d", dir_fd=folder_fd)
        child_fd = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder_fd)
        os.close(folder_fd)
        folder_fd = child_fd
    os.close(folder_fd)
    (out / "z").write_text("z")
    found = walk(out, max_depth=4)
    assert paths(found) == ["z"]
    assert refusals(found) == {"d/d/d/d": RefusalReason.TOO_DEEP}


def test_a_million_links_don_t_fill_the_memory(out: Path) -> None:
    for number in range(300):
        (out / f"link-{number}").symlink_to("nowhere")
    assert len(walk(out, max_files=1000).refusals) == 100


def swap_for_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def swap_for_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def rewrite_with_the_old_time(path: Path) -> None:
    """Other bytes, the same inode, size and modification time: only the time of the inode's change differs."""
    before = path.stat()
    path.write_bytes(b"another"[: before.st_size])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )


def swap_for_another_file(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"content")


def swap_folder_for_link(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to("/etc")


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "swap",
    [
        Path.unlink,
        swap_for_link,
        swap_for_pipe,
        swap_for_another_file,
        swap_folder_for_link,
        lambda path: path.write_bytes(b"longer content"),
        lambda path: path.with_name("second-name").hardlink_to(path),
        rewrite_with_the_old_time,
    ],
)
def test_a_file_swapped_after_the_walk_is_refused(out: Path, swap: Callable[[Path], object]) -> None:
    path = out / "folder" / "passwd"
    path.parent.mkdir()
    path.write_bytes(b"content")
    (file,) = walk(out).files
    swap(path)
    with pytest.raises(OutputRefused) as refused:
        read(file)
    assert refused.value.reason is RefusalReason.OUTPUT_CHANGED
    assert refused.value.path == "folder/passwd"


def test_a_link_in_place_of_a_file_is_not_opened(out: Path) -> None:
    (out / "file").write_bytes(b"content")
    (file,) = walk(out).files
    swap_for_link(out / "file")
    with pytest.raises(OutputRefused, match="something else took its place"):
        read(file)


def test_a_file_written_to_while_it_is_read_is_refused(out: Path) -> None:
    (out / "log").write_bytes(b"first")
    (file,) = walk(out).files
    with pytest.raises(OutputRefused, match="changed while it was collected"), file.opened():
        (out / "log").write_bytes(b"second")


def test_no_descriptor_is_left_open(out: Path) -> None:
    (out / "a" / "b").mkdir(parents=True)
    (out / "a" / "b" / "file").write_text("x")
    (out / "leak").symlink_to("/etc/passwd")
    before = list(Path("/proc/self/fd").iterdir())
    for file in walk(out).files:
        read(file)
    assert list(Path("/proc/self/fd").iterdir()) == before
