"""`explain`: where a key or a row comes from, and what a raw row reaches."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from flows.cli import choices
from flows.cli.app import LOOK, AsJson, command
from flows.cli.connect import connected, must_exist
from flows.cli.console import out, print_json
from transforms.errors import PermanentError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from flows.explain_raw import RawRow
    from flows.wiring import Deps

_ROWS = 10
_RAW_WORDS = 3


@command(
    LOOK,
    "warmbars explain AAPL:bars:5m",
    "warmbars explain AAPL bars:5m 2026-01-02T14:35Z",
    "warmbars explain AAPL indicators:1d 2026-01-02 --json",
    "warmbars explain --raw AAPL ticks 2026-01-02T14:36:10Z",
)
def explain(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY | SYMBOL DATASET TIME",
            help="A key, whole or as SYMBOL:DATASET; or a symbol, a dataset and a time: an instant, a date for 1d.",
            show_default=False,
        ),
    ],
    raw: Annotated[
        bool,
        typer.Option("--raw", help="The other way round: what a raw row (ticks, bars, sentiment, actions) reaches."),
    ] = False,
    source: Annotated[str | None, typer.Option(metavar="NAME", help="Only this source's raw row, with --raw.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Most lines of a table.")] = _ROWS,
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Zone of the times shown.")] = "UTC",
    as_json: AsJson = False,
) -> None:
    """Say where a key or a row comes from: runs, code, raw rows by source, when they arrived, what they were before.

    Of a key, also whether the cache holds what the database would send now. With --raw, which sessions, rows and keys
    a change of a raw row may change. Reads only.
    """
    from storage.settings import load_settings

    zone = choices.zone(time_zone)
    settings = load_settings()
    if settings.database_url is None:
        must_exist(settings)
    if source and not raw:
        raise typer.BadParameter("--source goes with --raw")
    with connected("looking") as (deps, _):
        kind, story = _raw(deps, words, source) if raw else _target(deps, words)
    if as_json:
        print_json({"kind": kind, **asdict(story)})
        return
    out().print(_page(kind, story, rows, zone))


def _target(deps: "Deps", words: list[str]) -> tuple[str, Any]:
    from flows.explain import explain_row
    from flows.explain_key import explain_key
    from flows.explain_target import RowTarget, target_of

    target, as_of = target_of(deps, words), datetime.now(UTC)
    if isinstance(target, RowTarget):
        return "row", explain_row(deps, target, as_of)
    return "key", explain_key(deps, target, as_of)


def _raw(deps: "Deps", words: list[str], source: str | None) -> tuple[str, Any]:
    from flows.explain_raw import explain_raw

    return "raw", explain_raw(deps, _raw_row(words, source), datetime.now(UTC))


def _raw_row(words: list[str], source: str | None) -> "RawRow":
    from flows.explain_raw import RawRow

    names = get_args(choices.Dataset)
    if len(words) != _RAW_WORDS or words[1] not in names:
        raise PermanentError(
            f"{' '.join(words)!r} names no raw row; write a symbol, one of {', '.join(names)}, and its time:"
            " AAPL ticks 2026-01-02T14:36:10Z, AAPL actions 2026-01-02"
        )
    symbol, dataset, text = words
    if dataset != "actions":
        return RawRow(symbol, dataset, choices.moment(text), source)  # type: ignore[arg-type]
    try:
        return RawRow(symbol, "actions", date.fromisoformat(text), source)
    except ValueError as exc:
        raise PermanentError(f"{text!r} is no date; an action is told by its ex-date, such as 2026-01-02") from exc


def _page(kind: str, story: Any, rows: int, zone: str) -> "RenderableType":
    from flows.explain_page import Clock, key_page, raw_page, row_page

    clock = Clock(zone)
    if kind == "raw":
        return raw_page(story, rows, clock)
    return row_page(story, rows, clock) if kind == "row" else key_page(story, rows, clock)
