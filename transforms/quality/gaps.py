"""Which bars there should be, and why some are not: a status for every expected bucket. No bar is made up here.

A missing bar says nothing by itself: perhaps nobody traded, perhaps the row was lost on its way. It counts as
*no trade* only on evidence: a source declared that what it delivered for that time is all there was, or a day's own row
tells no more volume than the bars that are there. Without evidence it is *missing upstream*.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import polars as pl

from transforms.calendars import midnight
from transforms.errors import PermanentError
from transforms.schema import UTC_US, parse_interval
from transforms.sessions import BucketRules, buckets_of

Status = Literal["present", "no_trade", "market_closed", "missing_upstream", "not_yet_due"]
STATUS: Final = pl.Enum(["present", "no_trade", "market_closed", "missing_upstream", "not_yet_due"])

GAPS: Final = pl.Schema(
    {"symbol": pl.String(), "session": pl.Date(), "timestamp": UTC_US, "end": UTC_US, "status": STATUS}
)
"""A row a symbol and expected bucket [timestamp, end), and one a symbol and day without a session."""

_MARGIN = timedelta(days=45)
"""Sessions this far around the window are looked at: more than a month, so that every month that counts is whole."""
_SAME = 1e-9
"""Volumes are sums of the same shares when they differ by no more than this share of them."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which buckets are asked about: those of `interval` with start <= label < end, as they are known at `as_of`."""

    symbols: Sequence[str]
    interval: str
    start: datetime
    end: datetime
    as_of: datetime

    def __post_init__(self) -> None:
        """Refuse instants without a zone, an empty window and an interval there is not."""
        parse_interval(self.interval)
        for name in ("start", "end", "as_of"):
            if getattr(self, name).tzinfo is None:
                raise PermanentError(f"the {name} of a gap report needs a time zone: {getattr(self, name)} has none")
        if self.start >= self.end:
            raise PermanentError(f"the window of a gap report is empty: it starts {self.start} and ends {self.end}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about the symbols; what is left out proves nothing.

    `bars`: BARS of the interval asked about, of whole sessions. `covered` (symbol, start, end): where a source
    declared to be the whole truth about trading; windows may overlap. `daily`: BARS of 1d from rows of their own,
    never folded from `bars`, or every hole would prove itself. `instruments` (symbol, active_from, active_to): dates,
    both included, outside which nothing is expected; null, or no row: no bound.
    """

    bars: pl.LazyFrame
    covered: pl.LazyFrame | None = None
    daily: pl.LazyFrame | None = None
    instruments: pl.LazyFrame | None = None


def gap_truth(
    question: Question, known: Evidence, sessions: pl.LazyFrame, rules: BucketRules, time_zone: str
) -> pl.LazyFrame:
    """GAPS of every bucket asked about, in the order of (symbol, timestamp).

    The status is the first of these that holds. `market_closed`: no session has this date; one row a day, from one
    local midnight to the next (`time_zone` is the market's), and none for 1w and 1mo. `not_yet_due`: the bucket ends
    after `as_of`. `present`: there is a bar. `no_trade`: the whole bucket is covered, closed hours apart; or
    (intraday) its session is over and the day's own volume is the sum of the bars', where the symbol has volume at
    all: an index that never has any proves nothing by it. `missing_upstream`: none of these.

    `sessions` are those of the one market that all symbols trade on; they must reach over the window, and for 1w and
    1mo over its whole weeks or months. Days outside them are not reported.
    """
    near = sessions.filter(pl.col("session").is_between(question.start.date() - _MARGIN, question.end.date() + _MARGIN))
    grid = _grid(question, near, rules, time_zone)
    symbols = pl.LazyFrame({"symbol": sorted(set(question.symbols))}, schema={"symbol": pl.String()})
    rows = symbols.pipe(_while_active, known.instruments, grid).pipe(_with_bars, known.bars)
    status = (
        pl.when("_closed")
        .then(_status("market_closed"))
        .when(pl.col("end") > question.as_of)
        .then(_status("not_yet_due"))
        .when(pl.col("_bar") == pl.col("timestamp"))
        .then(_status("present"))
        .when("_proved")
        .then(_status("no_trade"))
        .otherwise(_status("missing_upstream"))
    )
    days = buckets_of(near, "1d", rules)
    openings = _openings(near, days, rules)
    return rows.pipe(_with_proof, question, known, days, openings).with_columns(status=status).select(GAPS.names())


def _status(word: Status) -> pl.Expr:
    return pl.lit(word, dtype=STATUS)


def _grid(question: Question, sessions: pl.LazyFrame, rules: BucketRules, time_zone: str) -> pl.LazyFrame:
    """The buckets and closed days of the window, in order, for one symbol like for another."""
    buckets = buckets_of(sessions, question.interval, rules).with_columns(_closed=False)
    if parse_interval(question.interval).period not in ("week", "month"):
        buckets = pl.concat([buckets, _closed_days(sessions, time_zone).select(buckets.collect_schema().names())])
    asked = (pl.col("timestamp") >= question.start) & (pl.col("timestamp") < question.end)
    return buckets.filter(asked).sort("timestamp")


def _closed_days(sessions: pl.LazyFrame, time_zone: str) -> pl.LazyFrame:
    """The dates between the first and the last session that no session has."""
    following = pl.col("session").shift(-1).fill_null(pl.col("session"))
    between = pl.date_ranges(pl.col("session"), following, closed="none")
    dates = sessions.sort("session").select(session=between).explode("session").drop_nulls()
    day = pl.col("session").cast(pl.Datetime("us"))
    return dates.select(
        "session",
        last_session="session",
        timestamp=midnight(day, time_zone),
        end=midnight(day + timedelta(days=1), time_zone),
        _closed=True,
    )


def _while_active(symbols: pl.LazyFrame, instruments: pl.LazyFrame | None, grid: pl.LazyFrame) -> pl.LazyFrame:
    """Each symbol with every bucket and day of the grid while it was active, in order."""
    if instruments is None:
        return symbols.join(grid, how="cross", maintain_order="left_right")
    bounds = instruments.select("symbol", "active_from", "active_to")
    begun = (pl.col("last_session") >= pl.col("active_from")).fill_null(value=True)
    going = (pl.col("session") <= pl.col("active_to")).fill_null(value=True)
    bounded = symbols.join(bounds, on="symbol", how="left", maintain_order="left")
    return bounded.join(grid, how="cross", maintain_order="left_right").filter(begun & going)


def _with_bars(rows: pl.LazyFrame, bars: pl.LazyFrame) -> pl.LazyFrame:
    """Add `_bar`, the newest label of a bar up to the bucket's: a join on both columns takes ten times as long."""
    labels = bars.select("symbol", _bar="timestamp").sort("_bar")
    return rows.join_asof(labels, left_on="timestamp", right_on="_bar", by="symbol", check_sortedness=False)


def _with_proof(
    rows: pl.LazyFrame, question: Question, known: Evidence, days: pl.LazyFrame, openings: pl.LazyFrame
) -> pl.LazyFrame:
    """Add `_proved`: whether there is evidence that nobody traded in a bucket without a bar."""
    proved = pl.lit(value=False)
    if known.covered is not None:
        rows = rows.pipe(_with_coverage, known.covered, openings)
        proved |= (pl.col("end") <= pl.col("_covered_until")).fill_null(value=False)
    if known.daily is not None and parse_interval(question.interval).minutes:
        complete = _accounted_for(known.bars, known.daily, days, question.as_of)
        rows = rows.join_asof(complete, left_on="session", right_on="_whole", by="symbol", check_sortedness=False)
        proved |= (pl.col("_whole") == pl.col("session")).fill_null(value=False)
    return rows.with_columns(_proved=proved)


def _with_coverage(rows: pl.LazyFrame, covered: pl.LazyFrame, openings: pl.LazyFrame) -> pl.LazyFrame:
    """Add `_covered_until`, the end of the covered stretch that the bucket begins in or after."""
    end = pl.col("end").cum_max().over("symbol")
    new = (pl.col("start") > end.shift(1).over("symbol")).fill_null(value=True)
    stretches = (
        _over_closed_hours(covered, openings)
        .sort("symbol", "start")
        .with_columns(_stretch=new.cum_sum().over("symbol"))
        .group_by("symbol", "_stretch")
        .agg(_covered_from=pl.col("start").min(), _covered_until=pl.col("end").max())
        .drop("_stretch")
        .sort("_covered_from")
    )
    return rows.join_asof(stretches, left_on="timestamp", right_on="_covered_from", by="symbol", check_sortedness=False)


def _openings(sessions: pl.LazyFrame, days: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """Where trading begins (`_next`), of a session or after its break, and ended before that (`_before`), in order."""
    openings = days.select(_next="timestamp", _before=pl.col("end").shift(1))
    if rules.trading_hours == "regular":
        breaks = sessions.select(_next="break_end", _before="break_start").drop_nulls()
        openings = pl.concat([openings, breaks])
    return openings.sort("_next")


def _over_closed_hours(covered: pl.LazyFrame, openings: pl.LazyFrame) -> pl.LazyFrame:
    """Windows that end while nothing is traded reach to where trading begins again."""
    idle = (pl.col("_before") <= pl.col("end")).fill_null(value=True) & pl.col("_next").is_not_null()
    return (
        covered.select("symbol", "start", "end")
        .sort("end")
        .join_asof(openings, left_on="end", right_on="_next", strategy="forward")
        .select("symbol", "start", end=pl.when(idle).then("_next").otherwise("end"))
    )


def _accounted_for(bars: pl.LazyFrame, daily: pl.LazyFrame, days: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """`symbol` and `_whole`: the sessions, in order, whose bars hold all the volume that the day's own row tells."""
    volumes = [frame.select("symbol", "volume") for frame in (bars, daily)]
    with_volume = pl.concat(volumes).filter(pl.col("volume") > 0).select("symbol").unique()
    over = days.filter(pl.col("end") <= as_of).select("session")
    summed = bars.group_by("symbol", "session").agg(_sum=pl.col("volume").sum())
    told, found = pl.col("volume"), pl.col("_sum").fill_null(0.0)
    return (
        daily.select("symbol", "session", "volume")
        .join(with_volume, on="symbol", how="semi")
        .join(over, on="session", how="semi")
        .join(summed, on=["symbol", "session"], how="left")
        .filter((told - found).abs() <= _SAME * told)
        .select("symbol", _whole="session")
        .sort("_whole")
    )


def completeness(truth: pl.LazyFrame, *by: str) -> pl.LazyFrame:
    """How many buckets of GAPS have which status, and the share that is complete; by some of its columns, or in all.

    `completeness` = (present + no_trade) / (present + no_trade + missing_upstream), in [0, 1]: the buckets that
    are due; null where none is. Closed days count nowhere. Sorted by `by`.
    """
    counted: list[Status] = ["present", "no_trade", "missing_upstream", "not_yet_due"]
    counts = [pl.len().alias("buckets"), *((pl.col("status") == word).sum().alias(word) for word in counted)]
    buckets = truth.filter(pl.col("status") != "market_closed")
    rows = buckets.group_by(by).agg(counts).sort(by) if by else buckets.select(counts)
    fine = pl.col("present") + pl.col("no_trade")
    due = fine + pl.col("missing_upstream")
    return rows.with_columns(completeness=pl.when(due > 0).then(fine / due))


def gap_runs(truth: pl.LazyFrame) -> pl.LazyFrame:
    """Consecutive buckets of one status other than `present`, from GAPS in the order of (symbol, timestamp).

    Columns: `symbol`, `status`, `session` and `last_session` (the first and last bucket's), `timestamp` and `end` (from
    where to where), `buckets` (how many). Nights and closed days do not end a run; consecutive closed days are runs
    of their own.
    """
    closed = pl.col("status") == "market_closed"
    days = pl.col("session") - pl.col("session").shift(1)
    new = (pl.col("status") != pl.col("status").shift(1)) | (closed & (days > timedelta(days=1)))
    number = new.fill_null(value=True).cum_sum()
    return (
        truth.with_columns(_run=number.over("symbol", closed))
        .filter(pl.col("status") != "present")
        .group_by("symbol", "status", "_run")
        .agg(
            pl.col("session").first(),
            pl.col("session").last().alias("last_session"),
            pl.col("timestamp").first(),
            pl.col("end").last(),
            buckets=pl.len(),
        )
        .drop("_run")
        .sort("symbol", "timestamp", "end")
    )
