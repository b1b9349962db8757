"""Models: what made them is found, what they would import is listed, and none of it is executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.inspection.facts import Budget, Inspection, Unreadable
from app.inspection.formats import inspect

FILES = Path(__file__).parent / "files"
X = np.random.default_rng(7).random((60, 4))
Y = (X[:, 0] > 0.5).astype(int)


def inspected(path: Path, name: str | None = None) -> Inspection:
    return inspect(path, name or path.name, Budget())


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickled_model_names_its_framework_and_algorithm(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(RandomForestClassifier(3).fit(X, Y), protocol))
    found = inspected(path)
    assert (found.format, found.framework) == ("pickle", "scikit-learn")
    assert found.details["algorithm"] == "RandomForestClassifier"
    assert found.details["complete"] is True
    assert found.details["dangerousImports"] in ([], ["_codecs.encode"])


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3)])
def test_joblib_files_are_known_with_every_compression(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(LogisticRegression().fit(X, Y), path, compress=compress)
    found = inspected(path)
    assert (found.format, found.framework) == ("joblib", "scikit-learn")
    assert found.details["algorithm"] == "LogisticRegression"
    assert found.details["dangerousImports"] == []


def test_a_pipeline_of_steps_is_one(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.joblib"
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y), path)
    assert inspected(path).details["algorithm"] == "Pipeline"


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_is_exposed_and_not_executed(tmp_path: Path, protocol: int) -> None:
    witness = tmp_path / "executed"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"model": Evil(f"touch {witness}")}, protocol))
    assert inspected(path).details["dangerousImports"] == ["posix.system"]
    assert not witness.exists()


def test_a_name_put_together_behind_other_texts_is_still_found(tmp_path: Path) -> None:
    path = tmp_path / "hidden.pkl"
    path.write_bytes(
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x8c\x05dummy0\x8c\x04numb00h\x00h\x01\x93\x8c\x02id\x85R."
    )
    assert inspected(path).details["dangerousImports"] == ["posix.system"]


def test_a_computed_name_is_reported_as_computed(tmp_path: Path) -> None:
    path = tmp_path / "computed.pkl"
    path.write_bytes(b"\x80\x04cbuiltins\nstr\n)R\x8c\x06system\x93.")
    assert inspected(path).details["dangerousImports"] == ["<computed>"]


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"nonsense" * 100])
def test_what_is_no_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(Unreadable):
        inspected(path)


def test_random_bytes_never_crash_the_reading_of_pickles(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    for seed in range(300):
        path.write_bytes(b"\x80\x04" + np.random.default_rng(seed).bytes(200))
        try:
            inspected(path)
        except Unreadable:
            continue


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_archives_of_pytorch_are_known(tmp_path: Path) -> None:
    members = {
        "archive/data.pkl": pickle.dumps({"w": 1}, 2),
        "archive/version": b"3",
        "archive/data/0": bytes(9),
    }
    found = inspected(write_zip(tmp_path / "m.pt", members))
    assert (found.format, found.framework) == ("pytorch", "pytorch")
    found = inspected(write_zip(tmp_path / "s.pt", members | {"archive/constants.pkl": b"x"}))
    assert found.format == "torchscript"


def test_archives_of_keras_are_known(tmp_path: Path) -> None:
    members = {"config.json": b"{}", "metadata.json": b'{"keras_version": "3.1"}', "model.weights.h5": b"x"}
    found = inspected(write_zip(tmp_path / "m.keras", members))
    assert (found.format, found.framework, found.details) == ("keras", "keras", {"kerasVersion": "3.1"})


def test_other_archives_are_only_named(tmp_path: Path) -> None:
    assert inspected(write_zip(tmp_path / "book.xlsx", {"xl/a.xml": b"x"})) == Inspection(format="xlsx")


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(Unreadable, match="archive"):
        inspected(tmp_path / "m.pt")


def test_safetensors_are_described_by_their_header(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "F32", "shape": [10, 20], "data_offsets": [0, 800]},
        "b": {"dtype": "F16", "shape": [20], "data_offsets": [800, 840]},
    }
    raw = json.dumps(header).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(840))
    found = inspected(path)
    assert (found.format, found.framework) == ("safetensors", "pytorch")
    assert found.details["parameterCount"] == 220
    assert found.details["tensors"]["w"] == {"dtype": "F32", "shape": [10, 20]}


def test_a_broken_header_of_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((20).to_bytes(8, "little") + b'{"w": {"shape": 1}}   ')
    with pytest.raises(Unreadable, match="header"):
        inspected(path)


def test_onnx_is_described_by_its_outermost_fields() -> None:
    found = inspected(FILES / "relu.onnx")
    assert (found.format, found.framework) == ("onnx", "onnx")
    assert found.details == {"irVersion": 14, "producer": "spike", "producerVersion": "1.0", "graphBytes": 55}


@pytest.mark.parametrize(
    "content", [b"", b"\x08\x0e", b"\x08" + b"\xff" * 20, b"\x3a\xff\xff\x7f" + bytes(20)]
)
def test_what_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(Unreadable):
        inspected(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("content", "name", "file_format", "framework"),
    [
        (b"GGUF\x03\x00\x00\x00" + (5).to_bytes(8, "little") + bytes(8), "m.gguf", "gguf", "ggml"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "m.h5", "hdf5", None),
        (b"tree\nversion=v4\nnum_class=1\n", "m.txt", "lightgbm-text", "lightgbm"),
        (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{", "m.ubj", "xgboost-ubj", "xgboost"),
        (b'{"learner": {}, "version": [3, 2, 0]}', "m.json", "xgboost-json", "xgboost"),
        (b"anything", "notes.md", "md", None),
        (b"anything", "Makefile", None, None),
    ],
)
def test_other_files_are_known_by_their_first_bytes_or_their_name(
    tmp_path: Path, content: bytes, name: str, file_format: str | None, framework: str | None
) -> None:
    (tmp_path / "blob").write_bytes(content)
    found = inspected(tmp_path / "blob", name)
    assert (found.format, found.framework) == (file_format, framework)


def test_a_pickle_in_an_archive_is_read_only_up_to_a_bound(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 5_000_000)
    path = tmp_path / "m.pt"
    path.write_bytes(bomb.getvalue())
    assert inspected(path).details["complete"] is False
