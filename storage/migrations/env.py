"""Alembic's entry point; `storage.market.migrate` is the only caller and brings the connection."""

from alembic import context

from storage.market.tables import SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
