"""`quality`: what in the stored raw rows is probably a vendor's fault."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.app import LOOK, AsJson, command
from flows.cli.connect import connected, must_exist
from flows.cli.console import out, print_json, program, warn

if TYPE_CHECKING:
    from flows.quality import CorrectionFile, Inspected

_DAY = ["%Y-%m-%d"]


@command(LOOK, "warmbars quality", "warmbars quality AAPL --from 2024-01-01 --corrections aapl.parquet")
def quality(
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL", help="Symbols; without any, all.", show_default=False)
    ] = None,
    start: Annotated[
        datetime | None, typer.Option("--from", metavar="DATE", formats=_DAY, help="First session of interest.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", metavar="DATE", formats=_DAY, help="Last session of interest.")
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Parquet file to write the corrected rows to.")
    ] = None,
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out what is less certain than this.")
    ] = 0.5,
    fail: Annotated[bool, typer.Option("--fail", help="End with exit code 1 if anything is found.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look for vendors' faults in raw daily bars and corporate actions: currency units, splits, dividends, spikes.

    Says where, which rule, why and how sure. Nothing is repaired: corrections are raw rows in a file, which
    [bold]ingest[/] accepts once you have looked at them. docs/quality.md describes every rule.
    """
    from storage.settings import load_settings

    settings = load_settings()
    if settings.database_url is None:
        must_exist(settings)
    if corrections:
        from flows.quality import check_target

        check_target(corrections)
    with connected("looking") as (deps, say):
        from flows.quality import Question, inspect, write_corrections

        question = Question(symbols or (), _day(start), _day(end), min_confidence)
        found = inspect(deps, question, datetime.now(UTC), say)
    files = write_corrections(found, corrections) if corrections else []
    if corrections and not files:
        warn(f"there is nothing to correct; {corrections} was not written")
    _print(found, files, as_json=as_json)
    if fail and not found.findings.is_empty():
        raise typer.Exit(1)


def _print(found: "Inspected", files: list["CorrectionFile"], *, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(found, files))
        return
    from flows.quality_page import quality_page

    out().print(quality_page(found, files, program()))


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _as_json(found: "Inspected", files: list["CorrectionFile"]) -> dict[str, Any]:
    return {
        "symbols": found.symbols,
        "rows": found.rows,
        "findings": found.findings.to_dicts(),
        "less_certain": found.less_certain,
        "rejected": found.rejected.to_dicts(),
        "corrections": [asdict(file) for file in files],
    }
