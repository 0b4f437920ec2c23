"""`verify`: whether what is stored and published is what the raw rows make."""

import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.app import LOOK, AsJson, command
from flows.cli.connect import connected, must_exist
from flows.cli.console import out, print_json, program

if TYPE_CHECKING:
    from flows.verify import Asked, Verified
    from storage.cache.checker import KeyFault


@command(
    LOOK,
    "warmbars verify",
    "warmbars verify AAPL MSFT --sql",
    "warmbars verify --sample 10% --seed 7",
    "warmbars verify --all --repair || (warmbars refresh && warmbars publish)",
)
def verify(
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL", help="Symbols to look at.", show_default=False)
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(metavar="N|SHARE", help="Draw so many symbols, or a share of them: 50, 10%, 0.1.  [20]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draw the same symbols again.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Look at every symbol, and at what is made of all of them together.")
    ] = False,
    keys: Annotated[bool, typer.Option("--keys/--no-keys", help="Look at the cache too.")] = True,
    by_sql: Annotated[
        bool, typer.Option("--sql", help="Also compare bars with the same bars computed by the database.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mark what differs as dirty, so that the next refresh makes it again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compute results again from all raw rows and compare them with the stored ones and with the keys of the cache.

    Says the first difference of each symbol and table, which run wrote it and which raw rows it is made of. What waits
    for a refresh is pending, not wrong. Exit code 0: equal; 1: something differs. Refreshes may go on meanwhile.
    """
    from storage.settings import load_settings

    if symbols and (sample is not None or everything or seed is not None):
        raise typer.BadParameter("name symbols, or draw them with --sample, or take --all of them")
    if everything and (sample is not None or seed is not None):
        raise typer.BadParameter("--all draws nothing; leave out --sample and --seed")
    number, share = _size(sample)
    settings = load_settings()
    if settings.database_url is None:
        must_exist(settings)
    with connected("verifying") as (deps, say):
        from flows.verify import SAMPLE, Asked, verify

        drawing = not symbols and not everything
        asked = Asked(
            symbols=symbols or (),
            number=SAMPLE if drawing and sample is None else number,
            share=share,
            seed=secrets.randbelow(10_000) if seed is None else seed,
            keys=keys,
            sql=by_sql,
            repair=repair,
        )
        done = verify(deps, asked, datetime.now(UTC), say)
    if as_json:
        print_json(_as_json(done, asked, drawing=drawing))
    else:
        from flows.verify_page import verify_page

        looked = len(done.symbols) + len(done.pending)
        drawn = (
            f"drawn with --seed {asked.seed}; --all looks at every symbol" if drawing and looked < done.known else ""
        )
        out().print(verify_page(done, drawn, program()))
    if not done.equal:
        raise typer.Exit(1)


def _size(sample: str | None) -> tuple[int | None, float | None]:
    """`50`: a number; `10%` or `0.1`: a share."""
    if sample is None:
        return None, None
    text = sample.strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
        elif "." in text:
            share = float(text)
        else:
            number = int(text)
            if number > 0:
                return number, None
            share = 0.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise typer.BadParameter(f"{sample!r} is no sample; write a number of symbols (50) or a share (10%, 0.1)")
    return None, share


def _as_json(done: "Verified", asked: "Asked", *, drawing: bool) -> dict[str, Any]:
    return {
        "equal": done.equal,
        "symbols": done.symbols,
        "known": done.known,
        "seed": asked.seed if drawing else None,
        "pending": done.pending,
        "raw_rows": done.raw_rows,
        "rows": done.rows,
        "wrong": done.wrong,
        "differences": [asdict(told) for told in done.told],
        "more": done.differences - len(done.told),
        "keys": {
            "symbols": done.keys.symbols,
            "keys": done.keys.keys,
            "pending": done.keys.pending,
            "faults": [_fault(fault) for fault in done.keys.faults],
        },
        "forecasts": {"symbols": done.forecast, "outdated": done.outdated},
        "sql": asdict(done.sql) if asked.sql else None,
        "marked": done.marked,
        "unmarked": done.unmarked,
        "seconds": done.seconds,
    }


def _fault(fault: "KeyFault") -> dict[str, Any]:
    from flows.verify_keys import first_difference

    first = first_difference(fault)
    return {
        "symbol": fault.symbol,
        "name": fault.name,
        "fault": fault.fault,
        "said": fault.said,
        "run": fault.run,
        "first": asdict(first) if first else None,
    }
