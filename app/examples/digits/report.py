"""The comparison as one HTML page without other files."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from candidates import Candidate
from curves import Curve, accuracy_chart, loss_chart

COLOURS = ("#1d4ed8", "#ea580c", "#0d9488", "#9333ea")
LOWER_IS_BETTER = {"log_loss"}
CONVINCING = 0.05


def render(candidates: Sequence[Candidate], gain: float, luck: float) -> str:
    """The page for the ranked candidates; `gain` and `luck` compare the first two."""
    template = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    best = candidates[0]
    return template.substitute(
        winner=escape(best.algorithm),
        accuracy=f"{best.metrics['accuracy']:.1%}",
        gain=f"{gain * 100:.1f}",
        luck=f"{luck:.3f}",
        verdict="unlikely to be luck" if luck < CONVINCING else "possibly luck",
        images=len(best.right),
        metrics=_metrics_table(candidates),
        legend="".join(_key(one.algorithm, colour) for one, colour in _coloured(candidates)),
        accuracy_chart=accuracy_chart(_curves(candidates, "validation_accuracy")),
        loss_chart=loss_chart(
            _curves(candidates, "validation_loss") + _curves(candidates, "train_loss", dashed=True)
        ),
        matrices="".join(_matrix(one) for one in candidates),
        settings=_settings_table(candidates),
    )


def _coloured(candidates: Sequence[Candidate]) -> list[tuple[Candidate, str]]:
    return [(one, COLOURS[index % len(COLOURS)]) for index, one in enumerate(candidates)]


def _curves(candidates: Sequence[Candidate], metric: str, dashed: bool = False) -> list[Curve]:
    return [
        Curve([point[metric] for point in one.history], colour, dashed)
        for one, colour in _coloured(candidates)
    ]


def _key(label: str, colour: str) -> str:
    return f'<span><i style="background:{colour}"></i>{escape(label)}</span>'


def _metrics_table(candidates: Sequence[Candidate]) -> str:
    rows = [_row("th", "", [escape(one.algorithm) for one in candidates])]
    for name in candidates[0].metrics:
        values = [one.metrics[name] for one in candidates]
        best = min(values) if name in LOWER_IS_BETTER else max(values)
        cells = [f"<b>{value:.4f}</b>" if value == best else f"{value:.4f}" for value in values]
        rows.append(_row("td", name.replace("_", " "), cells))
    return "".join(rows)


def _settings_table(candidates: Sequence[Candidate]) -> str:
    rows = [
        _row("td", "trained by", [escape(one.trained_by) for one in candidates]),
        _row("td", "steps", [str(len(one.history)) for one in candidates]),
        _row("td", "seed", [str(one.seed) for one in candidates]),
    ]
    for name in dict.fromkeys(name for one in candidates for name in one.hyperparameters):
        cells = [escape(str(one.hyperparameters.get(name, "–"))) for one in candidates]
        rows.append(_row("td", escape(name), cells))
    return _row("th", "", [escape(one.algorithm) for one in candidates]) + "".join(rows)


def _row(cell: str, heading: str, values: Sequence[str]) -> str:
    return f"<tr><th>{heading}</th>" + "".join(f"<{cell}>{value}</{cell}>" for value in values) + "</tr>"


def _matrix(candidate: Candidate) -> str:
    picture = b64encode(candidate.plot.read_bytes()).decode()
    label = f"Confusion matrix of {escape(candidate.algorithm)}"
    return f'<img alt="{label}" src="data:image/png;base64,{picture}">'
