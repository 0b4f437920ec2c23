"""The tables of what is computed: bars, indicators, sentiment, correlations, forecasts, factors and quotes."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from storage.market.columns import COARSE, SCHEMA, instant, metadata, number, run_id, string, symbol


def _bars(name: str) -> Table:
    return Table(
        name,
        metadata,
        symbol(),
        instant("timestamp"),
        Column("session", Date, nullable=False),
        *(number(c) for c in ("open", "high", "low", "close", "volume")),
        run_id(),
        PrimaryKeyConstraint("symbol", "timestamp"),
    )


bars_1m = _bars("bars_1m")
rollups = {interval: _bars(f"bars_{interval}_rollup") for interval in COARSE}
fills = {interval: _bars(f"bars_{interval}_fill") for interval in COARSE}
BAR_VIEWS = {
    f"bars_{interval}": (
        f"SELECT * FROM {SCHEMA}.bars_{interval}_rollup UNION ALL SELECT * FROM {SCHEMA}.bars_{interval}_fill"
    )
    for interval in COARSE
}
"""The names users type: rollups of finer data, and vendor bars where nothing finer reaches (disjoint)."""

indicators = {
    interval: Table(
        f"indicators_{interval}",
        metadata,
        symbol(),
        instant("timestamp"),
        Column("session", Date, nullable=False),
        run_id(),
        PrimaryKeyConstraint("symbol", "timestamp"),
        info={"wide": True},
    )
    for interval in COARSE
}
"""Key columns only: one double per configured indicator column is added by `init` (the setting `indicators`)."""

sentiment_buckets = {
    interval: Table(
        f"sentiment_{interval}",
        metadata,
        symbol(),
        instant("timestamp"),
        Column("session", Date, nullable=False),
        Column("count", BigInteger, nullable=False),
        number("mean_score"),
        number("mean_confidence"),
        *(number(c, nullable=True) for c in ("std_score", "weighted_score", "positive_share", "negative_share")),
        *((number("momentum", nullable=True),) if interval == "1d" else ()),
        run_id(),
        PrimaryKeyConstraint("symbol", "timestamp"),
    )
    for interval in ("1h", "1d")
}
correlations = Table(
    "correlations",
    metadata,
    symbol(),
    string("x"),
    string("y"),
    Column("session", Date, nullable=False),
    Column("window_sessions", Integer, nullable=False, comment="0: every session there is"),
    Column("lag", Integer, nullable=False),
    string("method"),
    number("r", nullable=True),
    Column("n", Integer, nullable=False),
    *(number(c, nullable=True) for c in ("n_effective", "p", "ci_low", "ci_high")),
    run_id(),
    PrimaryKeyConstraint("symbol", "x", "y", "session", "window_sessions", "lag", "method"),
)
rolling_correlations = Table(
    "rolling_correlations",
    metadata,
    symbol(),
    instant("timestamp"),
    Column("session", Date, nullable=False),
    *(Column(c, Integer, nullable=False) for c in ("window_sessions", "lag", "n")),
    *(number(c, nullable=True) for c in ("pearson", "spearman")),
    run_id(),
    PrimaryKeyConstraint("symbol", "timestamp", "window_sessions", "lag"),
)
correlation_findings = Table(
    "correlation_findings",
    metadata,
    symbol(),
    *(string("x"), string("y")),
    Column("lag", Integer, nullable=False),
    string("method"),
    number("r"),
    Column("n", Integer, nullable=False),
    *(number("p"), number("p_adjusted")),
    Column("family_size", Integer, nullable=False),
    *(number("ci_low"), number("ci_high")),
    run_id(),
    PrimaryKeyConstraint("symbol", "x", "y", "lag", "method"),
)
"""Written under the market's lock: whether a test stands depends on all of them."""
return_matrix = Table(
    "return_matrix",
    metadata,
    symbol(),
    *(Column(c, Integer, nullable=False) for c in ("position", "n")),
    Column(
        "r", ARRAY(Double), nullable=False, comment="with each symbol by position; null: too few sessions in common"
    ),
    run_id(),
    PrimaryKeyConstraint("symbol"),
)
"""Written under the market's lock."""
forecasts = Table(
    "forecasts",
    metadata,
    symbol(),
    *(string("target"), string("model"), string("role")),
    Column("session", Date, nullable=False),
    Column("made_from", Date, nullable=False),
    number("point"),
    *(number(f"{side}_{level}") for level in (50, 80, 95) for side in ("low", "high")),
    Column("n", Integer, nullable=False),
    *(number("mae"), number("mase", nullable=True)),
    *(number(f"coverage_{level}") for level in (50, 80, 95)),
    number("interval_score"),
    *(number(c, nullable=True) for c in ("skill", "interval_skill", "p")),
    Column("beats_baseline", Boolean),
    string("verdict", nullable=True),
    run_id(),
    PrimaryKeyConstraint("symbol", "target", "model"),
)
forecast_inputs = Table(
    "forecast_inputs",
    metadata,
    symbol(),
    *(string("fingerprint"), string("method")),
    Column("made_from", Date, nullable=False),
    Column("missing", Text, comment="why a target has no forecast"),
    run_id(),
    PrimaryKeyConstraint("symbol"),
)
"""What each symbol's forecasts were made of, also where it is too little for any."""
adjustment_factors = Table(
    "adjustment_factors",
    metadata,
    symbol(),
    Column("from_date", Date, nullable=False),
    Column("to_date", Date, nullable=False),
    number("price"),
    number("volume"),
    run_id(),
    PrimaryKeyConstraint("symbol", "from_date"),
)
quotes = Table(
    "quotes",
    metadata,
    symbol(),
    instant("timestamp"),
    Column("session", Date, nullable=False),
    number("last"),
    *(number(c) for c in ("open", "high", "low", "volume")),
    *(number(c, nullable=True) for c in ("previous_close", "change", "change_pct")),
    run_id(),
    PrimaryKeyConstraint("symbol"),
)
