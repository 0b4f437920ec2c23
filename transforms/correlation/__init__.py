"""How sentiment and return move together, and the returns of symbols with each other: docs/correlation.md."""

from transforms.correlation.family import benjamini_hochberg, findings
from transforms.correlation.inference import LEAST_FOR_INFERENCE
from transforms.correlation.matrix import (
    MATRIX,
    correlation_matrix,
    display_order,
    return_matrix,
    rolling_correlation_matrices,
    wide_returns,
)
from transforms.correlation.pairs import MissingSentiment, daily_pairs, daily_returns
from transforms.correlation.rolling import ROLLING, rolling_correlations
from transforms.correlation.whole import CORRELATIONS, correlations

__all__ = [
    "CORRELATIONS",
    "LEAST_FOR_INFERENCE",
    "MATRIX",
    "ROLLING",
    "MissingSentiment",
    "benjamini_hochberg",
    "correlation_matrix",
    "correlations",
    "daily_pairs",
    "daily_returns",
    "display_order",
    "findings",
    "return_matrix",
    "rolling_correlation_matrices",
    "rolling_correlations",
    "wide_returns",
]
