"""Which column of a file is which of ours: by name, by a vendor's usual name, or as the settings say."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from transforms.errors import SchemaMismatch, UnreadableSource
from transforms.schema import DATASETS, Dataset

Kind = Literal["text", "number", "whole", "flag", "time", "date", "granularity", "label", "action"]

FILE_NAME: Final = "@file"
"""Stands for a column that holds the file's name without its endings: `@file = symbol` for AAPL.csv."""


@dataclass(frozen=True, slots=True)
class Field:
    """One of our columns: how its cells are read and what vendors call it, best name first."""

    kind: Kind
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file that are used (ours = theirs) and those that are not."""

    dataset: Dataset
    columns: dict[str, str]
    unused: tuple[str, ...]


_SYMBOL = Field("text", ("ticker", "sym", "instrument", "security"))
_TIME = Field("time", ("datetime", "date_time", "ts", "t", "created_at", "published_at", "time"))
_DATE = Field("date", ("session", "session_date", "trading_day", "trade_date"))
_SOURCE = Field("text", ("vendor", "provider"))

FIELDS: Final[dict[Dataset, dict[str, Field]]] = {
    "ticks": {
        "symbol": _SYMBOL,
        "timestamp": _TIME,
        "date": _DATE,
        "source": _SOURCE,
        "sequence": Field("whole", ("seq", "sequence_number", "seq_no")),
        "price": Field("number", ("trade_price", "px", "last")),
        "size": Field("number", ("qty", "quantity", "trade_size", "shares", "volume", "vol")),
        "condition": Field("text", ("cond", "conditions", "condition_hex", "sale_condition", "trade_condition")),
    },
    "bars": {
        "symbol": _SYMBOL,
        "timestamp": _TIME,
        "date": _DATE,
        "source": _SOURCE,
        "granularity": Field("granularity", ("interval", "timeframe", "resolution")),
        "bar_label": Field("label", ("label",)),
        "open": Field("number", ("o",)),
        "high": Field("number", ("h",)),
        "low": Field("number", ("l",)),
        "close": Field("number", ("c", "last")),
        "volume": Field("number", ("v", "vol")),
        "adjusted_close": Field("number", ("adj_close", "adjclose", "close_adjusted")),
    },
    "sentiment": {
        "symbol": _SYMBOL,
        "timestamp": _TIME,
        "date": _DATE,
        "source": _SOURCE,
        "external_id": Field("text", ("message_id", "tweet_id", "post_id", "id")),
        "sentiment_score": Field("number", ("score", "sentiment", "compound", "polarity")),
        "confidence": Field("number", ("conf", "probability")),
        "is_retweet": Field("flag", ("is_rt",)),
        "is_duplicate": Field("flag", ("is_dup", "is_dup_in_symbol")),
    },
    "actions": {
        "symbol": _SYMBOL,
        "ex_date": Field("date", ("exdate", "date")),
        "source": _SOURCE,
        "action": Field("action", ("action_type", "type", "event")),
        "value": Field("number", ("ratio", "amount")),
    },
}
"""Columns of each dataset. `date` is a daily bar's session, or the date that goes with a bare time of day."""

SIGNATURES: Final[dict[Dataset, tuple[str, ...]]] = {
    "ticks": ("price", "size"),
    "bars": ("open", "high", "low", "close"),
    "sentiment": ("sentiment_score",),
    "actions": ("ex_date", "action", "value"),
}
"""Columns a dataset is told by."""

NEEDED: Final[dict[Dataset, tuple[str, ...]]] = {
    "ticks": ("symbol", "timestamp", "price", "size"),
    "bars": ("symbol", "timestamp", "open", "high", "low", "close", "volume"),
    "sentiment": ("symbol", "timestamp", "sentiment_score", "confidence"),
    "actions": ("symbol", "ex_date", "action", "value"),
}
"""Columns a dataset cannot do without; a `date` will do for a `timestamp`."""


def match(names: Sequence[str], dataset: Dataset | None, mapping: Mapping[str, str], file: str) -> Layout:
    """Find our columns among a file's; `mapping` (theirs = ours) wins over any name."""
    mapped = _mapped(names, mapping, file)
    dataset = dataset or _told(names, mapped, file)
    unknown = [ours for ours in mapped if ours not in FIELDS[dataset]]
    if unknown:
        raise SchemaMismatch(
            f"{file}: {dataset} have no column {', '.join(unknown)}; they have {', '.join(FIELDS[dataset])}"
        )
    columns = _resolved(names, mapped, dataset)
    missing = [n for n in NEEDED[dataset] if n not in columns and not (n == "timestamp" and "date" in columns)]
    if missing:
        raise SchemaMismatch(_missing(file, dataset, missing, names))
    return Layout(dataset, columns, tuple(name for name in names if name not in columns.values()))


def _missing(file: str, dataset: Dataset, missing: Sequence[str], names: Sequence[str]) -> str:
    hint = f', or {{ "{FILE_NAME}" = "symbol" }} for the file\'s own name' if "symbol" in missing else ""
    return (
        f"{file}: no column for {', '.join(missing)} of {dataset}; it has {', '.join(names)}. "
        f'Name theirs in the source\'s columns: {{ "theirs" = "{missing[0]}" }}{hint}'
    )


def _mapped(names: Sequence[str], mapping: Mapping[str, str], file: str) -> dict[str, str]:
    """The settings' mapping turned round (ours = theirs), their names as the file spells them."""
    spelled = {_plain(name): name for name in reversed(names)} | {name: name for name in names}
    spelled[FILE_NAME] = FILE_NAME
    absent = [theirs for theirs in mapping if theirs not in spelled and _plain(theirs) not in spelled]
    if absent:
        raise SchemaMismatch(f"{file}: the source's columns name {', '.join(absent)}, but it has {', '.join(names)}")
    return {ours: spelled.get(theirs) or spelled[_plain(theirs)] for theirs, ours in mapping.items()}


def _told(names: Sequence[str], mapped: Mapping[str, str], file: str) -> Dataset:
    """The one dataset whose signature the columns hold."""
    fits = [d for d in DATASETS if all(n in _resolved(names, mapped, d) for n in SIGNATURES[d])]
    if "bars" in fits and "ticks" in fits and _is_volume(_resolved(names, mapped, "ticks")["size"]):
        fits.remove("ticks")  # a bar's volume is no trade's size
    if len(fits) == 1:
        return fits[0]
    wanted = "; ".join(f"{d}: {', '.join(NEEDED[d])}" for d in fits or DATASETS)
    problem = f"could be {' or '.join(fits)}" if fits else "are of no known kind"
    raise UnreadableSource(
        f"{file}: its rows {problem}; it has {', '.join(names)}. Name the dataset, or their columns in the "
        f'source\'s columns ({{ "theirs" = "ours" }}). Needed are, {wanted}'
    )


def _resolved(names: Sequence[str], mapped: Mapping[str, str], dataset: Dataset) -> dict[str, str]:
    """Our columns found: mapped ones, else the best alias; a column of theirs serves once."""
    free = [name for name in names if name not in mapped.values()]
    plain = {_plain(name): name for name in reversed(free)} | {name: name for name in free}
    taken = {theirs for ours, theirs in mapped.items() if ours in FIELDS[dataset]}
    found = {ours: theirs for ours, theirs in mapped.items() if ours in FIELDS[dataset]}
    for ours, known in FIELDS[dataset].items():
        for alias in () if ours in found else (ours, *known.aliases):
            theirs = plain.get(alias)
            if theirs is not None and theirs not in taken:
                found[ours] = theirs
                taken.add(theirs)
                break
    return found


def _is_volume(name: str) -> bool:
    return _plain(name) in ("volume", "vol")


def _plain(name: str) -> str:
    """`Adj Close`, `adj-close` and `<ADJ_CLOSE>` are one name."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
