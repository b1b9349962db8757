"""Compare: ranks the evaluated models, tests whether the difference is chance, writes the HTML report."""

from __future__ import annotations

from candidates import chance_of_luck, ranked_candidates
from report import render
from stagekit import output_file, write_json, write_metrics, write_result

candidates = ranked_candidates()
best, second = candidates[:2]
gain = best.metrics["accuracy"] - second.metrics["accuracy"]
luck = chance_of_luck(best, second)
for place, candidate in enumerate(candidates, start=1):
    print(f"{place}. {candidate.algorithm} ({candidate.trained_by}): {candidate.metrics['accuracy']:.4f}")
print(f"the gap is {gain:.4f}; two equal models would differ as much with probability {luck:.3f}")

comparison = {
    "winner": best.trained_by,
    "algorithm": best.algorithm,
    "seed": best.seed,
    "hyperparameters": best.hyperparameters,
    "metrics": best.metrics,
    "gain": gain,
    "chanceOfLuck": luck,
    "ranking": [{"trainedBy": one.trained_by, "metrics": one.metrics} for one in candidates],
}
write_json("reports/comparison.json", comparison, name="Comparison", type="REPORT")
page = output_file(
    "reports/comparison.html",
    name="Comparison report",
    type="REPORT",
    description="Both models side by side: metrics, learning curves and confusion matrices",
)
page.write_text(render(candidates, gain, luck), encoding="utf-8")
write_metrics({"best_accuracy": best.metrics["accuracy"], "accuracy_gain": gain, "chance_of_luck": luck})
write_result(winner=best.trained_by, algorithm=best.algorithm, accuracy=best.metrics["accuracy"])
