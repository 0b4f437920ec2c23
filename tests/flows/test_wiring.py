"""Settings that cannot be wired are refused before any server is asked for."""

from pathlib import Path

import pytest

from flows.wiring import Addresses, initialise, wire
from storage.settings import Settings
from transforms.errors import ConfigurationError, UnknownIndicator


@pytest.mark.parametrize("name", ["beta_20", "correlation_60"])
def test_an_indicator_that_needs_a_benchmark_is_refused(name: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", indicators=("sma_20", name))
    refused = f"the setting indicators has {name}, which reads benchmark: stored bars have no such column"
    with pytest.raises(ConfigurationError, match=refused), wire(settings):
        pass
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with pytest.raises(ConfigurationError, match=refused):
        initialise(settings, Addresses(nowhere, nowhere, "redis://127.0.0.1:1"))
    assert not (tmp_path / "home").exists()


def test_an_indicator_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UnknownIndicator, match="no indicator is called 'sma20'"),
        wire(Settings(home=tmp_path / "home", indicators=("sma20",))),
    ):
        pass
