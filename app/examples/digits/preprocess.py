"""Preprocess: scales the pixels and adds the sum of each row and each column of the image."""

from __future__ import annotations

import numpy as np
from stagekit import input_file, write_metrics, write_result
from tables import BRIGHTEST, SIDE, Table, read_table, write_table

raw = read_table(input_file("ingest/datasets/digits.csv"))

# Every step uses one image only, so that nothing of the test images leaks into the training.
pixels = raw.features / BRIGHTEST
images = pixels.reshape(-1, SIDE, SIDE)
ink = np.hstack([images.mean(axis=2), images.mean(axis=1)])
ink_columns = [f"ink_{axis}_{index}" for axis in ("row", "column") for index in range(SIDE)]
print(f"scaled {pixels.shape[1]} pixels to 0..1 and added {ink.shape[1]} ink features")

table = Table(raw.columns + ink_columns, np.hstack([pixels, ink]).round(4), raw.labels)
write_table("datasets/features.csv", table, "Pixels scaled to 0..1 and ink per row and column")
write_metrics({"features": len(table.columns), "mean_ink": float(ink.mean())})
write_result(rows=len(table.labels), features=len(table.columns))
