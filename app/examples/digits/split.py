"""Split: stratified training, validation and test sets."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import train_test_split
from stagekit import input_file, params, write_metrics, write_result
from tables import Table, read_table, write_table

settings = params()
table = read_table(input_file("preprocess/datasets/features.csv"))
seed, labels = settings["seed"], table.labels

everything = np.arange(len(labels))
rest, test = train_test_split(everything, test_size=settings["testShare"], stratify=labels, random_state=seed)
train, validation = train_test_split(
    rest, test_size=settings["validationShare"], stratify=labels[rest], random_state=seed
)

sizes = {}
for name, rows in {"train": train, "validation": validation, "test": test}.items():
    part = Table(table.columns, table.features[rows], labels[rows])
    write_table(f"datasets/{name}.csv", part, f"The {name} set, stratified by digit, seed {seed}")
    sizes[name] = len(rows)
    print(f"{name}: {len(rows)} images, {np.bincount(labels[rows]).tolist()} per digit")
write_metrics({f"{name}_rows": size for name, size in sizes.items()})
write_result(**sizes)
