"""Databases, roles and rights of the embedded PostgreSQL. Running it again changes nothing but passwords.

wb_owner   owns the database and the schema `warmbars` and runs the migrations
wb_app     reads and writes rows of whatever wb_owner creates there
wb_reader  reads them
wb_prefect owns the database `prefect` and sees nothing else
"""

from typing import Any

import psycopg
from psycopg import sql

from transforms.errors import ServerFailed

ROLES = ("wb_owner", "wb_app", "wb_reader", "wb_prefect")
DATABASES = {"warmbars": "wb_owner", "prefect": "wb_prefect"}

_DATABASE_RIGHTS = """
REVOKE ALL ON DATABASE warmbars FROM PUBLIC;
REVOKE ALL ON DATABASE prefect FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE warmbars TO wb_app;
GRANT CONNECT ON DATABASE warmbars TO wb_reader;
ALTER ROLE wb_app IN DATABASE warmbars SET search_path = warmbars, public;
ALTER ROLE wb_reader IN DATABASE warmbars SET search_path = warmbars, public;
ALTER ROLE wb_reader SET default_transaction_read_only = on;
"""

_SCHEMA_RIGHTS = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE SCHEMA IF NOT EXISTS warmbars AUTHORIZATION wb_owner;
ALTER SCHEMA warmbars OWNER TO wb_owner;
GRANT USAGE ON SCHEMA warmbars TO wb_app, wb_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA warmbars TO wb_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA warmbars TO wb_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA warmbars TO wb_app;
GRANT SELECT ON ALL TABLES IN SCHEMA warmbars TO wb_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE wb_owner IN SCHEMA warmbars
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO wb_app;
ALTER DEFAULT PRIVILEGES FOR ROLE wb_owner IN SCHEMA warmbars GRANT USAGE, SELECT ON SEQUENCES TO wb_app;
ALTER DEFAULT PRIVILEGES FOR ROLE wb_owner IN SCHEMA warmbars GRANT EXECUTE ON FUNCTIONS TO wb_app;
ALTER DEFAULT PRIVILEGES FOR ROLE wb_owner IN SCHEMA warmbars GRANT SELECT ON TABLES TO wb_reader;
"""


def provision(port: int, passwords: dict[str, str]) -> None:
    """Bring roles, databases and rights to what is written above, whatever was there."""
    try:
        _provision(port, passwords)
    except psycopg.Error as exc:
        raise ServerFailed(f"PostgreSQL runs, but its roles and databases cannot be set up: {exc}") from exc


def _provision(port: int, passwords: dict[str, str]) -> None:
    with _connect(port, passwords["postgres"], "postgres") as conn:
        for role in ROLES:
            _role(conn, role, passwords[role])
        for database, owner in DATABASES.items():
            _database(conn, database, owner)
        conn.execute(_DATABASE_RIGHTS)
    with _connect(port, passwords["postgres"], "warmbars") as conn:
        conn.execute(_SCHEMA_RIGHTS)
    with _connect(port, passwords["postgres"], "prefect") as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")


def _connect(port: int, password: str, database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", password=password, dbname=database, autocommit=True
    )


def _role(conn: psycopg.Connection[Any], role: str, password: str) -> None:
    """The server is sent a SCRAM verifier, so that no log can hold the password."""
    name = sql.Identifier(role)
    if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
        conn.execute(sql.SQL("CREATE ROLE {}").format(name))
    verifier = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    statement = sql.SQL("ALTER ROLE {} WITH {} PASSWORD {}")
    conn.execute(statement.format(name, sql.SQL(rights), sql.Literal(verifier)))


def _database(conn: psycopg.Connection[Any], database: str, owner: str) -> None:
    names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
    if conn.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
        conn.execute(sql.SQL("CREATE DATABASE {database}").format(**names))
    conn.execute(sql.SQL("ALTER DATABASE {database} OWNER TO {owner}").format(**names))
