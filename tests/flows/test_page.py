"""What is drawn in the terminal: charts, the page of a run, and the one relation worth telling."""

import math
import sys
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from flows.chart import Candle, Chart, daily_marks, draw, intraday_marks, sparkline
from flows.cli.console import program
from flows.page import RunPage, count, ingested_table, run_page, seconds
from flows.spotlight import Finding, Spotlight, strongest
from flows.status_page import Cache, Status, age, status_page
from flows.steps import FileReport, Ingested, Published, Refreshed
from storage.cache.publisher import Memory
from storage.market.raw import Written
from storage.market.status import Dirty, Holding, Rejected, Unpublished
from transforms.schema import MARKET_SYMBOL

NOW = datetime(2024, 3, 1, 21, tzinfo=UTC)
UP_DAY = Candle(10, 14, 9, 13, 300)
DOWN_DAY = Candle(13, 13, 8, 9, 100)


def lines(renderable: RenderableType, width: int = 80) -> list[str]:
    screen = Console(width=width, file=StringIO())
    with screen.capture() as captured:
        screen.print(renderable)
    return [line.rstrip() for line in captured.get().splitlines()]


def drawn(chart: Chart, width: int, height: int, *, color: bool = True) -> list[str]:
    return [line.rstrip() for line in draw(chart, width, height, color=color).plain.split("\n")]


# --- charts


def test_candles_at_two_levels_a_row() -> None:
    apart = Chart([Candle(0, 7, 0, 7, 4), Candle(1, 7, 0, 6, 1), Candle(6, 6, 6, 6, 4)], {0: "now"})
    assert drawn(apart, 20, 6) == ["█ ╽ ▄ │", "█ █   ┤5", "█ █   │", "█ ╿   ┤0", "█ ▃ █", "now"]
    together = Chart([Candle(0, 7, 0, 7, 4), Candle(6, 7, 0, 1, 1)] * 4)
    assert drawn(together, 13, 6)[:4] == ["┃╽┃╽┃╽┃╽ │", "┃┃┃┃┃┃┃┃ ┤5", "┃┃┃┃┃┃┃┃ │", "┃╿┃╿┃╿┃╿ ┤0"]


def test_a_rising_and_a_falling_candle_differ_without_colour() -> None:
    rising, falling = (drawn(Chart([candle]), 12, 8, color=False) for candle in (UP_DAY, DOWN_DAY))
    rising, falling = rising[:-2], falling[:-2]  # without volume and marks
    assert "┃" in "".join(rising)
    assert "█" not in "".join(rising)
    assert "█" in "".join(falling)


def test_colour_says_which_way() -> None:
    text = draw(Chart([UP_DAY, DOWN_DAY]), 20, 8)
    styles = {str(span.style) for span in text.spans}
    assert {"green", "red"} <= styles


@pytest.mark.parametrize("count", [0, 1, 2, 30, 60, 61, 200])
@pytest.mark.parametrize(("width", "height"), [(12, 4), (76, 13), (114, 18)])
def test_a_chart_stays_in_its_room(count: int, width: int, height: int) -> None:
    candles = [
        Candle(100 + math.sin(n), 102 + math.sin(n), 98 + math.sin(n), 100 + math.cos(n), n) for n in range(count)
    ]
    shown = drawn(Chart(candles, {0: "Jan 2024"}, {"line": [100.0] * count}), width, height)
    assert len(shown) == height
    assert max(map(len, shown)) <= width


def test_the_newest_candles_are_kept() -> None:
    old, new = Candle(1, 1, 1, 1, 1), Candle(500, 510, 490, 505, 1)
    assert "500" in "".join(drawn(Chart([old, *[new] * 100]), 20, 8))
    assert Chart([old, new], {0: "then", 1: "now"}, {"x": [None, 2.0]}).newest(1) == Chart(
        [new], {0: "now"}, {"x": [2.0]}
    )


def test_a_flat_series_has_an_axis() -> None:
    shown = drawn(Chart([Candle(5, 5, 5, 5, 0)] * 3), 30, 8)
    assert any("5.00" in line for line in shown)


def test_a_line_runs_through_free_cells_only() -> None:
    candles = [Candle(10, 20, 10, 20, 1), Candle(10, 11, 10, 11, 1), Candle(10, 20, 10, 20, 1)]
    top = drawn(Chart(candles, lines={"line": [19.9] * 3}), 20, 8)[0]
    assert top.startswith("█▔▔▔█")


def test_panels_stand_under_their_candles() -> None:
    candles = [Candle(10, 20, 10, 20, 1)] * 3
    below = drawn(Chart(candles, {0: "Jan"}, panels={"rsi_14": [None, 10.0, 61.5]}), 30, 6)
    assert below[-3:] == ["█ █ █", "  ▁ █   rsi_14 61.50", "Jan"]


def test_marks_do_not_overlap() -> None:
    days = [date(2023, 12, 20) + timedelta(days=n) for n in range(60)]
    chart = Chart([UP_DAY] * 60, daily_marks(days))
    below = drawn(chart, 90, 8)[-1]
    assert "2024" in below
    assert "Feb" in below
    assert "Dec 2023" in below
    hours = intraday_marks([datetime(2024, 1, 2, 20, 45) + timedelta(minutes=15 * n) for n in range(20)])  # noqa: DTZ001
    assert hours[0] == "Jan 02"
    assert hours[1] == "21:00"
    assert hours[13] == "Jan 03"


def test_sparklines() -> None:
    assert sparkline([0, 7, None, 3.5]) == "▁█ ▅"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([]) == ""


# --- the relation worth telling


def test_the_planted_lag_is_found_over_all_symbols() -> None:
    related = {name: {-1: (0.1, 59), 0: (-0.2, 59), 1: (0.4, 59)} for name in ("A", "B", "C")}
    found = strongest(related)
    assert found is not None
    assert (found.lag, found.n, found.symbols) == (1, 177, 3)
    assert found.r == pytest.approx(0.4)
    assert found.score == pytest.approx(math.atanh(0.4) * math.sqrt(3 * 56))
    assert found.sentence() == "sentiment leads return by 1 session: r = 0.40, n = 177 (3 symbols)"


def test_noise_is_not_told() -> None:
    assert strongest({"A": {lag: (0.25, 60) for lag in range(-5, 6)}}) is None
    assert strongest({}) is None
    assert strongest({"A": {1: (1.0, 60), 2: (0.9, 3)}}) is None


@pytest.mark.parametrize(
    ("lag", "words"),
    [
        (0, "sentiment and return move together in the same session: r = -0.50, n = 40"),
        (2, "sentiment leads return by 2 sessions: r = -0.50, n = 40"),
        (-1, "return leads sentiment by 1 session: r = -0.50, n = 40"),
    ],
)
def test_a_finding_in_words(lag: int, words: str) -> None:
    assert Finding(lag, -0.5, 40, 1, -3.3).sentence() == words


# --- pages


def page(**changes: object) -> RunPage:
    files = [
        FileReport("sim", "sim", "ticks", 1_000, 3, Written(inserted=997, windows=2)),
        FileReport("sim", "sim", "bars", 500, 0, Written(inserted=400, changed=100, windows=2)),
        FileReport("sim", "bad.csv", "?", 0, 0, Written(), error="bad.csv: no columns"),
    ]
    rows = {"bars_1m": 500, "bars_5m_rollup": 100, "indicators_5m": 100, "quotes": 2, "bars_1d_fill": 0}
    values: dict[str, object] = {
        "ingested": Ingested(files, 1.5),
        "refreshed": Refreshed({"EMBR", "WARM", MARKET_SYMBOL}, 4, rows, set(), 0.5),
        "published": Published(3, 30, 2, 0, 0, 0.1),
        "seconds": {"start": 1.0, "ingest": 1.5, "refresh": 0.5, "publish": 0.1},
        "as_of": NOW,
        "simulated": ("sim",),
        "first": True,
        "spotlight": Spotlight("WARM", "1d", Chart([UP_DAY, DOWN_DAY] * 30), 13.5, -1.25),
        "finding": Finding(1, 0.4, 177, 3, 5.0),
        "next": (("show WARM --interval 5m", "from the cache"), ("status", "what waits"), ("run --every 60s", "warm")),
    }
    return RunPage(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [80, 120])
def test_the_page_of_a_run(width: int) -> None:
    shown = lines(run_page(page(), width, color=False), width)
    text = "\n".join(shown)
    assert max(map(len, shown)) <= width
    for words in (
        "The market is simulated",
        "done in 3.1 s",
        "1,500 rows read, 1,397 new, 100 changed",
        "702 rows written, 2 symbols",
        "30 keys written, 2 as they were",
        "unreadable bad.csv",
        "WARM 1d  13.50  ▼ 1.25 %",
        "sentiment leads return by 1 session: r = 0.40",
        "warmbars show WARM --interval 5m",
    ):
        assert words in text
    assert "bars_1d_fill" not in text
    beside = any("ticks" in line and ("┃" in line or "│" in line or "┤" in line) for line in shown)
    assert beside == (width == 120)


def test_the_page_of_a_run_with_nothing_to_do() -> None:
    nothing = page(
        ingested=Ingested(), refreshed=Refreshed(), published=Published(), spotlight=None, finding=None, simulated=()
    )
    text = "\n".join(lines(run_page(nothing, 80)))
    for words in ("nothing to read", "nothing was dirty", "every key is up to date", "no symbol has bars yet"):
        assert words in text
    assert "simulated" not in text


def test_a_thousand_files_are_summed_up() -> None:
    files = [FileReport("s", f"{n}.csv", "bars", 10, n == 7, Written(inserted=10)) for n in range(1_000)]
    text = "\n".join(lines(ingested_table(Ingested(files))))
    assert "7.csv" in text
    assert "8.csv" not in text
    assert "1000 files" in text
    assert "10,000" in text


def status(**changes: object) -> Status:
    values: dict[str, object] = {
        "as_of": NOW,
        "home": "/data/warm",
        "own_database": False,
        "own_cache": False,
        "symbols": {"XNYS": 2, "XKRX": 1},
        "raw": [
            Holding("ticks", 5_000_000, True, 2, NOW - timedelta(seconds=90)),
            Holding("bars 1h", 0, False, 0, None),
        ],
        "derived": [Holding("correlations", 11, False, 1, date(2024, 2, 28))],
        "rejected": [Rejected("bars", "high_below_low", 12)],
        "dirty": Dirty(5, 0, 0, NOW + timedelta(hours=1)),
        "unpublished": Unpublished(0, None),
        "cache": Cache("main", 72, Memory(69 * 2**20, 100 * 2**20), NOW - timedelta(seconds=5), 0),
        "runs": [
            {
                "id": 3,
                "kind": "ingest",
                "state": "failed",
                "started_at": NOW - timedelta(minutes=5),
                "finished_at": NOW - timedelta(minutes=4),
                "error": "StoreUnavailable: gone\nand more",
            }
        ],
    }
    return Status(**{**values, **changes})  # type: ignore[arg-type]


def test_status_when_all_is_well() -> None:
    text = "\n".join(lines(status_page(status())))
    for words in (
        "3 symbols (2 of XNYS, 1 of XKRX)",
        "≈ 5,000,000",
        "90 s",
        "2 d",
        "bars: high_below_low",
        "none due; 5",
    ):
        assert words in text
    assert "bars 1h" not in text
    assert "StoreUnavailable: gone" in text
    assert "note" not in text


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"cache": Cache("main", 1, Memory(70, 100), NOW, 0)}, "the cache uses 70% of its memory"),
        ({"dirty": Dirty(5, 2, 1, None)}, "warmbars refresh"),
        ({"unpublished": Unpublished(2, NOW)}, "warmbars publish"),
        ({"cache": Cache("main", 1, Memory(1, None), None, 3)}, "lost keys of 3 symbols: warmbars publish --sweep"),
    ],
)
def test_status_says_what_helps(changes: dict[str, object], advice: str) -> None:
    assert advice in "\n".join(lines(status_page(status(**changes))))


def test_words() -> None:
    assert (count(1, "row"), count(12_345, "row")) == ("1 row", "12,345 rows")
    assert [seconds(value) for value in (0.042, 3.21, 125.0)] == ["0.04 s", "3.2 s", "2 min 5 s"]
    assert [age(NOW, NOW - timedelta(seconds=s)) for s in (5, 119, 3_600, 90_000, 864_000)] == [
        *("5 s", "119 s", "60 min", "25 h", "10 d")
    ]


def test_commands_are_named_as_they_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / ".venv" / "bin" / "warmbars"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [".venv/bin/warmbars", "run"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == ".venv/bin/warmbars"
    monkeypatch.setenv("PATH", str(script.parent))
    assert program() == "warmbars"
