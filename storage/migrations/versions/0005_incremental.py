"""What incremental refresh keeps books of: when coverage was told, settings applied, holds on retention, renames."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("DROP TABLE warmbars.coverage_history, warmbars.retention_holds, warmbars.applied_settings")
    op.execute("ALTER TABLE warmbars.coverage DROP COLUMN arrived_at")
    op.execute("ALTER TABLE warmbars.instruments DROP COLUMN renamed_to")
    op.execute("ALTER TABLE warmbars.publications DROP COLUMN changed, DROP COLUMN recipe")
