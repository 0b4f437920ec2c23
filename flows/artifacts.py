"""What a run leaves in the Prefect UI: a Markdown table of what it did, and the same in a few words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from itertools import islice

from prefect.artifacts import acreate_markdown_artifact

from flows.forecast import Forecasted
from flows.steps import FileReport, Ingested, Published, Refreshed

MOST_FILES = 200
"""Files, or symbols left or without a forecast, listed one by one; the table `runs` tells of a run over more."""


@dataclass(frozen=True, slots=True)
class Section:
    """One step's part of the summary. `words` also names the run; `failures` are why it is not a success."""

    title: str
    words: str
    table: str
    failures: tuple[str, ...] = ()


@singledispatch
def section(report: object) -> Section:
    """What a step reported, to be read."""
    raise TypeError(f"nothing is known of a {type(report).__name__}")


@section.register
def _(report: Ingested) -> Section:
    files = sorted(report.files, key=lambda file: (file.error is None, file.source, file.origin, file.dataset))
    rows = [_file_row(file) for file in files[:MOST_FILES]]
    if len(files) > MOST_FILES:
        rows.append([f"and {len(files) - MOST_FILES:,} more", *[""] * 7])
    headers = ["source", "file", "dataset", "read", "rejected", "new", "changed", "remarks"]
    stored = sum(file.written.inserted + file.written.changed + file.written.removed for file in files)
    rejected = sum(file.rejected for file in files)
    words = f"{stored:,} rows stored" + (f", {rejected:,} rejected" if rejected else "")
    failures = tuple(f"{file.source}: {file.error}" for file in files if file.error is not None)
    return Section("Ingested", words, table(headers, rows), failures)


@section.register
def _(report: Refreshed) -> Section:
    rows: list[list[object]] = [[name, count] for name, count in sorted(report.rows.items())]
    if report.busy:
        rows.append([f"left to another run: {', '.join(sorted(report.busy))}", ""])
    words = f"{sum(report.rows.values()):,} rows of {len(report.symbols):,} symbols refreshed"
    return Section("Refreshed", words, table(["table", "rows written"], rows))


@section.register
def _(report: Published) -> Section:
    rows: list[list[object]] = [
        ["symbols", report.symbols],
        ["keys written", report.written],
        ["keys kept as they were", report.kept],
        ["keys deleted", report.deleted],
        ["refused, the cache had newer", report.refused],
    ]
    words = f"{report.written:,} keys of {report.symbols:,} symbols published"
    return Section("Published", words, table(["cache", "count"], rows))


@section.register
def _(report: Forecasted) -> Section:
    rows: list[list[object]] = [
        [f"{s.target} by {s.model}", s.symbols, f"beats its baseline for {s.beat:,}"] for s in report.standing
    ]
    rows += [[f"{symbol} was left as it is", "", why] for symbol, why in islice(report.left.items(), MOST_FILES)]
    rows += [[f"{symbol} has no forecast", "", why] for symbol, why in islice(report.missing.items(), MOST_FILES)]
    words = f"{report.due:,} symbols due, {len(report.symbols):,} changed"
    return Section("Forecast", words, table(["stored", "symbols", "remarks"], rows))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers with thousands separators, and no value can break out of its cell."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


async def leave(kind: str, sections: Sequence[Section]) -> None:
    """Attach the summary to the run that calls this; `kind` keeps one history of it in the UI."""
    parts = [f"## {part.title}\n\n{part.table}" for part in sections]
    failures = [failure for part in sections for failure in part.failures]
    if failures:
        parts.insert(0, "## Failed\n\n" + table(["what", "why"], [_cause(failure) for failure in failures]))
    words = "; ".join(part.words for part in sections)
    await acreate_markdown_artifact("\n\n".join(parts), key=f"warmbars-{kind}", description=words)


def _file_row(file: FileReport) -> list[object]:
    remarks = file.error if file.error is not None else "; ".join(file.notes)
    done = file.written
    return [file.source, file.origin, file.dataset, file.read, file.rejected, done.inserted, done.changed, remarks]


def _cause(failure: str) -> list[str]:
    what, _, why = failure.partition(": ")
    return [what, why]


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(str(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
