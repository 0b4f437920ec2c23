"""Schema migrations (Alembic), forward always and back on an empty database."""
