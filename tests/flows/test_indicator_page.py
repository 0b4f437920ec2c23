"""The reference of indicators is what the catalogue says today."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.indicator_page import PICTURES, indicators_markdown, pictures
from transforms.catalogue import CATALOGUE, FAMILIES

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = re.compile(r"-?\d+\.\d+")
HINT = "run: warmbars indicators --markdown docs"


def test_the_page_is_up_to_date() -> None:
    assert (DOCS / "indicators.md").read_text(encoding="utf-8") == indicators_markdown(), HINT


def test_every_family_has_its_picture() -> None:
    made = dict(pictures())
    kept = {file.name: file.read_text(encoding="utf-8") for file in (DOCS / PICTURES).iterdir()}
    assert kept.keys() == made.keys() == {f"{family}.svg" for family in FAMILIES}, HINT
    for name, svg in made.items():
        assert NUMBER.sub("", kept[name]) == NUMBER.sub("", svg), HINT
        numbers = ([float(n) for n in NUMBER.findall(text)] for text in (kept[name], svg))
        assert all(abs(a - b) <= 0.11 for a, b in zip(*numbers, strict=True)), HINT  # a last digit may round otherwise


def test_the_command_lists_the_catalogue() -> None:
    told = json.loads(CliRunner().invoke(app, ["indicators", "--json"]).stdout)
    assert [row["name"] for row in told] == list(CATALOGUE)
    assert {"name": "macd", "lookback": 33}.items() <= next(row for row in told if row["name"] == "macd").items()


def test_a_place_that_cannot_be_written_to_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    answer = CliRunner().invoke(app, ["indicators", "--markdown", str(tmp_path / "taken" / "docs")])
    assert answer.exit_code == 1
    assert "cannot be written" in " ".join(answer.stderr.split())


@pytest.mark.parametrize(("word", "code"), [("macd", 0), ("nonsense", 1)])
def test_a_word_narrows_the_list(word: str, code: int) -> None:
    answer = CliRunner().invoke(app, ["indicators", word])
    assert answer.exit_code == code
    assert word in answer.output
