"""The first schema."""

from pathlib import Path

from alembic import op

from transforms.errors import ConfigurationError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    raw = ("stock_data", "stock_ticks", "sentiment_data", "corporate_actions")
    if any(op.get_bind().exec_driver_sql(f"SELECT 1 FROM warmbars.{table} LIMIT 1").first() for table in raw):
        raise ConfigurationError(
            "the database holds raw rows: going back would delete them; drop the schema by hand if meant"
        )
    tables = op.get_bind().exec_driver_sql(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'warmbars' AND tablename <> 'alembic_version'"
    )
    for (table,) in tables.all():
        op.execute(f"DROP TABLE warmbars.{table} CASCADE")
