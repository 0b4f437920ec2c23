"""A candle chart in characters: prices at two levels a row, lines at three, volume underneath."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import cycle, pairwise
from typing import Final, Literal, NamedTuple

from rich.text import Text

UP, DOWN, FAINT = "green", "red", "dim"
LINE_STYLES: Final = ("cyan", "yellow", "magenta", "blue", "bright_white")
"""Styles of the lines, in their order."""

_BODY_AND_WICK: Final = {
    ("none", "none"): " ",
    ("wick", "wick"): "│",
    ("none", "wick"): "╷",
    ("wick", "none"): "╵",
    ("body", "body"): "┃",
    ("none", "body"): "╻",
    ("body", "none"): "╹",
    ("wick", "body"): "╽",
    ("body", "wick"): "╿",
}
"""Upper and lower half of a cell -> its character."""
_SOLID: Final = {"┃": "█", "╻": "▄", "╹": "▀"}
"""A wider body: of falling candles where there is no colour, of all where they stand apart."""
_LEVELS: Final = "▔─▁"
"""A line at the heights of a cell, highest first."""
_VOLUMES: Final = "▁▂▃▄▅▆▇█"
_MARGIN: Final = 0.35
"""How much of the candles' range lines may add to the chart at either end."""

Half = Literal["none", "wick", "body"]
Series = Mapping[str, Sequence[float | None]]
Cell = tuple[str, str]
"""A character and its style."""


class Candle(NamedTuple):
    """One bar."""

    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def style(self) -> str:
        """Rising, or not falling, is one colour and falling another."""
        return UP if self.close >= self.open else DOWN


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn: candles, lines over them and panels under them by name (one value a candle), texts below.

    `marks`: number of a candle = text, most important first; those that would overlap are left out.
    """

    candles: Sequence[Candle]
    marks: Mapping[int, str] = field(default_factory=dict)
    lines: Series = field(default_factory=dict)
    panels: Series = field(default_factory=dict)

    def newest(self, count: int) -> "Chart":
        """The last `count` candles."""
        gone = max(0, len(self.candles) - count)
        return Chart(
            self.candles[gone:],
            {number - gone: text for number, text in self.marks.items() if number >= gone},
            {name: values[gone:] for name, values in self.lines.items()},
            {name: values[gone:] for name, values in self.panels.items()},
        )


@dataclass(frozen=True, slots=True)
class _Axis:
    """Prices `low` to `high` on `rows` rows."""

    low: float
    high: float
    rows: int

    def level(self, price: float, steps: int) -> int:
        """Row of a price counted from the top, in `steps` steps a row; outside the chart if the price is."""
        last = self.rows * steps - 1
        return round((self.high - price) / (self.high - self.low) * last)


def draw(chart: Chart, width: int, height: int, *, color: bool = True) -> Text:
    """`height` lines of at most `width` cells, and one a panel: the newest candles that fit, prices at the right."""
    rows = max(2, height - 2)
    beside = [*_price_labels(_range(chart), rows).values(), *_panel_labels(chart)]
    room = max(1, width - max(map(len, beside), default=0) - 2)
    shown = chart.newest(room)
    step = 2 if 2 * len(shown.candles) - 1 <= room else 1
    axis = _Axis(*_range(shown), rows)
    labels = _price_labels((axis.low, axis.high), rows)
    lines = [_row(row, labels.get(number)) for number, row in enumerate(_cells(shown, axis, step, color=color))]
    lines.append(_volumes(shown.candles, step))
    for (values, label), style in zip(_panels(shown), cycle(LINE_STYLES), strict=False):
        lines.append(_spread(sparkline(values), step).append(f"  {label}", FAINT))
        lines[-1].stylize(style, 0, len(values) * step)
    lines.append(_marks(shown.marks, step, len(shown.candles) * step))
    return Text("\n").join(lines)


def _cells(chart: Chart, axis: _Axis, step: int, *, color: bool) -> list[list[Cell]]:
    """Candles and lines, row by row."""
    cells: list[list[Cell]] = [[(" ", "")] * (len(chart.candles) * step - (step - 1)) for _ in range(axis.rows)]
    for values, style in zip(chart.lines.values(), cycle(LINE_STYLES), strict=False):
        _draw_line(cells, axis, values, step, style)
    for number, candle in enumerate(chart.candles):
        solid = step > 1 if color else candle.style == DOWN
        _draw_candle(cells, axis, candle, number * step, solid=solid)
    return cells


def _panels(chart: Chart) -> list[tuple[Sequence[float | None], str]]:
    return list(zip(chart.panels.values(), _panel_labels(chart), strict=True))


def _panel_labels(chart: Chart) -> list[str]:
    """Name and last value of each panel."""
    return [f"{name} {number(values[-1] if values else None)}" for name, values in chart.panels.items()]


def number(value: float | None) -> str:
    """Two decimals for ordinary numbers, none for large ones, more for small ones."""
    if value is None:
        return "-"
    if abs(value) >= 100_000:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def _spread(glyphs: str, step: int) -> Text:
    return Text("".join(glyph.ljust(step) for glyph in glyphs))


def _draw_candle(cells: list[list[Cell]], axis: _Axis, candle: Candle, column: int, *, solid: bool) -> None:
    top, bottom = axis.level(candle.high, 2), axis.level(candle.low, 2)
    body = sorted((axis.level(candle.open, 2), axis.level(candle.close, 2)))
    for row in range(max(0, top // 2), min(axis.rows, bottom // 2 + 1)):
        upper, lower = (_half(2 * row + half, top, bottom, body) for half in (0, 1))
        if upper == lower == "none":
            continue
        glyph = _BODY_AND_WICK[upper, lower]
        if solid:
            glyph = _SOLID.get(glyph, glyph)
        cells[row][column] = (glyph, candle.style)


def _half(level: int, top: int, bottom: int, body: Sequence[int]) -> Half:
    if body[0] <= level <= body[1]:
        return "body"
    return "wick" if top <= level <= bottom else "none"


def _draw_line(cells: list[list[Cell]], axis: _Axis, values: Sequence[float | None], step: int, style: str) -> None:
    """One dash a column; between two candles that stand apart, one half way."""
    known = [None if value is None else axis.level(value, len(_LEVELS)) for value in values]
    for number, level in enumerate(known):
        _dash(cells, number * step, level, style)
    if step == 2:
        for number, (level, following) in enumerate(pairwise(known)):
            if level is not None and following is not None:
                _dash(cells, 2 * number + 1, (level + following) // 2, style)


def _dash(cells: list[list[Cell]], column: int, level: int | None, style: str) -> None:
    if level is not None and 0 <= level < len(cells) * len(_LEVELS):
        row, height = divmod(level, len(_LEVELS))
        cells[row][column] = (_LEVELS[height], style)


def _range(chart: Chart) -> tuple[float, float]:
    """Lowest and highest price shown; lines widen it a little, and a flat series gets some air."""
    low = min((candle.low for candle in chart.candles), default=0.0)
    high = max((candle.high for candle in chart.candles), default=1.0)
    air = (high - low) * _MARGIN
    near = [v for values in chart.lines.values() for v in values if v is not None and low - air <= v <= high + air]
    low, high = min([low, *near]), max([high, *near])
    if high > low:
        return low, high
    return low - (abs(low) or 1) * 0.01, high + (abs(high) or 1) * 0.01


def _price_labels(bounds: tuple[float, float], rows: int) -> dict[int, str]:
    """Round prices, at most one in two rows: row = text."""
    low, high = bounds
    rough = (high - low) / max(1.0, rows / 2.5)
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(unit for unit in (1, 2, 2.5, 5, 10) if unit * power >= rough * 0.999)
    if unit == 10:
        unit, power = 1, power * 10
    step = unit * power
    decimals = max(0, -math.floor(math.log10(power)) + (unit == 2.5))
    first = math.ceil(low / step)
    axis = _Axis(low, high, rows)
    prices = (number * step for number in range(first, math.floor(high / step) + 1))
    return {axis.level(price, 1): f"{price:,.{decimals}f}" for price in prices}


def _row(cells: Sequence[Cell], label: str | None) -> Text:
    line = Text()
    for glyph, style in cells:
        line.append(glyph, style)
    if label is None:
        return line.append(" │", FAINT)
    return line.append(" ┤", FAINT).append(label, FAINT)


def _volumes(candles: Sequence[Candle], step: int) -> Text:
    most = max((candle.volume for candle in candles), default=0.0) or 1.0
    line = Text(style=FAINT)
    for candle in candles:
        height = min(len(_VOLUMES) - 1, int(candle.volume / most * len(_VOLUMES)))
        line.append((_VOLUMES[height] if candle.volume else " ").ljust(step), candle.style)
    return line


def _marks(marks: Mapping[int, str], step: int, columns: int) -> Text:
    line = [" "] * columns
    for number, text in marks.items():
        start = number * step
        around = line[max(0, start - 1) : start + len(text) + 1]
        if start + len(text) <= columns and not "".join(around).strip():
            line[start : start + len(text)] = text
    return Text("".join(line).rstrip(), FAINT)


def daily_marks(times: Sequence[date]) -> dict[int, str]:
    """Where months begin, years before them."""
    years = {n + 1: f"{b:%Y}" for n, (a, b) in enumerate(pairwise(times)) if a.year != b.year}
    months = {n + 1: f"{b:%b}" for n, (a, b) in enumerate(pairwise(times)) if a.month != b.month}
    first = {0: f"{times[0]:%b %Y}"} if times else {}
    return {**years, **{n: text for n, text in months.items() if n not in years}, **first}


def intraday_marks(times: Sequence[datetime]) -> dict[int, str]:
    """Where days begin, then hours."""
    days = {n + 1: f"{b:%b %d}" for n, (a, b) in enumerate(pairwise(times)) if a.date() != b.date()}
    hours = {n + 1: f"{b:%H:%M}" for n, (a, b) in enumerate(pairwise(times)) if a.hour != b.hour}
    first = {0: f"{times[0]:%b %d}"} if times else {}
    return {**days, **first, **{n: text for n, text in hours.items() if n not in days}}


def sparkline(values: Iterable[float | None]) -> str:
    """Values as the heights of blocks between their least and their greatest; a blank for none."""
    values = list(values)
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    span = (high - low) or 1.0
    return "".join(
        " " if value is None else _VOLUMES[min(len(_VOLUMES) - 1, int((value - low) / span * len(_VOLUMES)))]
        for value in values
    )
