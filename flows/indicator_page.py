"""The page docs/indicators.md and its pictures, made from the catalogue."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from math import sin
from pathlib import Path
from typing import Final

import polars as pl

from transforms.catalogue import (
    CATALOGUE,
    FAMILIES,
    Family,
    Indicator,
    RestOfSession,
    State,
    Window,
    compute,
    resolve,
)
from transforms.errors import ConfigurationError
from transforms.schema import UTC_US

PICTURES: Final = "images/indicators"
_ROWS, _SHOWN = 320, 160
_WIDTH, _LEGEND, _HEIGHT, _GAP = 480.0, 150.0, 70.0, 14.0
_COLORS: Final = ("#d1495b", "#00798c", "#edae49", "#66a182", "#2e4057")
_INTRODUCTION: Final = """\
# Indicators

Made by `warmbars indicators --markdown DIRECTORY`; a test keeps it so. `warmbars indicators` lists them.

A name is a family and its parameters, joined by `_`: `sma_20`, `macd_5_35_5`, `bollinger_20_2.5`. Where a family has
usual parameters its bare word stands for them: `macd` is `macd_12_26_9`. The setting `indicators` says which are kept.

- **Prices** are split-adjusted. Each symbol is computed on its own; those with a session in their definition start anew
  in each.
- **Nulls and gaps**: a row with a null among an indicator's inputs takes no part in it. Its values are null there, and
  those of the other rows are what they would be without it. Gaps in time mean nothing: windows count rows.
- **Lookback** is the number of rows from a symbol's first until no column is null. **Reach** is how far a change of one
  row travels: *n rows*, *state* (until the named columns settle, from which a computation can resume; *exactly*: until
  they are the same to the last bit), *to the end*.
- No value depends on a later row.
- The pictures show an invented series; the grey line is its close.
"""


def indicators_markdown() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *(_section(family) for family in FAMILIES.values())])


def _section(family: Family) -> str:
    example = resolve(_example(family))
    shown = ", ".join(f"`{name}`" for name in example.shown)
    lines = [
        f"## {family.name}",
        "",
        f"{example.about[:1].upper()}{example.about[1:]}.",
        "",
        f"![{example.name}]({PICTURES}/{family.name}.svg)",
        "",
        f"- **Formula**: {family.formula}",
        f"- **Parameters**: {_parameters(family)}",
        f"- **Columns** of `{example.name}`: {shown}; reads {', '.join(example.inputs)}",
        f"- **Lookback** of `{example.name}`: {example.lookback} rows. **Reach**: {_reach(example)}",
        f"- **Seed**: {family.seed}",
        f"- **0/0**: {family.undefined}",
        f"- **Source**: {family.source}",
        "",
    ]
    return "\n".join(lines)


def _example(family: Family) -> str:
    """The name that is shown; a family without usual parameters starts at a date."""
    return family.name_of(family.usual[0]) if family.usual else f"{family.name}_20240901"


def _parameters(family: Family) -> str:
    if not family.parameters:
        return "none"
    told = ", ".join(f"{name} ({kind.__name__})" for name, kind in family.parameters.items())
    if family.plain:
        return f"{told}; `{family.name}` alone is {', '.join(f'{number:g}' for number in family.plain)}"
    return told


def _reach(indicator: Indicator) -> str:
    match indicator.reach:
        case Window(rows):
            return f"{rows} rows"
        case State(columns, settles, cumulative):
            names = ", ".join(f"`{name}`" for name in columns)
            told = f"to the end; state in {names}" if cumulative else f"state in {names}"
            return told if settles or cumulative else f"{told}, exactly"
        case RestOfSession():
            return "to the end of the session"


def pictures() -> Iterator[tuple[str, str]]:
    """File name and SVG of each family's picture."""
    names = [_example(family) for family in FAMILIES.values()]
    values = compute(_series(), names, keep=("open", "high", "low"), engine="expressions").tail(_SHOWN)
    close = _series()["close"].tail(_SHOWN).to_list()
    for family, name in zip(FAMILIES.values(), names, strict=True):
        lines = {column: values[column].to_list() for column in resolve(name).shown}
        yield f"{family.name}.svg", _svg(close, lines)


def _series() -> pl.DataFrame:
    """Bars of one invented symbol: a trend, two swings and a ripple, the same on every machine."""
    days = range(_ROWS)
    close = [100 + 0.03 * t + 9 * sin(t / 21) + 4 * sin(t / 7.3) + 1.2 * sin(2.3 * t) for t in days]
    opened = [close[max(t - 1, 0)] for t in days]
    spread = [0.6 + 0.3 * sin(1.7 * t) for t in days]
    start = datetime(2024, 1, 1, 14, 30, tzinfo=UTC)
    return pl.DataFrame(
        {
            "symbol": ["WARM"] * _ROWS,
            "timestamp": pl.datetime_range(start, interval="1d", eager=True, end=datetime(2026, 1, 1, tzinfo=UTC))
            .cast(UTC_US)
            .head(_ROWS),
            "open": opened,
            "high": [max(a, b) + s for a, b, s in zip(opened, close, spread, strict=True)],
            "low": [min(a, b) - s for a, b, s in zip(opened, close, spread, strict=True)],
            "close": close,
            "volume": [1_000 + 400 * sin(t / 5) + 300 * sin(1.9 * t) for t in days],
            "benchmark": [100 + 0.02 * t + 6 * sin(t / 21 + 0.4) + 1.5 * sin(1.1 * t) for t in days],
        }
    ).with_columns(session=pl.col("timestamp").dt.date())


def _svg(close: list[float], lines: dict[str, list[float | None]]) -> str:
    """The close above; the columns over it where they are near the price, in a panel of their own where not."""
    over = {name: line for name, line in lines.items() if _is_near(line, close)}
    below = {name: line for name, line in lines.items() if name not in over}
    panels = [[("#999999", list[float | None](close)), *_colored(over, lines)]]
    if below:
        panels.append(list(_colored(below, lines)))
    height = len(panels) * (_HEIGHT + _GAP)
    drawn = [path for n, panel in enumerate(panels) for path in _drawn(panel, _GAP / 2 + n * (_HEIGHT + _GAP))]
    legend = [
        f'<text x="{_WIDTH + 8:g}" y="{16 + 12 * n}" fill="{color}">{name}</text>'
        for n, (name, color) in enumerate(zip(lines, _COLORS * 3, strict=False))
    ]
    box = f'viewBox="0 0 {_WIDTH + _LEGEND:g} {height:g}" font-family="sans-serif" font-size="9" fill="none"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', *drawn, *legend, "</svg>", ""])


def _is_near(line: Iterable[float | None], close: list[float]) -> bool:
    known = [value for value in line if value is not None]
    return bool(known) and min(known) > 0.7 * min(close) and max(known) < 1.3 * max(close)


def _colored(
    some: dict[str, list[float | None]], every: dict[str, list[float | None]]
) -> Iterator[tuple[str, list[float | None]]]:
    colors = dict(zip(every, _COLORS * 3, strict=False))
    return ((colors[name], line) for name, line in some.items())


def _drawn(panel: list[tuple[str, list[float | None]]], top: float) -> Iterator[str]:
    """Each line as paths that break where it is null, all on one scale."""
    known = [value for _, line in panel for value in line if value is not None]
    low, span = min(known, default=0.0), (max(known, default=0.0) - min(known, default=0.0)) or 1.0
    for color, line in panel:
        points, pen = [], "M"
        for t, value in enumerate(line):
            if value is None:
                pen = "M"
                continue
            x, y = t * _WIDTH / (_SHOWN - 1), top + _HEIGHT * (1 - (value - low) / span)
            points.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        yield f'<path stroke="{color}" d="{"".join(points)}"/>'


def write(directory: Path) -> list[Path]:
    """Write the page and the pictures below `directory`; the files. `ConfigurationError` if that cannot be."""
    try:
        (directory / PICTURES).mkdir(parents=True, exist_ok=True)
        files = {directory / "indicators.md": indicators_markdown()}
        files |= {directory / PICTURES / name: svg for name, svg in pictures()}
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename or directory} cannot be written: {exc.strerror or exc}") from exc
    return list(files)


def rows() -> list[dict[str, object]]:
    """The catalogue, a line an entry."""
    return [
        {
            "name": name,
            "about": indicator.about,
            "columns": list(indicator.shown),
            "inputs": list(indicator.inputs),
            "lookback": indicator.lookback,
        }
        for name, indicator in CATALOGUE.items()
    ]
