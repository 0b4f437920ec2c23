"""`symbol`: which symbols there are, a new name, and from when to when one is traded."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.app import DATA, AsJson, app, command
from flows.cli.connect import connected
from flows.cli.console import out, print_json, program
from flows.cli.edge import Group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.market.instruments import Instrument

symbol = typer.Typer(cls=Group, help="Symbols: list, show, rename, reopen, delist.", no_args_is_help=True)
app.add_typer(symbol, name="symbol", rich_help_panel=DATA)

_DATE = ["%Y-%m-%d"]
Name = Annotated[str, typer.Argument(metavar="SYMBOL", help="The symbol.", show_default=False)]


@command(DATA, "warmbars symbol list", "warmbars symbol list --json", on=symbol)
def list_(as_json: AsJson = False) -> None:
    """List every symbol that was ever ingested, with its market and from when to when it is traded."""
    with connected("looking") as (deps, _):
        from storage.market.instruments import InstrumentStore

        found = InstrumentStore(deps.database).all()
    if as_json:
        print_json([asdict(each) for each in found])
    elif found:
        _print(found)
    else:
        out().print("No symbol yet: nothing was ever ingested.")


list_.__name__ = "list"  # its name as a command; the function's own must leave the built-in alone


@command(DATA, "warmbars symbol show AAPL", "warmbars symbol show AAPL --json", on=symbol)
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what is known of a symbol, and how many raw rows it has."""
    with connected("looking") as (deps, _):
        from storage.market.instruments import InstrumentStore
        from transforms.errors import UnknownSymbol

        store = InstrumentStore(deps.database)
        found = store.get(name)
        if found is None:
            raise UnknownSymbol(f"no row of {name} was ever ingested; see: warmbars symbol list")
        rows = store.holdings(name)
    if as_json:
        print_json({**asdict(found), "rows": rows})
        return
    _print([found])
    out().print(", ".join(f"{count:,} {dataset}" for dataset, count in rows.items()), style="dim")


@command(DATA, "warmbars symbol rename FB META --dry-run", "warmbars symbol rename FB META", on=symbol)
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Its name so far.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.", show_default=False)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say whether it can be done, and of how much.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give everything that a symbol has to another name; the next refresh computes it there and leaves nothing behind.

    The new name must have no rows of its own. From then on rows under the old name are set aside (the rule
    `renamed_symbol`), until it is reopened. The same command with the names the other way round takes it back.
    """
    with connected("renaming") as (deps, _):
        from storage.market.instruments import InstrumentStore

        if dry_run:
            store = InstrumentStore(deps.database)
            store.check_rename(old, new)
            rows, done = store.holdings(old), None
        else:
            from flows.symbols import rename as renamed

            done = renamed(deps, old, new, datetime.now(UTC))
            rows = dict(done.rows)
    if as_json:
        print_json({"old": old, "new": new, "rows": rows, "renamed": done is not None})
        return
    what = ", ".join(f"{count:,} {dataset}" for dataset, count in rows.items() if count) or "no raw rows"
    out().print(f"{old} {'would be' if done is None else 'is'} {new} now: {what}.")
    if done is not None:
        out().print(f"Compute it under its new name: [cyan]{program()} refresh[/], then publish.", style="dim")


@command(DATA, "warmbars symbol reopen FB", on=symbol)
def reopen(name: Name, as_json: AsJson = False) -> None:
    """Let the old name of a renamed symbol be a symbol of its own: rows under it are let in again."""
    with connected("looking") as (deps, _):
        from storage.market.instruments import InstrumentStore

        found = InstrumentStore(deps.database).reopen(name)
    _answer(found, as_json=as_json)


@command(
    DATA,
    "warmbars symbol delist TWTR --on 2022-10-28",
    "warmbars symbol delist TWTR --undo",
    "warmbars symbol delist ABNB --from 2020-12-10",
    on=symbol,
)
def delist(
    name: Name,
    on: Annotated[
        datetime | None, typer.Option("--on", formats=_DATE, metavar="DATE", help="The last day it is traded.")
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=_DATE, metavar="DATE", help="The first day it is traded.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="It goes on being traded: forget its last day.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say until when a symbol is traded (and, with `--from`, since when).

    Its rows and keys stay as they are. The catalogue shows the dates, the board leaves it out once its last day is
    over, and `gaps` expects no bar outside them.
    """
    if (on is None and first is None and not undo) or (on is not None and undo):
        raise typer.BadParameter("write --on DATE, --from DATE or --undo", param_hint="--on")
    with connected("looking") as (deps, _):
        from flows.symbols import set_active
        from storage.market.instruments import InstrumentStore
        from transforms.errors import UnknownSymbol

        known = InstrumentStore(deps.database).get(name)
        if known is None:
            raise UnknownSymbol(f"no row of {name} was ever ingested; see: warmbars symbol list")
        since = first.date() if first else known.active_from
        until = None if undo else on.date() if on else known.active_to
        found = set_active(deps, name, since, until, datetime.now(UTC))
    _answer(found, as_json=as_json)


def _answer(found: "Instrument", *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
    else:
        _print([found])


def _print(found: "Sequence[Instrument]") -> None:
    from flows.page import plain_table

    table = plain_table("symbol", "market", "first day", "last day", "")
    table.columns[1].justify = table.columns[4].justify = "left"
    for each in found:
        name = f"renamed to {each.renamed_to}" if each.renamed_to else ""
        table.add_row(each.symbol, each.market, _day(each.active_from), _day(each.active_to), name)
    out().print(table)


def _day(day: date | None) -> str:
    return "" if day is None else f"{day}"
