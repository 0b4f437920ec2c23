"""What quality rules answer with: findings, and the edits that would correct them. Nothing is changed here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from transforms.schema import ACTIONS, OHLC, UTC_US

FINDINGS: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "source": pl.String(),
        "start": UTC_US,
        "end": UTC_US,
        "rows": pl.Int64(),
        "rule": pl.String(),
        "reason": pl.String(),
        "confidence": pl.Float64(),
        "correctable": pl.Boolean(),
    }
)
"""One finding a row: `start` and `end` are the first and the last row it is about, `rows` how many those are.

`confidence` is the share of such findings that we expect to be real faults: 1 where the rows contradict themselves.
`correctable` says whether a correction is proposed.
"""

EDITS: Final = pl.Schema(
    {
        "finding": pl.Int64(),
        "symbol": pl.String(),
        "source": pl.String(),
        "start": UTC_US,
        "end": UTC_US,
        "column": pl.String(),
        "factor": pl.Float64(),
    }
)
"""Columns of a finding's rows and what to multiply them by."""

ACTION_EDITS: Final = pl.Schema({"finding": pl.Int64(), **ACTIONS})
"""Corporate actions as they should be."""

_NUMBERS: Final = (*OHLC, "volume", "adjusted_close")


def _none(schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame(schema=schema)


@dataclass(frozen=True, slots=True)
class Faults:
    """Findings (`FINDINGS`), most certain first, and the edits of bars and of actions that belong to them."""

    findings: pl.DataFrame = field(default_factory=lambda: _none(FINDINGS))
    edits: pl.DataFrame = field(default_factory=lambda: _none(EDITS))
    actions: pl.DataFrame = field(default_factory=lambda: _none(ACTION_EDITS))

    def at_least(self, confidence: float) -> "Faults":
        """The findings at or above a confidence, with their edits."""
        return self.where(pl.col("confidence") >= confidence)

    def where(self, wanted: pl.Expr) -> "Faults":
        """The findings of which `wanted` is true, with their edits."""
        kept = self.findings.with_row_index("finding").filter(wanted)
        place = kept.select(pl.col("finding").cast(pl.Int64)).with_row_index("place")
        return Faults(kept.drop("finding"), _renumbered(self.edits, place), _renumbered(self.actions, place))

    def corrected_bars(self, bars: pl.DataFrame) -> pl.DataFrame:
        """The rows of `bars` (RAW_BARS, others are kept) that the edits reach, as they should be, in their order.

        Edits of one cell multiply: a price can be wrong by its unit and by a split at once.
        """
        numbered = bars.with_row_index("_line")
        reached = (
            numbered.select("_line", "symbol", "source", "timestamp")
            .join(self.edits, on=["symbol", "source"])
            .filter(pl.col("timestamp").is_between("start", "end"))
            .group_by("_line", "column")
            .agg(pl.col("factor").product())
        )
        if reached.is_empty():
            return bars.clear()
        factors = reached.pivot(on="column", index="_line", values="factor")
        wanted = [name for name in _NUMBERS if name in factors.columns and name in bars.columns]
        both = numbered.join(factors, on="_line", suffix="_factor").sort("_line")
        return both.with_columns(pl.col(n) * pl.col(f"{n}_factor").fill_null(1.0) for n in wanted).select(bars.columns)

    def corrected_actions(self) -> pl.DataFrame:
        """ACTIONS rows that replace or add to the stored ones; a dividend of 0 or a split of 1 takes one away."""
        key = ["symbol", "ex_date", "action", "source", "ordinal"]
        return self.actions.select(ACTIONS.names()).unique(key, keep="first", maintain_order=True).sort(key)


def together(parts: Sequence[Faults]) -> Faults:
    """All of them as one, the most certain finding first, then by symbol and time."""
    findings, edits, actions = [], [], []
    before = 0
    for part in parts:
        findings.append(part.findings)
        edits.append(part.edits.with_columns(pl.col("finding") + before))
        actions.append(part.actions.with_columns(pl.col("finding") + before))
        before += part.findings.height
    ordered = (
        pl.concat(findings)
        .with_row_index("finding")
        .sort("confidence", "symbol", "source", "start", "rule", descending=[True, False, False, False, False])
    )
    place = ordered.select(pl.col("finding").cast(pl.Int64)).with_row_index("place")
    all_edits, all_actions = _renumbered(pl.concat(edits), place), _renumbered(pl.concat(actions), place)
    fixed = pl.concat([all_edits["finding"], all_actions["finding"]]).unique()
    numbered = ordered.drop("finding").with_row_index("_place")
    correctable = pl.col("_place").cast(pl.Int64).is_in(fixed.implode())
    return Faults(numbered.with_columns(correctable=correctable).drop("_place"), all_edits, all_actions)


def findings(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with the columns of `FINDINGS`, in their order and types; `correctable` is settled by `together`."""
    return frame.with_columns(correctable=False).select(pl.col(n).cast(t) for n, t in FINDINGS.items())


def edits(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Edits of several columns from (finding, symbol, source, start, end, one factor column a column edited)."""
    index = ["finding", "symbol", "source", "start", "end"]
    long = frame.unpivot(on=list(columns), index=index, variable_name="column", value_name="factor")
    changed = long.filter(pl.col("factor").is_not_null() & (pl.col("factor") != 1))
    return changed.select(pl.col(n).cast(t) for n, t in EDITS.items())


def _renumbered(frame: pl.DataFrame, place: pl.DataFrame) -> pl.DataFrame:
    """Edits whose findings are among those of `place` (finding, place), numbered by their new places."""
    joined = frame.join(place, on="finding", maintain_order="left")
    return joined.with_columns(finding=pl.col("place").cast(pl.Int64)).drop("place")


def new_actions(told: pl.DataFrame, action: str, actions: pl.DataFrame) -> pl.DataFrame:
    """Actions that nobody told (finding, symbol, source, ex_date, value), of the source that tells the symbol's others.

    So that they count beside these: of each symbol and kind one source is chosen.
    """
    teller = actions.filter(pl.col("action") == action).group_by("symbol").agg(teller=pl.col("source").first())
    joined = told.join(teller, on="symbol", how="left", maintain_order="left")
    named = joined.with_columns(source=pl.coalesce("teller", "source"), action=pl.lit(action), ordinal=0)
    return named.select(pl.col(n).cast(t) for n, t in ACTION_EDITS.items())
