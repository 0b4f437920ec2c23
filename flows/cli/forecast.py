"""`forecast`: the next session of each symbol, by models that take too long to be part of a run."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.app import PIPELINE, AsJson, command
from flows.cli.connect import connected
from flows.cli.console import out, print_json, warn

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from flows.forecast import Forecasted
    from flows.steps import Published

_LISTED = 10
"""Symbols without a forecast that are named one by one."""


@command(PIPELINE, "warmbars forecast", "warmbars forecast AAPL MSFT", "warmbars forecast --all --json")
def forecast(
    symbols: Annotated[
        list[str] | None,
        typer.Argument(help="Symbols; every one that has daily bars when left out.", show_default=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those whose daily bars did not change since they were forecast.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    r"""Forecast return and volatility of the next session where daily bars changed, score the models, publish it.

    Needs statsforecast ([bold]pip install 'warmbars\[forecast]'[/]). Fitting takes about a second a symbol; run
    it after the close. What does not beat its baseline says so. Exits with 1 if a symbol that was named had to be left
    as it was.
    """
    with connected("forecasting") as (deps, say):
        from flows import forecast as forecasting
        from flows import steps

        as_of = datetime.now(UTC)
        done = forecasting.forecast(deps, as_of, say, symbols=symbols or None, everything=everything)
        published = steps.publish(deps, datetime.now(UTC), say)
        reader = deps.reader()
        shown = {symbol: reader.forecast(symbol).value for symbol in symbols or []}
    if as_json:
        rows = {symbol: frame.to_dicts() for symbol, frame in shown.items()}
        print_json({**asdict(done), "published": asdict(published), "forecasts": rows})
    else:
        _print(done, published, shown)
    if symbols and done.left:
        raise typer.Exit(1)


def _print(done: "Forecasted", published: "Published", shown: "dict[str, pl.DataFrame]") -> None:
    from flows.page import count, seconds

    if done.standing:
        out().print(_standing(done))
    for symbol, frame in shown.items():
        if not frame.is_empty():
            _print_symbol(symbol, frame)
    for symbol, why in list(done.missing.items())[:_LISTED]:
        warn(f"{symbol} has no forecast of {why}")
    if len(done.missing) > _LISTED:
        warn(f"{len(done.missing) - _LISTED} more have none: the table forecast_inputs says why")
    for symbol, why in done.left.items():
        warn(f"{symbol} was left as it is: {why}")
    did = f"{count(done.due, 'symbol')} due, {len(done.symbols):,} changed"
    sent = f"{count(published.written, 'key')} published"
    out().print(f"Done in {seconds(done.seconds)}: {did}, {sent}.", style="dim")


def _standing(done: "Forecasted") -> "Table":
    from flows.page import plain_table

    table = plain_table("stored", "symbols", "beat their baseline")
    for standing in done.standing:
        table.add_row(f"{standing.target} by {standing.model}", f"{standing.symbols:,}", f"{standing.beat:,}")
    return table


def _print_symbol(symbol: str, frame: "pl.DataFrame") -> None:
    """The forecasts of one symbol in per cent, and how good such forecasts were."""
    from flows.page import plain_table

    table = plain_table(f"{symbol} in %", "session", "point", "80 % inside", "inside so far")
    rows: list[dict[str, Any]] = [row for row in frame.iter_rows(named=True) if row["role"] == "forecast"]
    for row in rows:
        within = f"{100 * row['low_80']:.2f} to {100 * row['high_80']:.2f}"
        point, share = f"{100 * row['point']:.2f}", f"{100 * row['coverage_80']:.0f} % of {row['n']}"
        table.add_row(row["target"], str(row["session"]), point, within, share)
    out().print(table)
    for row in rows:
        out().print(row["verdict"], style="dim")
