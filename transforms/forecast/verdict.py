"""Whether a forecast beats its baseline, and the sentence that says so."""

from collections.abc import Mapping
from typing import Any, Final

FEWEST_SCORED: Final = 60
"""Sessions scored below which nothing is said to beat anything."""
SIGNIFICANCE: Final = 0.05
"""Largest p at which a lead counts; of forecasts that are as good as their baseline, one in twenty gets there."""


def beats(row: Mapping[str, Any]) -> bool:
    """Whether the mean absolute error is less than the baseline's, by more than chance (p < 0.05, n >= 60)."""
    return row["n"] >= FEWEST_SCORED and row["p"] is not None and row["p"] < SIGNIFICANCE


def verdict(row: Mapping[str, Any], baseline: str, baseline_mase: float | None) -> str:
    """One plain sentence: who is better, by which scores, over how many sessions."""
    model, n, p = row["model"], row["n"], row["p"]
    over = f"over {n} sessions"
    if row["mase"] is None or baseline_mase is None:
        return f"{model} cannot be compared with its baseline {baseline} {over}: what is forecast never changed."
    scores = f"MASE {row['mase']:.3f} against {baseline_mase:.3f} {over}"
    if row["beats_baseline"]:
        return f"{model} beats its baseline {baseline}: {scores} (p {p:.3f})."
    if row["skill"] is not None and row["skill"] > 0:
        chance = "with too few to tell" if p is None or n < FEWEST_SCORED else f"which may be chance (p {p:.3f})"
        return f"{model} is not shown to beat its baseline {baseline}: {scores}, {chance}."
    return f"{model} does not beat its baseline {baseline}: {scores}."
