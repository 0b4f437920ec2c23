"""`run`: ingest, refresh, publish; once with a page to look at, or for ever."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import choices
from flows.cli.app import PIPELINE, AsJson, command
from flows.cli.connect import connected
from flows.cli.console import Say, colored, complain, out, print_json, program, working
from flows.cli.pipeline import exit_unless_read, ingested_as_json
from transforms.errors import TransientError

if TYPE_CHECKING:
    from flows.page import RunPage
    from flows.sources_of import Named
    from flows.steps import RunReport
    from flows.wiring import Deps


@command(PIPELINE, "warmbars run", "warmbars run nasdaq --every 60s")
def run(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Names of configured sources; all of them when left out.", show_default=False),
    ] = None,
    every: Annotated[
        timedelta | None,
        typer.Option(
            parser=choices.duration,
            metavar="DURATION",
            help="Keep running, this often (60s, 5m, 1h); Ctrl-C ends it after the step it is at.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ingest the configured sources, refresh what changed, publish it: the whole line.

    With no settings the source is a simulated market. Name your own under [bold]sources[/] in warmbars.toml.
    """
    if every is not None:
        _keep_running(sources or [], every, as_json=as_json)
        return
    started = time.perf_counter()
    with connected("ingesting") as (deps, say):
        from flows.sources_of import configured

        named = configured(deps, sources or [])
        first = not deps.runs.last(1)
        up = time.perf_counter() - started
        done, took = one_round(deps, named, say, threading.Event())
        assert done is not None
        page = _page(deps, named, done, {"start": up, **took}, first=first)
    if as_json:
        print_json(_as_json(done, page.seconds))
    else:
        _print_page(page)
    exit_unless_read(done.ingested)


def one_round(
    deps: "Deps", named: "Sequence[Named]", say: Say, stop: threading.Event
) -> "tuple[RunReport | None, dict[str, float]]":
    """All steps in a row and the seconds each took; None when `stop` was set between two of them."""
    from flows import steps
    from flows.sources_of import sources_of

    as_of = datetime.now(UTC)
    ingested = steps.ingest(deps, sources_of(deps, named, as_of), as_of, say)
    if stop.is_set():
        return None, {}
    refreshed = steps.refresh(deps, as_of, say)
    if stop.is_set():
        return None, {}
    published = steps.publish(deps, as_of, say)
    say("comparing the cache with the database")
    swept = steps.sweep(deps, say)
    seconds = {
        "ingest": ingested.seconds,
        "refresh": refreshed.seconds,
        "publish": published.seconds + swept.seconds,
    }
    return steps.RunReport(ingested, refreshed, published), seconds


def _keep_running(names: Sequence[str], every: timedelta, *, as_json: bool) -> None:
    """Round after round until a signal; what may pass by itself is reported and tried again, on new connections."""
    with _until_signalled() as (stop, code):
        while not stop.is_set():
            try:
                with ExitStack() as stack:
                    with working("starting") as say:
                        from flows.wiring import wire
                        from storage.settings import load_settings

                        deps = stack.enter_context(wire(load_settings(), say))
                    _rounds(deps, names, every, stop, as_json=as_json)
            except TransientError as exc:
                complain(f"{exc}; trying again in {every.total_seconds():g} s")
                stop.wait(every.total_seconds())
        raise typer.Exit(code())


def _rounds(deps: "Deps", names: Sequence[str], every: timedelta, stop: threading.Event, *, as_json: bool) -> None:
    from flows.sources_of import configured

    named = configured(deps, names)
    while not stop.is_set():
        started = time.monotonic()
        with working("ingesting") as say:
            done, took = one_round(deps, named, say, stop)
        if done is not None:
            _print_round(done, took, as_json=as_json)
        left = max(0.0, every.total_seconds() - (time.monotonic() - started))
        with working(f"next run at {datetime.now(UTC) + timedelta(seconds=left):%H:%M:%S} UTC"):
            stop.wait(left)


def _print_round(done: "RunReport", took: dict[str, float], *, as_json: bool) -> None:
    from flows.page import round_line

    if as_json:
        print_json(_as_json(done, took), lines=True)
    else:
        out().print(round_line(done, took, datetime.now(UTC)), soft_wrap=True)
    for report in done.ingested.failures:
        complain(report.error or "")


@contextmanager
def _until_signalled() -> "Iterator[tuple[threading.Event, Any]]":
    """An event that the first SIGINT or SIGTERM sets, and the exit code it asks for; a second one interrupts."""
    stop = threading.Event()
    received = [signal.SIGINT]

    def note(number: int, _: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        received[0] = signal.Signals(number)
        stop.set()
        os.write(2, b"\nending after the current step (again: at once)\n")  # a print could be in the middle of one

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, lambda: 128 + received[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _page(
    deps: "Deps", named: "Sequence[Named]", done: "RunReport", seconds: dict[str, float], *, first: bool
) -> "RunPage":
    from flows.page import RunPage
    from flows.spotlight import spotlight

    shown, finding = spotlight(deps.reader())
    simulated = tuple(name for name, source in named if source.kind == "simulated")
    return RunPage(
        done.ingested,
        done.refreshed,
        done.published,
        seconds,
        datetime.now(UTC),
        simulated,
        first,
        shown,
        finding,
        program(),
        _next(shown.symbol if shown else "SYMBOL", simulated=bool(simulated)),
    )


def _next(symbol: str, *, simulated: bool) -> tuple[tuple[str, str], ...]:
    """Three commands worth trying after a run."""
    more = ("run --every 60s", "keep it warm")
    own = ("ingest your.csv --time-zone America/New_York", "your own rows")
    return (
        (f"show {symbol} --interval 5m --indicator sma_20", "read from the cache alone"),
        ("status", "what is stored, stale or waiting"),
        own if simulated else more,
    )


def _print_page(page: "RunPage") -> None:
    from flows.page import run_page

    console = out()
    console.print(run_page(page, console.width, color=colored(console)))


def _as_json(done: "RunReport", seconds: Any) -> dict[str, Any]:
    return {
        "ingested": ingested_as_json(done.ingested),
        "refreshed": asdict(done.refreshed),
        "published": asdict(done.published),
        "seconds": dict(seconds),
    }
