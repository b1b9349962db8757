"""Data files: rows are counted exactly, columns named and typed, and garbage is reported as garbage."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.inspection.facts import Budget, Inspection, Unreadable
from app.inspection.formats import inspect

FILES = Path(__file__).parent / "files"


def inspected(folder: Path, name: str, content: str | bytes, budget: Budget | None = None) -> Inspection:
    path = folder / "blob"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return inspect(path, name, budget or Budget())


def types(found: Inspection) -> dict[str, str]:
    assert found.schema is not None
    return {column["name"]: column["type"] + ("?" if column["nullable"] else "") for column in found.schema}


def test_a_csv_file_is_counted_and_typed_by_all_its_rows(tmp_path: Path) -> None:
    rows = [
        f"{number},{number / 2},name {number},2024-01-02,2024-01-02 03:04:05,true,{number or 'NA'},"
        for number in range(9000)
    ]
    header = "id,x,name,day,at,flag,mass,nothing"
    found = inspected(tmp_path, "data.csv", "\n".join([header, *rows]) + "\n")
    assert (found.format, found.row_count, found.column_count) == ("csv", 9000, 8)
    assert types(found) == {
        "id": "integer",
        "x": "number",
        "name": "string",
        "day": "date",
        "at": "datetime",
        "flag": "boolean",
        "mass": "integer?",
        "nothing": "string?",
    }
    assert found.details == {"delimiter": ",", "header": True, "encoding": "utf-8"}


def test_a_value_in_the_last_row_counts_as_much_as_one_in_the_first(tmp_path: Path) -> None:
    rows = ["1,1,true,2024-01-01"] * 20_000 + ["1.5,x,3,2024-01-01T00:00"]
    found = inspected(tmp_path, "data.csv", "\n".join(["a,b,c,d", *rows]))
    assert types(found) == {"a": "number", "b": "string", "c": "string", "d": "datetime"}


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", ";"), ("a.csv", "|"), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.csv", ",")]
)
def test_the_delimiter_is_found_out(tmp_path: Path, name: str, delimiter: str) -> None:
    content = "".join(f"{delimiter.join(row)}\n" for row in [["a", "b"], ["1,5", "x"], ["2,5", "y"]])
    if delimiter == ",":
        content = content.replace("1,5", '"1,5"').replace("2,5", '"2,5"')
    found = inspected(tmp_path, name, content)
    assert found.details["delimiter"] == delimiter
    assert (found.row_count, found.column_count) == (2, 2)
    assert found.format == ("tsv" if delimiter == "\t" else "csv")


def test_quoted_line_breaks_are_not_rows_and_blank_lines_neither(tmp_path: Path) -> None:
    found = inspected(tmp_path, "a.csv", 'a,b\r\n1,"two\r\nlines, one cell"\r\n\r\n2,"x ""quoted"""\r\n')
    assert (found.row_count, found.column_count) == (2, 2)


def test_numbers_in_the_first_row_mean_that_there_is_no_header(tmp_path: Path) -> None:
    found = inspected(tmp_path, "a.csv", "1,x\n2,y\n")
    assert found.row_count == 2
    assert types(found) == {"column_1": "integer", "column_2": "string"}
    assert found.details["header"] is False


def test_the_unnamed_index_column_of_pandas_is_named(tmp_path: Path) -> None:
    assert types(inspected(tmp_path, "a.csv", ",b\n0,x\n")) == {"column_1": "integer", "b": "string"}


def test_rows_of_another_width_are_counted_as_rows_and_reported(tmp_path: Path) -> None:
    found = inspected(tmp_path, "a.csv", "a,b,c\n1,2,3\n1,2\n3,4,5,6\n")
    assert (found.row_count, found.column_count) == (3, 3)
    assert found.details["raggedRows"] == 2


def test_underscores_make_no_numbers(tmp_path: Path) -> None:
    assert types(inspected(tmp_path, "a.csv", "a\n1_000\n")) == {"a": "string"}


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("latin-1", "latin-1"), ("utf-16", "utf-16")],
)
def test_the_encoding_is_found_out(tmp_path: Path, encoding: str, expected: str) -> None:
    found = inspected(tmp_path, "a.csv", "näme,b\nä,1\n".encode(encoding))
    assert types(found) == {"näme": "string", "b": "integer"}
    assert found.details["encoding"] == expected


@pytest.mark.parametrize(
    ("suffix", "compress", "compression"),
    [(".gz", gzip.compress, "gzip"), (".bz2", bz2.compress, "bzip2"), (".xz", lzma.compress, "xz")],
)
def test_compressed_text_is_read(tmp_path: Path, suffix: str, compress: Any, compression: str) -> None:
    found = inspected(tmp_path, "a.tsv" + suffix, compress(b"a\tb\n1\t2\n"))
    assert (found.format, found.row_count, found.column_count) == ("tsv", 1, 2)
    assert found.details["compression"] == compression


def test_a_compression_that_can_not_be_read_is_named_beside_the_format(tmp_path: Path) -> None:
    found = inspected(tmp_path, "a.csv.zst", b"\x28\xb5\x2f\xfd compressed")
    assert found.format == "csv"
    assert found.error == "it is compressed with Zstandard, which can't be read here"


@pytest.mark.parametrize(
    ("content", "rows", "columns"), [("", 0, 0), ("a,b\n", 0, 2), ("\n\n", 0, 0), ("a\n1\n", 1, 1)]
)
def test_small_files_are_no_error(tmp_path: Path, content: str, rows: int, columns: int) -> None:
    found = inspected(tmp_path, "a.csv", content)
    assert (found.row_count, found.column_count) == (rows, columns)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unreadable, match="not text"):
        inspected(tmp_path, name, bytes(range(256)) * 100)


def test_very_many_columns_are_counted_and_the_first_described(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(5000)]
    found = inspected(tmp_path, "a.csv", ",".join(names) + "\n" + ",".join(["1"] * 5000) + "\n")
    assert found.column_count == 5000
    assert len(types(found)) == 1000


def test_without_time_for_typing_rows_are_still_counted(tmp_path: Path) -> None:
    content = "a\n" + "1\n" * 50_000
    found = inspected(tmp_path, "a.csv", content, Budget(infer_seconds=0))
    assert found.row_count == 50_000
    assert found.details["typedRows"] == 0
    found = inspected(tmp_path, "a.csv", content, Budget(infer_seconds=0, count_seconds=0))
    assert found.row_count is None
    assert found.details["rowsRead"] > 0


def test_json_lines_are_counted_and_typed(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"a": 1, "b": True, "c": "x", "d": "2024-01-01", "e": 1, "f": [1]},
        {"a": 2, "b": None, "c": "y", "d": "2024-01-01T10:00:00", "e": 2.5, "f": {"x": 1}, "g": 1},
    ] * 1000
    content = "\n".join(map(json.dumps, records)) + "\n\nnot json\n"
    found = inspected(tmp_path, "a.jsonl", content)
    assert (found.format, found.row_count, found.column_count) == ("jsonl", 2000, 7)
    assert types(found) == {
        "a": "integer",
        "b": "boolean?",
        "c": "string",
        "d": "datetime",
        "e": "number",
        "f": "json",
        "g": "integer?",
    }
    assert found.details["badLines"] == 1


def test_a_key_that_appears_late_is_nullable(tmp_path: Path) -> None:
    content = '{"a": 1}\n' * 5000 + '{"a": 1, "b": 1}\n'
    assert types(inspected(tmp_path, "a.ndjson", content)) == {"a": "integer", "b": "integer?"}


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_objects_is_read_piece_by_piece(tmp_path: Path, indent: int | None) -> None:
    records = [{"id": number, "text": "x] },{[" * 20} for number in range(12_000)]
    found = inspected(tmp_path, "a.json", "\n " + json.dumps(records, indent=indent))
    assert (found.format, found.row_count) == ("json", 12_000)
    assert types(found) == {"id": "integer", "text": "string"}


def test_an_element_larger_than_the_buffer_is_read(tmp_path: Path) -> None:
    records = [{"a": "x" * 3_000_000}, {"a": "y"}]
    assert inspected(tmp_path, "a.json", json.dumps(records)).row_count == 2


def test_json_lines_are_known_under_the_name_of_json(tmp_path: Path) -> None:
    found = inspected(tmp_path, "a.json", '{"a": 1}\n{"a": 2}\n')
    assert (found.format, found.row_count) == ("jsonl", 2)


@pytest.mark.parametrize(
    ("content", "details"),
    [('{"lr": 0.1, "steps": 3}', {"keys": ["lr", "steps"]}), ("[1, 2]", {"encoding": "utf-8"}), ("3", {})],
)
def test_other_json_is_no_table(tmp_path: Path, content: str, details: dict[str, Any]) -> None:
    found = inspected(tmp_path, "a.json", content)
    assert found == Inspection(format="json", details=details)


@pytest.mark.parametrize("content", ['{"a": ', "nonsense", '[{"a": 1}, {"a"', '[{"a": 1}', ""])
def test_broken_json_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(Unreadable, match="not JSON"):
        inspected(tmp_path, "a.json", content)


def test_arrays_of_numpy_are_described_by_their_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((1000, 20), "f4"))
    found = inspect(path, "x.npy", Budget())
    assert (found.row_count, found.column_count, found.framework) == (1000, 20, "numpy")
    assert found.details == {"dtype": "<f4", "shape": [1000, 20], "holdsPickles": False}


def test_structured_arrays_have_a_schema(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros(5, [("id", "i8"), ("x", "f8"), ("name", "U5"), ("p", "f4", (3,))]))
    found = inspect(path, "x.npy", Budget())
    assert (found.row_count, found.column_count) == (5, 4)
    assert types(found) == {"id": "integer", "x": "number", "name": "string", "p": "number"}


def test_an_array_of_objects_is_marked_as_holding_pickles(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert inspect(path, "x.npy", Budget()).details["holdsPickles"] is True


def test_archives_of_arrays_have_rows_when_their_arrays_agree(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, X=np.zeros((50, 3)), y=np.zeros(50, "i8"))
    found = inspect(path, "x.npz", Budget())
    assert found.row_count == 50
    assert {name: array["shape"] for name, array in found.details["arrays"].items()} == {
        "X": [50, 3],
        "y": [50],
    }
    np.savez(path, X=np.zeros((50, 3)), y=np.zeros(49))
    assert inspect(path, "x.npz", Budget()).row_count is None


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{'shape'",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        b"\x93NUMPY\x01\x00\x0f\x00__import__('os')",
        b"PAR1",
        b"PAR1" + bytes(100) + b"PAR1",
        b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1",
        b"PAR1" + bytes(4) + b"\xf9\xff\xff\xff\xff" + b"\x05\0\0\0PAR1",
        b"PAR1" + bytes(100) + b"\x10\0\0\0PARE",
    ],
)
def test_broken_binary_files_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Unreadable):
        inspected(tmp_path, "a.bin", content)


# The Parquet files were written once by pyarrow 26, DuckDB 2.0 and polars 2.1.
def test_parquet_of_pyarrow(tmp_path: Path) -> None:
    found = inspect(FILES / "pyarrow.parquet", "a.parquet", Budget())
    assert (found.format, found.row_count, found.column_count) == ("parquet", 25, 16)
    assert types(found) == {
        "id": "integer",
        "small": "integer?",
        "x": "number?",
        "f": "number?",
        "name": "string?",
        "flag": "boolean?",
        "d": "date?",
        "ts": "datetime?",
        "tsz": "datetime?",
        "tags": "json?",
        "point": "json?",
        "m": "json?",
        "dec": "number?",
        "raw": "string?",
        "last": "string?",
        "u": "integer?",
    }


def test_parquet_of_duckdb(tmp_path: Path) -> None:
    found = inspect(FILES / "duckdb.parquet", "a.parquet", Budget())
    assert (found.row_count, found.column_count) == (50, 10)
    found_types = " ".join(types(found).values()).replace("?", "")
    assert found_types == "integer number string date datetime json json boolean string string"


def test_parquet_of_polars(tmp_path: Path) -> None:
    found = inspect(FILES / "polars.parquet", "a.parquet", Budget())
    assert (found.row_count, found.column_count) == (3, 4)
    assert types(found) == {"a": "integer?", "s": "string?", "t": "datetime?", "cat": "string?"}


def test_a_parquet_file_cut_anywhere_is_refused_and_never_misread(tmp_path: Path) -> None:
    whole = (FILES / "polars.parquet").read_bytes()
    for length in range(4, len(whole), 7):
        with pytest.raises(Unreadable):
            inspected(tmp_path, "a.parquet", whole[:length])
