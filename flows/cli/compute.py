"""`compute`: bars and indicators as they would have been known at a moment, to a file or the terminal."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import choices
from flows.cli.app import LOOK, AsJson, command
from flows.cli.connect import connected, must_exist
from flows.cli.console import out, print_json

if TYPE_CHECKING:
    import polars as pl

    from flows.point_in_time import Moment

    Write = Callable[[str, pl.DataFrame], object]

_ROWS = 10
_DATE = ["%Y-%m-%d"]
_KEPT = "kept"
_STDOUT = "-"


@command(
    LOOK,
    "warmbars compute AAPL --interval 1d --as-of 2024-11-29T21:00Z",
    "warmbars compute AAPL MSFT --indicators sma_20,rsi_14 -o bars.parquet",
    "warmbars compute --all --interval 5m --indicators kept --knowledge latest --as-of 2024-11-29T21:00Z -o all.csv",
)
def compute(
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL", help="The symbols.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every symbol that was ever ingested.")] = False,
    interval: Annotated[choices.Interval, typer.Option(help="Length of the bars.")] = "1d",
    indicators: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Such as sma_20,macd; [bold]kept[/] for those of the setting indicators."),
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=_DATE, metavar="DATE", help="First session.")
    ] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=_DATE, metavar="DATE", help="Last session.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="MOMENT", help="Only bars closed by then; now when left out.")
    ] = None,
    knowledge: Annotated[
        str,
        typer.Option(
            metavar="WHICH",
            help="Raw rows: those that had arrived by the as-of ([bold]arrival[/]), those that are known today "
            "([bold]latest[/]), or those that had arrived by a moment of its own.",
        ),
    ] = "arrival",
    adjusted: Annotated[
        bool, typer.Option("--adjusted/--raw", help="Prices adjusted for the splits known and in force, or as traded.")
    ] = True,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="A .parquet or .csv file, or - for CSV on stdout."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Newest bars shown of each symbol, where it is a table.")] = _ROWS,
    as_json: AsJson = False,
) -> None:
    """Compute bars and indicators from raw rows, to output only: nothing is stored or published.

    With --as-of, what would have been known then: only bars closed by then, from the raw rows, corrections and splits
    that had arrived by then. History that was loaded in bulk arrived when it was loaded; for it say
    --knowledge latest, which leaves bars out by time alone.
    """
    if everything == bool(symbols):
        raise typer.BadParameter("name symbols, or say --all" if not symbols else "name symbols or say --all, not both")
    at, known_at = _moments(as_of, knowledge)
    from storage.settings import load_settings

    settings = load_settings()
    if settings.database_url is None:
        must_exist(settings)
    with connected("computing") as (deps, say):
        from flows.point_in_time import Moment, Wanted, checked
        from flows.point_in_time import compute as computed

        dates = (first and first.date(), last and last.date())
        wanted = Wanted(interval, _names(indicators or [], deps.settings.indicators), *dates, adjusted=adjusted)
        moment = Moment(at, known_at)
        chosen = checked(deps, symbols or [], wanted)
        with _sink(output, _Shown(moment, interval, rows, as_json)) as write:
            for number, symbol in enumerate(chosen, 1):
                say(f"computing {symbol} ({number}/{len(chosen)})")
                write(symbol, computed(deps, symbol, wanted, moment))


def _moments(as_of: str | None, knowledge: str) -> tuple[datetime, datetime | None]:
    """As of when, and by when raw rows had arrived (None: those that are known now)."""
    now = datetime.now(UTC)
    at = choices.moment(as_of) if as_of else now
    if at > now:
        raise typer.BadParameter(f"--as-of {as_of} has not been yet")
    if knowledge == "latest" or (knowledge == "arrival" and as_of is None):
        return at, None
    if knowledge == "arrival":
        return at, at
    try:
        return at, choices.moment(knowledge)
    except typer.BadParameter as exc:
        raise typer.BadParameter(f"--knowledge is arrival, latest or a moment: {exc.message}") from exc


def _names(given: Sequence[str], kept: Sequence[str]) -> tuple[str, ...]:
    """Indicators by name, each once; `kept` stands for those of the setting."""
    words = [word.strip() for text in given for word in text.split(",") if word.strip()]
    return tuple(dict.fromkeys(name for word in words for name in (kept if word == _KEPT else [word])))


@dataclass(frozen=True, slots=True)
class _Shown:
    """How the answer is shown where it is not written to a file."""

    moment: "Moment"
    interval: str
    rows: int
    as_json: bool

    @property
    def about(self) -> dict[str, Any]:
        """What goes with every answer."""
        return {"interval": self.interval, "as_of": self.moment.as_of, "known_at": self.moment.known_at}


@contextmanager
def _sink(output: str | None, shown: _Shown) -> "Iterator[Write]":
    """Where the bars of each symbol go: a file, stdout as CSV or JSON, or a table."""
    from flows.export import csv_to, exported

    if output is None:
        yield partial(_print_json if shown.as_json else _print_table, shown)
    elif output == _STDOUT:
        write = csv_to(sys.stdout.buffer)
        yield lambda _, frame: write(frame)
        sys.stdout.buffer.flush()
    else:
        started, counted = time.perf_counter(), dict[str, int]()
        with exported(Path(output)) as write:
            yield lambda symbol, frame: (counted.update({symbol: frame.height}), write(frame))
        _print_written(output, counted, shown, time.perf_counter() - started)


def _print_json(shown: _Shown, symbol: str, frame: "pl.DataFrame") -> None:
    """A document a symbol, each in one line."""
    print_json({"symbol": symbol, **shown.about, "rows": frame.drop("symbol").to_dicts()}, lines=True)


def _print_table(shown: _Shown, symbol: str, frame: "pl.DataFrame") -> None:
    from flows.chart import number
    from flows.page import count, plain_table

    when = "session" if shown.interval == "1d" else "timestamp"
    values = frame.columns[3:]
    newest = frame.tail(shown.rows).to_dicts()
    labels = [str(row[when]) if when == "session" else f"{row[when]:%Y-%m-%d %H:%M}" for row in newest]
    cells = {name: [number(row[name]) for row in newest] for name in values}
    title = f"{symbol} {shown.interval}"
    for names in _beside(cells, out().width - max(map(len, [title, *labels]))) if newest else ():
        table = plain_table(title, *names)
        for n, label in enumerate(labels):
            table.add_row(label, *(cells[name][n] for name in names))
        out().print(table)
    at, known_at = shown.moment.as_of, shown.moment.known_at
    known = "what is known now" if known_at is None else f"what had arrived by {known_at:%Y-%m-%d %H:%M:%S} UTC"
    out().print(f"{symbol}: {count(frame.height, 'bar')} as of {at:%Y-%m-%d %H:%M:%S} UTC, from {known}", style="dim")
    if not newest and known_at is not None:
        out().print("What was loaded later had not arrived then; --knowledge latest counts it.", style="dim")


def _beside(cells: dict[str, list[str]], width: int) -> "Iterator[list[str]]":
    """Names of columns that fit beside each other in this width."""
    names, left = list[str](), width
    for name, texts in cells.items():
        needed = 2 + max(len(name), *map(len, texts))
        if names and needed > left:
            yield names
            names, left = [], width
        names.append(name)
        left -= needed
    yield names


def _print_written(output: str, counted: dict[str, int], shown: _Shown, took: float) -> None:
    from flows.page import count, seconds

    if shown.as_json:
        print_json({"file": output, **shown.about, "rows": counted, "seconds": took})
        return
    total = sum(counted.values())
    out().print(f"Wrote {count(total, 'bar')} of {count(len(counted), 'symbol')} to {output} in {seconds(took)}.")
