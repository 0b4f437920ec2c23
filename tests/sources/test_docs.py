"""docs/sources.md names every column, alias and rule there is, and its settings are accepted."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.sources import simulated
from flows.sources.columns import FIELDS
from flows.sources.parse import ACTION_WORDS
from flows.sources.simulated_days import ANCHOR, PLANTED_CORRELATION
from flows.sources.tables import ENDINGS
from storage.settings import SourceSettings
from transforms.schema import DATASETS
from transforms.validate import rules

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
CODE = set(re.findall(r"`([^`\n]+)`", PAGE))


def test_every_column_and_alias_is_named() -> None:
    names = {name for fields in FIELDS.values() for ours, known in fields.items() for name in (ours, *known.aliases)}
    assert names - CODE == set()


def test_every_rule_is_named() -> None:
    known = {rule for dataset in DATASETS for rule in rules(dataset, datetime(2024, 1, 1, tzinfo=UTC))}
    read = {"empty_row", "too_many_cells", "naive_time", "ambiguous_time", "not_a_session", "outside_calendar"}
    assert (known | read | {"duplicate_key"}) - CODE == set()


def test_every_ending_and_action_is_named() -> None:
    assert {*ENDINGS, *(word for word in ACTION_WORDS if " " not in word)} - CODE == set()


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_the_settings_shown_are_accepted(block: str) -> None:
    for settings in tomllib.loads(block)["sources"].values():
        SourceSettings.model_validate(settings)


def test_the_simulated_market_is_as_described() -> None:
    defaults = SourceSettings(kind="simulated")
    assert f"`symbols` ({defaults.symbols}) over `sessions` ({defaults.sessions})" in PAGE
    assert f"`seed` ({defaults.seed})" in PAGE
    assert f"newest {simulated.TICK_SESSIONS} sessions" in PAGE
    assert f"newest {simulated.MINUTE_SESSIONS} sessions" in PAGE
    assert f"correlation of {PLANTED_CORRELATION}" in PAGE
    assert f"{ANCHOR:%B %Y}" in PAGE
