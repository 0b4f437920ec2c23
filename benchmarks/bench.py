"""What measures share: a pair of servers of their own, the data, and a way to begin anew."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import sql
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from benchmarks.data import Data, Size, market_data
from flows.sources import Source
from flows.sources_of import sources_of
from flows.wiring import Deps, wire
from storage.embedded import Servers, embedded
from storage.market.tables import metadata
from storage.settings import Settings
from transforms.errors import ConfigurationError

MARK = "made-by-benchmarks"
"""A file in a home of ours: everything beside it may be emptied."""

_KEPT = {"store_meta", "markets", "sessions"}


class BenchSettings(Settings):
    """The defaults and nothing else: neither the environment nor a file of whoever runs this changes the figures."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what is passed as an argument."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Place:
    """A directory that benchmarks may do with as they like."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Self:
        """Take a new or empty directory, or one that was taken before; refuse any other."""
        path.mkdir(parents=True, exist_ok=True)
        if not (path / MARK).exists() and any(path.iterdir()):
            raise ConfigurationError(
                f"{path} was not made by the benchmarks, which empty the database they run on; name a new directory"
            )
        (path / MARK).touch()
        return cls(path)


class Bench:
    """The servers start when a measure first asks for them and stop at the end."""

    def __init__(self, place: Place, size: Size, **settings: Any) -> None:
        """Work in `place` on data of `size`; `settings` are those that are not the defaults."""
        self.home = place.path
        self.size = size
        self._chosen = settings
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @cached_property
    def data(self) -> Data:
        """The files that are ingested."""
        return market_data(self.home / "data", self.size)

    @cached_property
    def settings(self) -> Settings:
        """The defaults but for what was chosen, at home here."""
        return BenchSettings(home=self.home / "servers", **self._chosen)

    @cached_property
    def servers(self) -> Servers:
        """The embedded pair."""
        return self._stack.enter_context(embedded(self.settings.home))

    @cached_property
    def deps(self) -> Deps:
        """Everything connected; the sessions of the default market are stored, so that no measure waits for them."""
        deps = self._stack.enter_context(wire(self.settings))
        deps.market(self.settings.market, soon())
        return deps

    def beside(self, name: str, **settings: Any) -> "Bench":
        """Another pair of servers in a directory of this one's, that stops with it."""
        return self._stack.enter_context(Bench(Place.at(self.home / name), self.size, **settings))

    def sources(self, names: Sequence[str]) -> list[Source]:
        """The named files as sources, made anew as a run makes them."""
        return sources_of(self.deps, [(name, self.data.files[name]) for name in names], soon())

    def clear(self) -> None:
        """Nothing stored and nothing cached; sessions and the store's identity stay."""
        client = self.deps.client
        tables = [table.name for table in metadata.sorted_tables if table.name not in _KEPT]
        self.owner(
            sql.SQL("TRUNCATE {}").format(
                sql.SQL(", ").join(sql.Identifier(str(metadata.schema), name) for name in tables)
            )
        )
        client.flushdb()

    def owner(self, statement: sql.SQL | sql.Composed) -> None:
        """Run a statement as the owner of the schema."""
        with psycopg.connect(self.servers.owner_url, autocommit=True) as connection:
            connection.execute(statement)


def soon() -> datetime:
    """An as-of at which everything that is ingested meanwhile is due."""
    return datetime.now(UTC) + timedelta(hours=1)
