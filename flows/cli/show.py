"""`show`: one symbol, as the cache has it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import choices
from flows.cli.app import LOOK, AsJson, command
from flows.cli.connect import cache_alone
from flows.cli.console import colored, out, print_json, working
from transforms.errors import PermanentError, UnknownSymbol

if TYPE_CHECKING:
    from flows.symbol_page import SymbolPage, View
    from storage.cache.reader import Reader

_ROWS = 10


@command(LOOK, "warmbars show AAPL", "warmbars show AAPL --interval 5m --indicator sma_20 --indicator rsi_14")
def show(
    symbol: Annotated[str, typer.Argument(help="The symbol.", show_default=False)],
    interval: Annotated[choices.Interval, typer.Option(help="Length of the bars.")] = "1d",
    indicator: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An indicator, such as sma_20 or macd; may be repeated."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Newest bars in the table.")] = _ROWS,
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Zone of the times shown.")] = "UTC",
    as_json: AsJson = False,
) -> None:
    """Show a symbol's chart, bars and indicators, read from the cache alone.

    Says as of when they are, their version, and whether they are fresh: a stale value is still the newest there is.
    """
    with working("reading the cache") as say:
        from flows.symbol_page import View
        from storage.settings import load_settings

        view = View(interval, indicator or [], choices.zone(time_zone))
        with cache_alone(load_settings(), say) as reader:
            page = _read(reader, symbol, view)
    if as_json:
        print_json(page.as_json(rows))
        return
    from flows.symbol_page import symbol_page

    console = out()
    console.print(symbol_page(page, rows, console.width, color=colored(console)))


def _read(reader: "Reader", symbol: str, view: "View") -> "SymbolPage":
    from flows.symbol_page import KEYS, page_of
    from storage.cache.keys import bars_name, indicators_name

    if view.indicators and view.interval == "1m":
        raise PermanentError("there are no indicators of 1m bars; choose another --interval")
    wanted = [bars_name(view.interval), *([indicators_name(view.interval)] if view.indicators else []), *KEYS]
    try:
        snapshot = reader.snapshot(symbol, *wanted)
    except UnknownSymbol as exc:
        raise UnknownSymbol(_unknown(reader, symbol, str(exc))) from exc
    return page_of(snapshot, view, reader.checked(), datetime.now(UTC))


def _unknown(reader: "Reader", symbol: str, otherwise: str) -> str:
    from difflib import get_close_matches

    from flows.spotlight import symbols

    known = symbols(reader)
    if not known:
        return otherwise
    plain: dict[str, Any] = {name.upper(): name for name in known}
    close = [plain[name] for name in get_close_matches(symbol.upper(), plain, n=3)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known[:8])}"
    more = f" and {len(known) - 8:,} more" if not close and len(known) > 8 else ""
    return f"nothing is published for {symbol}; {hint}{more}"
