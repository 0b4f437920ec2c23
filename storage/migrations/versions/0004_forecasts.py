"""Forecasts and how they scored."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Both can be computed again."""
    op.execute("DROP TABLE warmbars.forecasts, warmbars.forecast_inputs")
