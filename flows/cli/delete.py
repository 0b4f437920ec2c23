"""`delete`: raw rows that should never have been there, or not any more."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import choices
from flows.cli.app import DATA, AsJson, command
from flows.cli.connect import connected
from flows.cli.console import out, print_json, program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from storage.market.removal import Matched, Removed

_EXAMPLES = (
    "warmbars delete AAPL --dataset ticks --from 2026-01-02 --to 2026-01-02 --dry-run",
    "warmbars delete AAPL MSFT --dataset bars --granularity 1m --source vendor --yes",
    "warmbars delete AAPL --dataset ticks --from 2026-01-02T14:30Z --to 2026-01-02T14:31Z",
    "warmbars delete AAPL --dataset actions --from 2026-01-02 --to 2026-01-02",
)


@command(DATA, *_EXAMPLES)
def delete(
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="The symbols.", show_default=False)],
    dataset: Annotated[choices.Dataset, typer.Option(help="Which raw rows.", show_default=False)],
    granularity: Annotated[choices.Granularity | None, typer.Option(help="Bars of this length only.")] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY|MOMENT", help="First day of the symbol's market, or an instant."),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY|MOMENT", help="Last day, included; or an instant, not included."),
    ] = None,
    source: Annotated[str | None, typer.Option(metavar="NAME", help="Rows of this source only.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete raw rows. The next refresh computes what is left, and takes out what nothing speaks for any more.

    Deleted rows move to the table's history with the time of their deletion, so that `compute --as-of` still knows
    them. A source that had told whole days of trades (its coverage) takes that back with them. With `--json` nothing
    is asked: add `--yes` or `--dry-run`.
    """
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("with --json nothing is asked; add --yes or --dry-run", param_hint="--json")
    since, until = (None if text is None else choices.day_or_moment(text) for text in (first, last))
    with connected("looking") as (deps, say):
        from flows import removal

        meant = removal.removals(deps, removal.Deletion(dataset, symbols, since, until, granularity, source))
        matched = removal.match(deps, meant)
        if not dry_run and any(matched.values()) and not yes:
            _ask(dataset, matched)
        done = [] if dry_run else removal.delete(deps, meant, datetime.now(UTC), say)
    if as_json:
        print_json({"matched": _told(matched), "deleted": None if dry_run else [asdict(each) for each in done]})
    elif dry_run:
        out().print(_table(dataset, matched) if any(matched.values()) else _nothing(dataset))
    else:
        _print(dataset, done)


def _ask(dataset: str, matched: "Mapping[str, Sequence[Matched]]") -> None:
    from flows.cli.console import err

    err().print(_table(dataset, matched))
    rows = sum(each.rows for some in matched.values() for each in some)
    if not typer.confirm(f"Delete these {rows:,} rows?", err=True):
        raise typer.Abort


def _table(dataset: str, matched: "Mapping[str, Sequence[Matched]]") -> "Table":
    from flows.page import plain_table

    table = plain_table(dataset, "source", "rows", "first", "last")
    for symbol, some in matched.items():
        for each in some:
            table.add_row(symbol, each.source, f"{each.rows:,}", _moment(each.first), _moment(each.last))
    return table


def _moment(moment: date | datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if isinstance(moment, datetime) else f"{moment}"


def _print(dataset: str, done: "Sequence[Removed]") -> None:
    from flows.page import count

    rows = sum(each.rows for each in done)
    withdrawn = sum(each.withdrawn for each in done)
    if not rows and not withdrawn:
        out().print(_nothing(dataset))
        return
    told = f", and {count(withdrawn, 'day')} of coverage taken back" if withdrawn else ""
    out().print(f"{count(rows, 'row')} of {dataset} deleted{told}.")
    if any(each.windows for each in done):
        out().print(f"Bring what is computed up to date: [cyan]{program()} refresh[/], then publish.", style="dim")


def _nothing(dataset: str) -> str:
    return f"No row of {dataset} is like that; nothing to delete."


def _told(matched: "Mapping[str, Sequence[Matched]]") -> dict[str, Any]:
    return {symbol: [asdict(each) for each in some] for symbol, some in matched.items()}
