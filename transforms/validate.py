"""Named rules a raw row has to pass; a row that fails one is set aside with the rule's name, never repaired.

A rule is an expression that is true where a row **fails**. A row's reason is the first rule it fails, in the
order of the catalogue. Nothing else is changed: good rows come out as they went in, in the order they had.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl

from transforms.errors import SchemaMismatch
from transforms.schema import OHLC, RAW_SCHEMAS, SYMBOL_PATTERN, Dataset, Granularity

REJECTED: Final = pl.Schema(
    {"line": pl.Int64, "rule": pl.String, "dataset": pl.String, "symbol": pl.String, "row": pl.String}
)
"""Rows set aside: 1-based data row of the file, first rule failed, and the row itself as a JSON object."""

KEYS: Final[dict[Dataset, tuple[str, ...]]] = {
    "ticks": ("symbol", "timestamp", "source", "sequence"),
    "bars": ("symbol", "granularity", "timestamp", "source"),
    "sentiment": ("symbol", "timestamp", "source", "external_id", "ordinal"),
    "actions": ("symbol", "ex_date", "action", "source", "ordinal"),
}
"""What tells two raw rows apart; raw frames are sorted by it."""

GRANULARITIES: Final[tuple[Granularity, ...]] = ("1m", "1h", "1d")
ACTION_WORDS: Final = ("split", "dividend")
FIRST_DAY: Final = date(1700, 1, 1)
"""Older than any exchange's records; a time before it is a mistaken unit."""

CELL: Final = 80
"""Characters kept of a text cell in a rejected row."""

_OPTIONAL: Final = frozenset({"condition", "adjusted_close", "is_retweet", "is_duplicate"})


def validate(
    dataset: Dataset, frame: pl.DataFrame, as_of: datetime, future_tolerance: timedelta
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Good rows and rejected rows (`REJECTED`) of a raw frame with the columns of its schema and `line`.

    The frame is sorted by its key, rows of one key in file order: of several good ones the last is kept, the
    earlier are rejected as `duplicate_key`. Corporate actions may lie in the future, they are announced.
    """
    _expect(dataset, frame)
    good, failed = split(dataset, frame, rules(dataset, as_of + future_tolerance))
    if not _may_repeat(dataset, good):
        return good, failed
    good, repeated = split(dataset, good, {"duplicate_key": _repeated(KEYS[dataset])})
    return good, pl.concat([failed, repeated]).sort("line")


def split(dataset: Dataset, frame: pl.DataFrame, failing: Mapping[str, pl.Expr]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that fail no rule, and those that fail one as `REJECTED`; without failures nothing is copied."""
    flags = frame.select(expr.alias(rule) for rule, expr in failing.items())
    fails = flags.select(pl.any_horizontal(pl.all()).fill_null(value=False)).to_series()
    if not fails.any():
        return frame, REJECTED.to_frame()
    reason = pl.coalesce(pl.when(pl.col(rule)).then(pl.lit(rule)) for rule in failing)
    reasons = flags.filter(fails).select(reason).to_series()
    return frame.filter(~fails), rejected(dataset, frame.filter(fails), reasons)


def rejected(dataset: Dataset, frame: pl.DataFrame, rule: pl.Series) -> pl.DataFrame:
    """`frame` as rejected rows; its `line` names them, every other column goes into `row`."""
    cells = [column for column in frame.columns if column != "line"]
    symbol = pl.col("symbol").cast(pl.String) if "symbol" in cells else pl.lit(None, pl.String)
    return frame.select(
        pl.col("line").cast(pl.Int64),
        rule.alias("rule"),
        pl.lit(dataset).alias("dataset"),
        symbol.str.slice(0, CELL).str.replace_all("\0", "\ufffd", literal=True).alias("symbol"),
        _json(frame.select(cells)).alias("row"),
    )


def rules(dataset: Dataset, latest: datetime) -> dict[str, pl.Expr]:
    """Rules of one dataset by name, in the order they are tried; no time may lie after `latest`."""
    schema = RAW_SCHEMAS[dataset]
    required = [column for column in schema if column not in _OPTIONAL]
    numbers = [column for column, dtype in schema.items() if dtype == pl.Float64]
    common = {
        "null_value": pl.any_horizontal(pl.col(column).is_null() for column in required),
        "non_finite": pl.any_horizontal(~pl.col(column).is_finite() for column in numbers),
        "bad_symbol": pl.col("symbol").map_batches(_malformed, return_dtype=pl.Boolean),
    }
    if dataset == "actions":
        return common | {"time_out_of_range": pl.col("ex_date") < FIRST_DAY} | _action_rules()
    times = {
        "time_out_of_range": pl.col("timestamp") < datetime(FIRST_DAY.year, 1, 1, tzinfo=UTC),
        "future_time": pl.col("timestamp") > latest,
    }
    own = {"ticks": _tick_rules, "bars": _bar_rules, "sentiment": _sentiment_rules}[dataset]
    return common | times | own()


def _tick_rules() -> dict[str, pl.Expr]:
    return {"non_positive_price": pl.col("price") <= 0, "negative_volume": pl.col("size") < 0}


def _bar_rules() -> dict[str, pl.Expr]:
    low, high = pl.col("low"), pl.col("high")
    return {
        "unknown_granularity": ~pl.col("granularity").is_in(GRANULARITIES),
        "non_positive_price": pl.any_horizontal(pl.col(*OHLC, "adjusted_close") <= 0),
        "negative_volume": pl.col("volume") < 0,
        "high_below_low": high < low,
        "open_outside": (pl.col("open") < low) | (pl.col("open") > high),
        "close_outside": (pl.col("close") < low) | (pl.col("close") > high),
    }


def _sentiment_rules() -> dict[str, pl.Expr]:
    return {
        "score_out_of_range": pl.col("sentiment_score").abs() > 1,
        "confidence_out_of_range": (pl.col("confidence") < 0) | (pl.col("confidence") > 1),
    }


def _action_rules() -> dict[str, pl.Expr]:
    split_row = pl.col("action") == "split"
    return {
        "unknown_action": ~pl.col("action").is_in(ACTION_WORDS),
        "bad_split_value": split_row & (pl.col("value") <= 0),
        "negative_dividend": ~split_row & (pl.col("value") < 0),
    }


def _may_repeat(dataset: Dataset, frame: pl.DataFrame) -> bool:
    """Whether neighbours agree in the parts of their key that are numbers or times, which is quick to see."""
    quick = tuple(part for part in KEYS[dataset] if frame.schema[part] != pl.String)
    return bool(frame.select(_repeated(quick).any()).item())


def _repeated(key: tuple[str, ...]) -> pl.Expr:
    """Rows followed by a row of the same key."""
    return pl.all_horizontal(pl.col(part) == pl.col(part).shift(-1) for part in key)


def _malformed(symbols: pl.Series) -> pl.Series:
    """Where a symbol is not one; the pattern is tried once per run of equal symbols, not once per row."""
    runs = symbols.rle().struct.unnest()
    bad = ~runs["value"].str.contains(SYMBOL_PATTERN).fill_null(value=True)
    if not bad.any():
        return pl.repeat(value=False, n=len(symbols), dtype=pl.Boolean, eager=True)
    return pl.select(pl.lit(bad).repeat_by(pl.lit(runs["len"])).explode()).to_series()


def _json(cells: pl.DataFrame) -> pl.Expr:
    """Each row as a JSON object; text cut at `CELL` characters, numbers that JSON has not written as text."""
    members = [_member(name, dtype) for name, dtype in cells.schema.items()]
    return pl.concat_str(pl.lit("{"), pl.concat_str(members, separator=","), pl.lit("}"))


def _member(name: str, dtype: pl.DataType) -> pl.Expr:
    cell = pl.col(name)
    if dtype == pl.String:
        cell = cell.str.slice(0, CELL)
    encoded = pl.struct(cell.alias(name)).struct.json_encode().str.strip_prefix("{").str.strip_suffix("}")
    if not dtype.is_float():
        return encoded
    as_text = pl.struct(cell.cast(pl.String).alias(name)).struct.json_encode()
    as_text = as_text.str.strip_prefix("{").str.strip_suffix("}")
    return pl.when(cell.is_finite().fill_null(value=True)).then(encoded).otherwise(as_text)


def _expect(dataset: Dataset, frame: pl.DataFrame) -> None:
    """Raise unless the frame has the columns of the dataset's schema, in its types, and `line`."""
    wrong = [
        f"{name} ({frame.schema.get(name, 'missing')} instead of {dtype})"
        for name, dtype in (RAW_SCHEMAS[dataset] | {"line": pl.Int64}).items()
        if frame.schema.get(name) != dtype
    ]
    if wrong:
        raise SchemaMismatch(f"a frame of {dataset} has the wrong columns: {', '.join(wrong)}")
