"""The harness: what is run in which order, and what is made of the samples."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.__main__ import NAMES, app
from benchmarks.harness import Direction, Measure, Result, Skipped, Unmeasurable, run
from benchmarks.report import as_json, as_markdown, as_table, notes
from benchmarks.transforms.equality import Unequal


class Counting(Measure):
    """Gives the numbers it was told to, and remembers what was asked."""

    name = "counting"
    unit = "s"
    target = 2.0
    direction = "at most"

    def __init__(self, ours: list[float], reference: list[float]) -> None:
        self.asked: list[str] = []
        self._ours, self._reference = iter(ours), iter(reference)

    @property
    def about(self) -> str:
        return "numbers"

    def setup(self) -> None:
        self.asked.append("setup")

    def ours(self) -> float:
        self.asked.append("ours")
        return next(self._ours)

    def reference(self) -> float:
        self.asked.append("reference")
        return next(self._reference)

    def details(self) -> dict[str, float]:
        return {"parts": 3.0}

    def teardown(self) -> None:
        self.asked.append("teardown")


def silent(_: str) -> None:
    pass


def result(target: float, direction: Direction, ours: float = 3.0) -> Result:
    return Result("m", "about", "s", ours, 2.0, (1.0, 2.0), target, direction, 5, {})


def test_both_sides_take_turns_after_a_warm_up() -> None:
    measure = Counting([99, 1, 2], [99, 1, 1])
    run(measure, 2, silent)
    assert measure.asked == ["setup", *["ours", "reference"] * 3, "teardown"]


def test_medians_leave_out_the_warm_up() -> None:
    found = run(Counting([99, 8, 2, 4], [1, 1, 2, 4]), 3, silent)
    assert isinstance(found, Result)
    assert (found.ours, found.reference, found.ratio) == (4, 2, 2.0)
    assert found.spread == (1.0, 8.0)


def test_a_measure_may_take_more_samples_and_another_quantile() -> None:
    measure = Counting([0, *range(1, 21)], [1] * 21)
    measure.samples_a_repeat, measure.quantile = 10, 0.95  # type: ignore[misc]
    found = run(measure, 2, silent)
    assert isinstance(found, Result)
    assert (found.repeats, found.ours, found.reference) == (20, pytest.approx(19.05), 1)


def test_a_failing_measure_is_torn_down() -> None:
    measure = Counting([], [])
    with pytest.raises(StopIteration):
        run(measure, 1, silent)
    assert measure.asked[-1] == "teardown"


@pytest.mark.parametrize(
    ("direction", "target", "met"),
    [("at least", 1.5, True), ("at least", 1.6, False), ("at most", 1.5, True), ("at most", 1.4, False)],
)
def test_which_side_of_the_target_counts(direction: Direction, target: float, met: bool) -> None:  # noqa: FBT001
    assert result(target, direction).met is met


def test_json_has_what_scripts_read() -> None:
    found = run(Counting([1, 1], [2, 2]), 1, silent)
    (told,) = json.loads(json.dumps(as_json([found])))
    wanted = {"measure": "counting", "ours": 1, "reference": 2, "ratio": 0.5, "target": 2.0, "met": True}
    assert wanted.items() <= told.items()
    assert (told["spread"], told["unit"], told["details"]) == ([0.5, 0.5], "s", {"parts": 3.0})


def test_table_and_notes_show_a_missed_target() -> None:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as shown:
        console.print(as_table("some", [result(1.4, "at most")]))
    assert [word in shown.get() for word in ("1.50", "1.00 to 2.00", "at most 1.4", "no")] == [True] * 4
    assert notes([result(1.4, "at most")]) == ["m: about"]


def test_a_measure_without_its_peer_is_skipped_with_the_reason() -> None:
    measure = Counting([1], [])
    measure.reference = lambda: (_ for _ in ()).throw(Unmeasurable("no peer; install it"))  # type: ignore[method-assign]
    found = run(measure, 1, silent)
    assert found == Skipped("counting", "no peer; install it")
    assert measure.asked == ["setup", "ours", "teardown"]
    assert as_json([found]) == [{"measure": "counting", "met": None, "skipped": "no peer; install it"}]
    assert notes([found]) == ["counting: skipped, no peer; install it"]
    assert "| counting |  |  |  |  |  | skipped |" in as_markdown("some", [found])


def test_the_record_names_the_machine() -> None:
    record = as_markdown("some", [result(1.4, "at most")])
    assert "| m (s) | 3 | 2 | 1.50 | 1.00 to 2.00 | at most 1.4 | no |" in record
    assert "cores" in record
    assert "polars" in record


def test_a_run_that_ends_early_tells_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[Result]:
        yield result(1.4, "at most")
        raise Unequal("close: 1 of [2] values differ")

    monkeypatch.setattr("benchmarks.__main__.measured", broken)
    for options, told in (([], "1.50"), (["--markdown"], "| m (s) |"), (["--json"], '"measure": "m"')):
        answer = CliRunner().invoke(app, ["pipeline", "--home", str(tmp_path / "new"), *options])
        assert answer.exit_code == 1
        assert told in answer.stdout
        assert "close: 1 of [2] values differ" in answer.stderr


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    answer = CliRunner().invoke(app, ["nonsense"])
    assert answer.exit_code == 2
    assert "nonsense" in answer.output
    assert all(name in answer.output for name in NAMES)
    assert "pipeline" in NAMES
