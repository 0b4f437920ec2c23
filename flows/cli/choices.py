"""What options accept. The same words as in `transforms.schema`, whose import costs too much for a `--help`."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import typer

Dataset = Literal["ticks", "bars", "sentiment", "actions"]
Granularity = Literal["1m", "1h", "1d"]
Retained = Literal["ticks", "bars", "sentiment"]
Interval = Literal["1m", "5m", "15m", "1h", "1d"]
PriceBasis = Literal["raw", "split", "split_dividend"]
Mode = Literal["upsert", "replace"]
Label = Literal["start", "end"]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration(text: str) -> timedelta:
    """`60s`, `5m`, `1h`; a bare number is seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None or float(found[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no duration; write 60s, 5m or 1h")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def moment(text: str) -> datetime:
    """`2026-01-02T14:35Z`, `2026-01-02 09:35-05:00`: an instant, with its zone."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(f"{text!r} is no moment; write one with its zone: 2026-01-02T14:35Z or …T09:35-05:00")
    return found.astimezone(UTC)


def day_or_moment(text: str) -> date | datetime:
    """`2026-01-02`, a day of the symbol's market; or an instant, as `moment` takes it."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return moment(text)


def mapping(pairs: list[str]) -> dict[str, str]:
    """`["Adj Close=close"]`: their column = ours."""
    split = [pair.rpartition("=") for pair in pairs]
    wrong = [pair for pair, (theirs, _, ours) in zip(pairs, split, strict=True) if not theirs or not ours]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r}: write theirs=ours, such as 'Adj Close=close'")
    return {theirs.strip(): ours.strip() for theirs, _, ours in split}


def zone(name: str) -> str:
    """The IANA name of a time zone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise typer.BadParameter(
            f"no time zone is called {name!r}; write America/New_York, Asia/Kolkata or UTC"
        ) from exc
