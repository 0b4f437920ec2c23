"""The command line: what it prints, where, and with which exit code."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from typer.main import get_command
from typer.testing import Result

from benchmarks.publish import NAMES
from flows import steps
from flows.cli import app, choices
from flows.cli.settings_page import settings_markdown
from flows.sources.base import Mode
from flows.wiring import Deps
from storage.cache.keys import HEAD, parse_key
from storage.embedded import Servers
from storage.market.database import statement
from storage.settings import Settings, SourceSettings
from tests.flows.conftest import Cli, warmbars
from transforms import schema
from transforms.errors import StoreUnavailable

ROOT = Path(__file__).parents[2]


def commands(group: Any, *before: str) -> Iterator[str]:
    """`run`, `flow serve`: every command there is."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *before, name)
        else:
            yield " ".join((*before, name))


COMMANDS = tuple(commands(get_command(app)))
HEAVY = ("polars", "sqlalchemy", "psycopg", "redis", "exchange_calendars", "alembic", "pandas", "pydantic", "prefect")
MARKET = {"sim": {"kind": "simulated", "symbols": 2, "sessions": 60}}
SYMBOL = "EMBR"


@pytest.fixture
def cli(program: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The program on the session's servers, with an empty store and a small simulated market."""
    monkeypatch.setenv("WARMBARS_SOURCES", json.dumps(MARKET))
    return program


def answer(result: Result) -> Any:
    """The JSON on stdout, which must be all of it."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# --- what needs no server


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["show", "--help"], ["flow", "serve", "-h"]])
def test_starting_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from flows.cli import main; sys.argv = ['warmbars', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0\n"
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(place: Path, command: str) -> None:
    result = warmbars(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"warmbars {command}" in result.stdout


def test_no_command_is_missing_from_the_help(place: Path) -> None:
    listed = warmbars("--help").stdout
    assert all(f"│ {command.split()[0]} " in listed for command in COMMANDS)


def test_every_command_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"`warmbars {command}" not in page] == []


def test_options_accept_the_words_of_the_schema() -> None:
    assert get_args(choices.Dataset) == get_args(schema.Dataset)
    assert get_args(choices.Interval) == schema.INTERVALS
    assert get_args(choices.Granularity) == get_args(schema.Granularity)
    assert get_args(choices.PriceBasis) == get_args(schema.PriceBasis)
    assert get_args(choices.Mode) == get_args(Mode)
    assert set(get_args(choices.Label)) <= set(get_args(get_args(SourceSettings.model_fields["label"].annotation)[0]))


def test_the_settings_are_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_markdown(), "run: warmbars settings --markdown > docs/settings.md"
    for model in (Settings, SourceSettings):
        undescribed = [name for name, field in model.model_fields.items() if not field.description]
        assert undescribed == []


def test_settings_say_where_they_come_from(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "warmbars.toml").write_text('namespace = "desk"\nmarket = "XKRX"\n')
    monkeypatch.setenv("WARMBARS_MARKET", "XLON")
    monkeypatch.setenv("WARMBARS_REDIS_URL", "redis://me:hunter2@cache:6379/0")
    told = answer(warmbars("settings", "--json"))
    assert told["market"] == {"value": "XLON", "from": "environment"}
    assert told["namespace"] == {"value": "desk", "from": "warmbars.toml"}
    assert told["align"] == {"value": "session", "from": "default"}
    assert told["redis_url"]["value"] == "redis://me:***@cache:6379/0"
    assert "hunter2" not in warmbars("settings").stdout


def test_a_wrong_setting_is_a_message_and_no_traceback(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMBARS_TRADING_HOURS", "night")
    result = warmbars("settings")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "trading_hours" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_lone_number_of_pairs_brings_windows_that_hold_them(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def windows() -> tuple[Any, Any]:
        told = answer(warmbars("settings", "--json"))
        return told["correlation_windows"], told["matrix_window"]

    usual = {"value": 252, "from": "default"}
    assert windows() == ({"value": [20, 60, 120], "from": "default"}, usual)
    monkeypatch.setenv("WARMBARS_CORRELATION_MIN_N", "30")
    assert windows() == ({"value": [60, 120], "from": "default"}, usual)
    monkeypatch.setenv("WARMBARS_CORRELATION_MIN_N", "300")
    assert windows() == ({"value": [], "from": "default"}, {"value": 300, "from": "default"})


@pytest.mark.parametrize(("name", "value"), [("correlation_windows", "[20, 60]"), ("matrix_window", "20")])
def test_a_window_too_short_for_its_pairs_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("WARMBARS_CORRELATION_MIN_N", "30")
    (place / "warmbars.toml").write_text(f"{name} = {value}\n")
    result = warmbars("settings")
    assert result.exit_code == 1
    words = f"{name} (warmbars.toml): value error, a window of 20 sessions never holds correlation_min_n = 30 pairs"
    assert words in result.stderr


@pytest.mark.parametrize("arguments", [["--debug", "settings"], ["settings", "--debug"]])
def test_debug_shows_where_an_error_comes_from(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("WARMBARS_TRADING_HOURS", "night")
    result = warmbars(*arguments)
    assert result.exit_code == 1
    assert type(result.exception).__name__ == "ConfigurationError"


@pytest.mark.parametrize("command", [["show", "AAPL"], ["status"], ["quality"]])
def test_looking_makes_no_data_directory(place: Path, command: list[str]) -> None:
    result = warmbars(*command)
    assert result.exit_code == 1
    assert "warmbars run" in result.stderr
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60.0), ("5m", 300.0), ("1h", 3600.0), ("90", 90.0), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert choices.duration(text).total_seconds() == seconds


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--every", "soon"],
        ["run", "--every", "0s"],
        ["ingest", "x.csv", "--map", "close"],
        ["show", "AAPL", "--interval", "7m"],
        ["show", "AAPL", "--time-zone", "Mars/Olympus"],
        ["ingest"],
        ["shwo"],
    ],
)
def test_a_wrong_option_is_a_usage_error(place: Path, arguments: list[str]) -> None:
    result = warmbars(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_ctrl_c_ends_with_130(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("storage.settings.load_settings", interrupted)
    assert warmbars("settings").exit_code == 130


def test_flow_serve_hands_over_to_prefect(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(settings: Settings, *, port: int | None, report: Callable[[str], None]) -> int:
        report(f"serving {settings.namespace} on {port}")
        return 143

    monkeypatch.setattr("flows.serve.serve", serve)
    result = warmbars("flow", "serve", "--port", "4300")
    assert (result.exit_code, result.stdout) == (143, "serving main on 4300\n")


# --- the pipeline


@pytest.mark.postgres
@pytest.mark.redis
def test_run_ends_with_a_page_and_again_doubles_nothing(cli: Cli) -> None:
    first = cli("run")
    assert first.exit_code == 0, first.stderr
    for words in (
        "The market is simulated",
        "planted",
        "ingested",
        "computed",
        "publish",
        "1d",
        "next",
        "warmbars show ",
    ):
        assert words in first.stdout
    assert "sentiment leads return by 1 session: r = " in first.stdout
    assert "\x1b" not in first.stdout
    assert max(map(len, first.stdout.splitlines())) <= 100
    again = cli("run")
    assert again.exit_code == 0
    assert "none new" in again.stdout
    assert "planted" not in again.stdout
    once_more = answer(cli("run", "--json"))
    assert sum(f["inserted"] + f["changed"] + f["windows"] for f in once_more["ingested"]["files"]) == 0
    assert once_more["published"]["written"] == 0
    assert set(once_more["seconds"]) == {"start", "ingest", "refresh", "publish"}


@pytest.mark.postgres
@pytest.mark.redis
def test_one_step_after_the_other(cli: Cli, deps: Deps) -> None:
    ingested = answer(cli("ingest", "sim", "--json"))
    assert {f["dataset"] for f in ingested["files"]} >= {"bars", "ticks", "sentiment"}
    assert {f["source"] for f in ingested["files"]} == {"sim"}
    assert answer(cli("status", "--json"))["dirty"]["due"] > 0
    refreshed = answer(cli("refresh", "--json"))
    assert SYMBOL in refreshed["symbols"]
    assert refreshed["rows"]["bars_1m"] > 0
    waiting = answer(cli("status", "--json"))
    assert waiting["unpublished"]["symbols"] == len(deps.outbox.pending()) > 0
    assert "warmbars publish" in cli("status").stdout
    assert answer(cli("publish", "--json"))["written"] > 0
    deps.client.delete(deps.keys.bars(SYMBOL, "5m"))
    assert "publish --sweep" in cli("status").stdout
    assert answer(cli("publish", "--sweep", "--json"))["sweep"]["written"] == 1


@pytest.mark.postgres
@pytest.mark.redis
def test_status_counts_what_is_there(cli: Cli, deps: Deps) -> None:
    cli("run")
    told = answer(cli("status", "--json"))
    raw = {holding["name"]: holding for holding in told["raw"]}
    counted = deps.database.frame(
        statement(
            "SELECT count(*) n, count(DISTINCT symbol) s, max(timestamp) FROM stock_data WHERE granularity = '1m'"
        )
    ).row(0)
    found = raw["bars 1m"]
    assert (found["rows"], found["symbols"], found["newest"]) == (counted[0], counted[1], counted[2].isoformat())
    assert (raw["bars 1h"]["rows"], raw["bars 1h"]["newest"]) == (0, None)
    derived = {holding["name"]: holding["rows"] for holding in told["derived"]}
    assert derived["bars 1d"] == deps.database.frame(statement("SELECT count(*) FROM bars_1d")).item()
    assert told["symbols"] == {"XNYS": 2}
    assert told["cache"]["entries"] == deps.cache.count() > 0
    assert told["cache"]["behind"] == 0
    assert [run["kind"] for run in told["runs"]] == ["publish", "refresh", "ingest"]


@pytest.mark.postgres
@pytest.mark.redis
def test_show_reads_only_the_cache(cli: Cli, deps: Deps, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("run")
    monkeypatch.setenv("WARMBARS_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("WARMBARS_REDIS_URL", servers.redis_reader_url)
    shown = answer(cli("show", SYMBOL, "--interval", "5m", "--indicator", "sma_20", "--rows", "7", "--json"))
    bars = deps.reader().bars(SYMBOL, "5m")
    values = deps.reader().indicators(SYMBOL, "5m").value
    assert [row["close"] for row in shown["rows"]] == bars.value["close"].tail(7).to_list()
    assert [row["sma_20"] for row in shown["rows"]] == values["sma_20"].tail(7).to_list()
    assert shown["version"] == {"epoch": bars.version.epoch, "n": bars.version.n}
    assert shown["as_of"] == bars.as_of.isoformat()
    page = cli("show", SYMBOL, "--indicator", "bollinger", "--indicator", "rsi_14")
    assert page.exit_code == 0, page.stderr
    assert "── bollinger_upper" in page.stdout
    assert "fresh" in page.stdout
    assert max(map(len, page.stdout.splitlines())) <= 100


@pytest.mark.postgres
@pytest.mark.redis
def test_show_says_what_there_is_instead(cli: Cli) -> None:
    nothing = cli("show", SYMBOL)
    assert nothing.exit_code == 1
    assert "nothing was ever published" in nothing.stderr
    cli("run")
    assert f"did you mean {SYMBOL}?" in cli("show", "emb").stderr
    assert "close names: sma_20" in cli("show", SYMBOL, "--indicator", "sma_2o").stderr
    assert "published are: sma_20" in cli("show", SYMBOL, "--indicator", "sma_10").stderr
    assert "no indicators of 1m" in cli("show", SYMBOL, "--interval", "1m", "--indicator", "sma_20").stderr


@pytest.mark.postgres
@pytest.mark.redis
def test_an_unreadable_file_among_good_ones(cli: Cli, deps: Deps, place: Path) -> None:
    pl.DataFrame(
        {
            "Ticker": ["AAA", "AAA", "AAA"],
            "Time": ["2024-01-03 09:31", "2024-01-03 09:32", "2024-01-03 09:33"],
            **{name: [10.0, 10.5, 11.0] for name in ("Open", "High", "Low", "Last")},
            "Vol": [100, 200, -1],
        }
    ).write_csv(place / "good.csv")
    (place / "bad.csv").write_text("colour\nred\n")
    options = ["--map", "Last=close", "--granularity", "1m", "--label", "end", "--source", "desk"]
    result = cli("ingest", "bad.csv", "good.csv", *options, "--time-zone", "America/New_York")
    assert result.exit_code == 1
    assert "bad.csv" in result.stderr
    assert "good.csv" in result.stdout
    assert "rejected" in result.stderr
    stored = deps.database.frame(statement("SELECT source, timestamp, volume FROM stock_data ORDER BY 2")).rows()
    assert [(source, f"{at:%H:%M}", volume) for source, at, volume in stored] == [
        ("desk", "14:30", 100.0),
        ("desk", "14:31", 200.0),
    ]
    told = answer(cli("status", "--json"))
    assert told["rejected"] == [{"dataset": "bars", "rule": "negative_volume", "rows": 1}]
    again = cli("ingest", "good.csv", *options, "--time-zone", "America/New_York", "--json")
    assert [f["unchanged"] for f in answer(again)["files"]] == [2]


@pytest.mark.postgres
@pytest.mark.redis
def test_ctrl_c_ends_a_running_loop_after_the_current_step(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh, rounds = steps.refresh, []

    def interrupted(*args: Any, **kwargs: Any) -> steps.Refreshed:
        rounds.append(1)
        if len(rounds) == 2:
            signal.raise_signal(signal.SIGINT)
        return refresh(*args, **kwargs)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(steps, "refresh", interrupted)
    result = cli("run", "--every", "0.1s", "--json")
    assert result.exit_code == 130
    assert [json.loads(line)["published"]["written"] > 0 for line in result.stdout.splitlines()] == [True]
    assert signal.getsignal(signal.SIGINT) is before
    assert {run["state"] for run in answer(cli("status", "--json"))["runs"]} == {"finished"}


@pytest.mark.postgres
@pytest.mark.redis
def test_a_loop_outlives_what_passes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest, tried = steps.ingest, []

    def failing(*args: Any, **kwargs: Any) -> steps.Ingested:
        tried.append(1)
        if len(tried) == 1:
            raise StoreUnavailable("the database is away")
        signal.raise_signal(signal.SIGTERM)
        return ingest(*args, **kwargs)

    monkeypatch.setattr(steps, "ingest", failing)
    result = cli("run", "--every", "0.1s")
    assert result.exit_code == 128 + signal.SIGTERM
    assert "the database is away; trying again in 0.1 s" in result.stderr
    assert len(tried) == 2


@pytest.mark.postgres
@pytest.mark.redis
def test_a_run_publishes_what_the_benchmark_of_publishing_sends(cli: Cli, deps: Deps) -> None:
    cli("run")
    keys = deps.client.scan_iter(f"{deps.keys.of_symbol(SYMBOL)}*")
    names = {parse_key(key).name for key in keys}
    assert names - {HEAD} == set(NAMES)


# --- the servers


@pytest.mark.postgres
@pytest.mark.redis
def test_up_prints_urls_masked_and_whole(cli: Cli, servers: Servers) -> None:
    told = answer(cli("up", "--json"))
    assert told["database_url"].startswith("postgresql://wb_app:***@127.0.0.1:")
    assert told["pids"]["postgres"] == servers.postgres_pid
    assert answer(cli("up", "--json", "--show-passwords"))["redis_url"] == servers.redis_url
    plain = cli("up")
    assert "secrets.json" in plain.stdout
    password = servers.database_url.split(":")[2].split("@")[0]
    assert password not in plain.stdout
    down = cli("down")
    assert down.exit_code == 1
    assert "still uses" in down.stderr


@pytest.mark.postgres
@pytest.mark.redis
def test_a_pair_of_ones_own_up_forth_back_and_down(place: Path) -> None:
    assert answer(warmbars("up", "--json"))["home"] == str(place / ".warmbars")
    try:
        assert answer(warmbars("init", "--json"))["before"] is None
        assert "already" in warmbars("init").stdout
        epochs = [answer(warmbars("init", "--restored", "--json"))["epoch"] for _ in range(2)]
        assert epochs[0] < epochs[1]
        assert "epoch" in warmbars("init", "--restored").stdout
        assert "leave out --revision" in warmbars("init", "--restored", "--revision", "base").stderr
        unknown = warmbars("init", "--revision", "1789")
        assert (unknown.exit_code, "head, base and" in unknown.stderr) == (1, True)
        older = warmbars("init", "--revision", "0001")
        assert (older.exit_code, "does not go back to 0001" in older.stderr) == (1, True)
        assert answer(warmbars("init", "--revision", "base", "--json"))["after"] is None
    finally:
        assert answer(warmbars("down", "--json"))["stopped"] is True
