"""`gaps`: which bars of a symbol are not there, and why."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import choices
from flows.cli.app import LOOK, AsJson, command
from flows.cli.connect import connected, must_exist
from flows.cli.console import out, print_json

if TYPE_CHECKING:
    from flows.gaps import GapReport

_ROWS = 20
_DATE = ["%Y-%m-%d"]


@command(LOOK, "warmbars gaps AAPL", "warmbars gaps AAPL --interval 1m --from 2024-11-25 --to 2024-11-29 --json")
def gaps(
    symbol: Annotated[str, typer.Argument(help="The symbol.", show_default=False)],
    interval: Annotated[choices.Interval, typer.Option(help="Length of the bars.")] = "5m",
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=_DATE, metavar="DATE", help="First day; that of the first bar when left out."),
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=_DATE, metavar="DATE", help="Last day; today when left out.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Most sessions and runs shown.")] = _ROWS,
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Zone of the times shown.")] = "UTC",
    as_json: AsJson = False,
) -> None:
    """Say for every bar there should be whether it is there, and else why not.

    No trade, where a source declared that what it delivered is all; missing upstream, where nobody did; not yet due.
    """
    from storage.settings import load_settings

    settings = load_settings()
    if settings.database_url is None:
        must_exist(settings)
    zone = choices.zone(time_zone)
    with connected("looking") as (deps, _):
        from flows.gaps import Asked, find_gaps

        asked = Asked(symbol, interval, first and first.date(), last and last.date())
        report = find_gaps(deps, asked, datetime.now(UTC))
    if as_json:
        print_json(_as_json(report))
        return
    from flows.gaps_page import gaps_page

    out().print(gaps_page(report, rows, zone))


def _as_json(report: "GapReport") -> dict[str, Any]:
    return {
        "symbol": report.symbol,
        "market": report.market,
        "interval": report.interval,
        "from": report.first,
        "to": report.last,
        "as_of": report.as_of,
        "waiting": report.waiting,
        "total": dict(report.total),
        "sessions": report.sessions.to_dicts(),
        "runs": report.runs.to_dicts(),
        "closed": report.closed,
    }
