"""Whether a message is a retweet or a duplicate, and more about each bucket."""

from pathlib import Path

from alembic import op

from transforms.errors import ConfigurationError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FLAGS = ("is_retweet", "is_duplicate")
_RAW = ("sentiment_data", "sentiment_data_history")
_DERIVED = ("weighted_score", "positive_share", "negative_share")


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Derived columns can be computed again; flags cannot, so they are only let go where none is known."""
    known = " OR ".join(f"{flag} IS NOT NULL" for flag in _FLAGS)
    if any(op.get_bind().exec_driver_sql(f"SELECT 1 FROM warmbars.{t} WHERE {known} LIMIT 1").first() for t in _RAW):
        raise ConfigurationError(
            "the database holds raw rows that say whether a message is a retweet or a duplicate: going back would "
            "delete this; set is_retweet and is_duplicate to null by hand in sentiment_data and its history if meant"
        )
    columns = {**dict.fromkeys(_RAW, _FLAGS), "sentiment_1h": _DERIVED, "sentiment_1d": (*_DERIVED, "momentum")}
    for table, names in columns.items():
        op.execute(f"ALTER TABLE warmbars.{table} " + ", ".join(f"DROP COLUMN {name}" for name in names))
