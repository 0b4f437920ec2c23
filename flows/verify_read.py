"""What `verify` reads of a batch of symbols in one snapshot: raw rows, stored rows, and what there stands for good."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from flows.batch import within
from flows.derive import Market
from flows.full import COVERAGE, ROWS, Bars, RawFrames, Standing, bar_tables, bars, tables
from storage.market.checking import Moment
from storage.market.derived import SPANS
from storage.market.retention import Frozen, thawed
from transforms.schema import ACTIONS, SENTIMENT, TICKS, UTC_US
from transforms.sentiment import cutoff
from transforms.sessions import days_of

_BEGINNING, _END = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_HOUR, _JUST_AFTER = timedelta(hours=1), timedelta(microseconds=1)
_SCORES = ("sentiment_1h", "sentiment_1d")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some symbols of one market that are verified as of one moment, and the most raw rows to hold at once."""

    symbols: list[str]
    market: Market
    as_of: datetime
    most_rows: int


@dataclass(frozen=True, slots=True)
class Read:
    """Raw rows and the bars made of them, and the stored rows of each table with their `run_id`; all of one moment."""

    raw: RawFrames
    bars: Bars
    stored: Mapping[str, pl.DataFrame]
    rows: int


def read(moment: Moment, piece: Piece, frozen: Frozen, rows: int) -> Read:
    """Read everything of a piece that has about so many raw `rows`.

    Of a single symbol with more than fit in memory bars are made stretch by stretch, in whole local days.
    """
    symbols, settings = piece.symbols, piece.market.settings
    stored = {t.name: moment.rows(t.name, symbols, (*t.columns, "run_id")) for t in tables(settings)}
    standing = _standing(frozen, stored, piece.market)
    raw = RawFrames(
        ticks=TICKS.to_frame(),
        rows=ROWS.to_frame(),
        sentiment=moment.raw("sentiment_data", symbols).cast(SENTIMENT),
        actions=moment.raw("corporate_actions", symbols).cast(ACTIONS),
        coverage=moment.coverage(symbols).cast(COVERAGE),
        standing=standing,
    )
    if len(symbols) == 1 and rows > piece.most_rows:
        return Read(raw, _in_stretches(moment, piece, raw), stored, rows)
    priced = _with_prices(moment, symbols, raw)
    return Read(raw, bars(priced, piece.market, piece.as_of), stored, rows)


def _with_prices(
    moment: Moment, symbols: Sequence[str], raw: RawFrames, stretch: tuple[datetime, datetime] | None = None
) -> RawFrames:
    """The raw rows with ticks and vendors' bars."""
    return RawFrames(
        ticks=moment.raw("stock_ticks", symbols, stretch).cast(TICKS),
        rows=moment.raw("stock_data", symbols, stretch).select(ROWS.names()).cast(ROWS),
        sentiment=raw.sentiment,
        actions=raw.actions,
        coverage=raw.coverage,
        standing=raw.standing,
    )


def _in_stretches(moment: Moment, piece: Piece, raw: RawFrames) -> Bars:
    (symbol,) = piece.symbols
    adjusted = moment.adjusted(symbol)
    made = [
        bars(_with_prices(moment, [symbol], raw, stretch), piece.market, piece.as_of, adjusted)
        for stretch in stretches(moment.days(symbol), piece.market, piece.most_rows)
    ]
    names = bar_tables(piece.market.settings)
    return Bars(
        pl.concat([part.minutes for part in made]),
        {name: pl.concat([part.tables[name] for part in made]) for name in names},
    )


def stretches(days: pl.DataFrame, market: Market, most_rows: int) -> Iterator[tuple[datetime, datetime]]:
    """All of time in stretches of at most about `most_rows` rows, cut where a session's local day begins.

    `days`: day (a UTC date) and rows, in order.
    """
    begins = days_of(market.sessions).select("_day_start").collect()["_day_start"]
    start, held = _BEGINNING, 0
    for day, rows in days.iter_rows():
        if held and held + rows > most_rows:
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            at = begins.search_sorted(midnight, side="left")
            if at < len(begins) and begins[at] > start:
                yield start, begins[at]
                start, held = begins[at], 0
        held += rows
    yield start, _END


def _standing(frozen: Frozen, stored: Mapping[str, pl.DataFrame], market: Market) -> dict[str, Standing]:
    """What retention leaves as it is, by table."""
    spans: dict[str, pl.DataFrame] = {}
    if not frozen.prices.is_empty():
        spans |= dict.fromkeys(bar_tables(market.settings), frozen.prices)
    if not frozen.sentiment.is_empty():
        spans |= dict(zip(_SCORES, _frozen_scores(frozen.sentiment, market), strict=True))
    return {name: Standing(these, within(stored[name], these)) for name, these in spans.items()}


def _frozen_scores(frozen: pl.DataFrame, market: Market) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Where the labels of hours and sessions lie whose messages may be gone: a session reads an hour around its own."""
    label = pl.col("open") if market.rules.trading_hours == "regular" else pl.min_horizontal("day_start", "open")
    ends = market.sessions.select(label=label, until=cutoff(market.sentiment_rules)).sort("until")
    sessions = ends.with_columns(after=pl.col("until").shift(1).fill_null(pl.lit(_BEGINNING, UTC_US))).collect()
    every = frozen.select("symbol").unique().join(sessions, how="cross")
    reading = every.with_columns(_lo=pl.col("after") - _HOUR, _hi=pl.col("until") + _HOUR)
    live = thawed(reading, frozen, "_lo", "_hi")
    stands = every.join(live, on=["symbol", "label"], how="anti")
    daily = stands.select("symbol", lo="label", hi=pl.col("label") + _JUST_AFTER)
    counted = live.select("symbol", lo=pl.col("after") - _HOUR + _JUST_AFTER, hi=pl.col("until") + _JUST_AFTER)
    return _complement(counted, frozen["symbol"].unique().to_list()), daily.cast(SPANS)


def _complement(spans: pl.DataFrame, symbols: Sequence[str]) -> pl.DataFrame:
    """All of time but these spans, which may overlap, a symbol at a time."""
    edge = pl.DataFrame({"symbol": symbols}).with_columns(
        lo=pl.lit(_END, UTC_US), hi=pl.lit(_END + timedelta(hours=1), UTC_US)
    )
    ordered = pl.concat([spans.cast(SPANS), edge.cast(SPANS)]).sort("symbol", "lo")
    before = pl.col("hi").cum_max().shift(1).over("symbol").fill_null(pl.lit(_BEGINNING, UTC_US))
    gaps = ordered.select("symbol", lo=before, hi="lo")
    return gaps.filter(pl.col("lo") < pl.col("hi")).cast(SPANS)
