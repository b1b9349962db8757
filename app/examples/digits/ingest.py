"""Ingest: the handwritten digits that scikit-learn contains, as one CSV."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from stagekit import write_metrics, write_result
from tables import PIXELS, Table, write_table

features, labels = load_digits(return_X_y=True)
table = Table(PIXELS, features, labels)
print(f"read {len(labels)} images of {len(PIXELS)} pixels")

write_table("datasets/digits.csv", table, "Hand-written digits, 8x8 pixels of 0 to 16, from scikit-learn")
write_metrics({"rows": len(labels), "classes": len(np.unique(labels)), "mean_pixel": float(features.mean())})
write_result(rows=len(labels), columns=len(PIXELS) + 1)
