"""What is known of a correlation, how it moves, which of them stand, and how returns move with each other."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Everything of it can be computed again."""
    op.execute("DROP TABLE warmbars.rolling_correlations, warmbars.correlation_findings, warmbars.return_matrix")
    op.execute(
        "ALTER TABLE warmbars.correlations ADD COLUMN p_adjusted DOUBLE PRECISION, ADD COLUMN family_size INTEGER"
    )
