"""`python -m benchmarks NAME`: a table of ratios, or JSON."""

import json
import pkgutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from benchmarks import suites

if TYPE_CHECKING:
    from benchmarks.bench import Place
    from benchmarks.data import Size
    from benchmarks.harness import Outcome, Progress

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
NAMES = sorted(module.name for module in pkgutil.iter_modules(suites.__path__))


@app.command()
def main(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help=f"one or more of: {', '.join(NAMES)}")],
    repeat: Annotated[int, typer.Option(min=1, help="samples of each side; the median of fewer than five is weak")] = 5,
    only: Annotated[str, typer.Option(help="only measures whose name contains this")] = "",
    home: Annotated[Path | None, typer.Option(help="a new directory to work in; else a temporary one")] = None,
    json_wanted: Annotated[bool, typer.Option("--json", help="print a list of objects, one a measure")] = False,
    markdown: Annotated[bool, typer.Option(help="print a section for benchmarks/RESULTS.md")] = False,
) -> None:
    """Hold ours against a peer or a physical limit, both measured in this run.

    A missed target is reported and is no error. Example: python -m benchmarks pipeline --json
    """
    console, errors = Console(), Console(stderr=True)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        errors.print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(NAMES)}")
        raise typer.Exit(2)
    from benchmarks.data import FULL
    from benchmarks.transforms.equality import Unequal
    from transforms.errors import PipelineError

    results: dict[str, list[Outcome]] = {}
    try:
        with _place(home) as place, errors.status("") as status:
            for name in names:
                for result in measured(name, place, FULL, repeat, only, status.update):
                    results.setdefault(name, []).append(result)
    except (PipelineError, Unequal) as exc:
        errors.print(f"[red]{escape(str(exc))}[/]")
        raise typer.Exit(1) from exc
    finally:  # what is measured is told, whatever ended the run
        _show(results, console, "json" if json_wanted else "markdown" if markdown else "table")


def _show(results: "Mapping[str, list[Outcome]]", console: Console, form: Literal["json", "markdown", "table"]) -> None:
    from benchmarks.report import as_json, as_markdown, as_table, notes

    if form == "json":
        print(json.dumps(as_json([result for some in results.values() for result in some]), indent=2))
        return
    for name, some in results.items():
        if form == "markdown":
            print(as_markdown(name, some))
            continue
        console.print(as_table(name, some))
        for line in notes(some):
            console.print(f"- {line}", highlight=False)


def measured(
    name: str, place: "Place", size: "Size", repeats: int, only: str, progress: "Progress"
) -> "Iterator[Outcome]":
    """Results of one benchmark, one by one, its servers started and stopped again."""
    from benchmarks.bench import Bench
    from benchmarks.harness import run

    with Bench(place, size) as bench:
        chosen = [m for m in import_module(f"benchmarks.suites.{name}").measures(bench) if only in m.name]
        yield from (run(measure, repeats, progress) for measure in chosen)


@contextmanager
def _place(home: Path | None) -> "Iterator[Place]":
    from benchmarks.bench import Place

    if home is not None:
        yield Place.at(home)
        return
    with tempfile.TemporaryDirectory(prefix="warmbars-benchmarks-", ignore_cleanup_errors=True) as made:
        yield Place.at(Path(made))


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
