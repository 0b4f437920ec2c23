"""Migrations: forward, back on an empty database only, and the same as the tables the code describes."""

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from flows.wiring import Deps
from storage.embedded import Servers
from storage.market import migrate, schema
from storage.market.database import Database
from storage.market.tables import BAR_VIEWS, SCHEMA, metadata
from storage.settings import Settings
from tests.storage.market.rows import bar_rows, minutes
from transforms.errors import ConfigurationError, StoreUnavailable, TransientError

pytestmark = pytest.mark.postgres


def test_the_newest_migration_is_the_one_the_code_expects() -> None:
    scripts = ScriptDirectory.from_config(migrate.alembic_config())
    assert scripts.get_current_head() == schema.REVISION


def test_migrations_make_what_the_tables_describe(servers: Servers) -> None:
    engine = create_engine(servers.owner_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table_schema": SCHEMA,
                "compare_type": True,
                "include_name": lambda name, kind, _: name == SCHEMA if kind == "schema" else True,
            },
        )
        differences = [d for d in compare_metadata(context, metadata) if not _is_indicator_column(d)]
        assert differences == []
        views = connection.exec_driver_sql("SELECT viewname FROM pg_views WHERE schemaname = 'warmbars'").scalars()
        assert set(views) == set(BAR_VIEWS)
    engine.dispose()


def _is_indicator_column(difference: object) -> bool:
    """Indicator columns are a setting, not a migration."""
    return isinstance(difference, tuple) and difference[0] == "remove_column" and "indicators_" in str(difference[2])


def test_migrating_again_changes_nothing(servers: Servers) -> None:
    assert migrate.migrate(servers.owner_url) == (schema.REVISION, schema.REVISION)


def test_going_back_refuses_to_delete_rows(deps: Deps, servers: Servers) -> None:
    deps.raw.upsert(bar_rows(minutes(1)))
    with pytest.raises(ConfigurationError, match="holds raw rows"):
        migrate.migrate(servers.owner_url, "base")
    assert schema.is_current(deps.database)


def test_an_empty_database_goes_back_and_forth(empty: Servers, settings: Settings) -> None:
    assert migrate.migrate(empty.owner_url, "base") == (schema.REVISION, None)
    with Database(empty.database_url, settings) as database:
        assert not schema.is_current(database)
        assert migrate.migrate(empty.owner_url) == (None, schema.REVISION)
        assert schema.is_current(database)


def test_an_older_revision_is_refused(servers: Servers) -> None:
    with pytest.raises(ConfigurationError, match=f"at schema revision {schema.REVISION} and does not go back to 0001"):
        migrate.migrate(servers.owner_url, "0001")


def test_a_table_in_use_ends_a_migration_that_waits_for_it(
    empty: Servers, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_SECONDS", 0.2)
    with psycopg.connect(empty.database_url) as reader:
        reader.execute("SELECT count(*) FROM warmbars.instruments")
        with pytest.raises(TransientError, match="another program kept a table in use.*warmbars init"):
            migrate.migrate(empty.owner_url, "base")
    with Database(empty.database_url, settings) as database:
        assert schema.is_current(database)


def test_a_server_that_is_not_there_is_said_so_when_migrating() -> None:
    with pytest.raises(StoreUnavailable, match="while migrating"):
        migrate.migrate("postgresql://nobody@127.0.0.1:1/none")


def test_a_newer_schema_is_refused(empty: Servers) -> None:
    with psycopg.connect(empty.owner_url) as connection:
        connection.execute("UPDATE warmbars.alembic_version SET version_num = '9999'")
    try:
        with pytest.raises(ConfigurationError, match="upgrade warmbars"):
            migrate.migrate(empty.owner_url)
    finally:
        with psycopg.connect(empty.owner_url) as connection:
            connection.execute("UPDATE warmbars.alembic_version SET version_num = %s", [schema.REVISION])


def test_a_database_found_elsewhere_gets_a_higher_epoch(deps: Deps, servers: Servers) -> None:
    store_id, epoch = schema.ensure_identity(deps.database)
    assert schema.ensure_identity(deps.database) == (store_id, epoch)
    with psycopg.connect(servers.owner_url) as connection:
        connection.execute("UPDATE warmbars.store_meta SET database_identity = 'restored from elsewhere'")
    same, higher = schema.ensure_identity(deps.database)
    assert same == store_id
    assert higher > epoch


def test_a_database_put_back_in_place_gets_a_higher_epoch_when_told(deps: Deps, servers: Servers) -> None:
    with psycopg.connect(servers.owner_url) as connection:
        connection.execute(
            "INSERT INTO warmbars.publications (symbol, epoch, version, as_of, run_id) VALUES ('A', %s, 7, now(), 1)",
            [deps.epoch],
        )
    epochs = [schema.raise_epoch(deps.database) for _ in range(3)]
    assert deps.epoch < epochs[0] < epochs[1] < epochs[2]
    assert schema.ensure_identity(deps.database)[1] == epochs[2]
    assert deps.outbox.versions() == {"A": (epochs[2], 7)}


def test_a_server_that_is_not_there_is_said_so(settings: Settings) -> None:
    nobody = "postgresql://nobody@127.0.0.1:1/none"
    quick = settings.model_copy(update={"connect_timeout_seconds": 1})
    with Database(nobody, quick) as database, pytest.raises(StoreUnavailable), database.transaction():
        pass
