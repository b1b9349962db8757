"""Explore: what the average image of each digit looks like and how many there are."""

from __future__ import annotations

import numpy as np
from pictures import GREY, Canvas
from stagekit import input_file, output_file, write_json, write_metrics, write_result
from tables import BRIGHTEST, SIDE, read_table

BLUE = (29, 78, 216)
SCALE, MARGIN = 16, 24
TILE = SIDE * SCALE + MARGIN
CAPTION = 40
PER_ROW = 5

table = read_table(input_file("ingest/datasets/digits.csv"))
counts = np.bincount(table.labels)
canvas = Canvas(PER_ROW * TILE + MARGIN, 2 * (TILE + CAPTION) + MARGIN)
for digit, count in enumerate(counts):
    average = table.features[table.labels == digit].mean(axis=0).reshape(SIDE, SIDE) / BRIGHTEST
    row, column = divmod(digit, PER_ROW)
    left, top = MARGIN + column * TILE, MARGIN + row * (TILE + CAPTION)
    canvas.image(left, top, average, SCALE, BLUE)
    canvas.text(left + SIDE * SCALE // 2, top + SIDE * SCALE + 22, f"{digit}: {count}", GREY)
    print(f"digit {digit}: {count} images, mean pixel {average.mean():.3f}")

plot = output_file(
    "plots/average_digits.png",
    name="Average digits",
    type="PLOT",
    description="Mean image and count per digit",
)
canvas.save(plot)
report = {"images": len(table.labels), "perDigit": counts.tolist()}
write_json("reports/exploration.json", report, name="Exploration", type="REPORT")
write_metrics({"rarest_class": int(counts.min()), "commonest_class": int(counts.max())})
write_result(**report)
