-- The first schema: every table of the data model. Frozen: later changes are later migrations.

CREATE TABLE warmbars.adjustment_factors (
    symbol TEXT COLLATE "C" NOT NULL,
    from_date DATE NOT NULL,
    to_date DATE NOT NULL,
    price DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_adjustment_factors PRIMARY KEY (symbol, from_date)
);

CREATE TABLE warmbars.backfill_chunks (
    backfill_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    symbols TEXT[] NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    rows BIGINT DEFAULT 0 NOT NULL,
    seconds DOUBLE PRECISION,
    error TEXT,
    CONSTRAINT pk_backfill_chunks PRIMARY KEY (backfill_id, number)
);

CREATE TABLE warmbars.backfills (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    state TEXT NOT NULL,
    symbols TEXT[] NOT NULL,
    datasets TEXT[] NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    source TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_backfills PRIMARY KEY (id)
);

CREATE TABLE warmbars.bars_15m_fill (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_bars_15m_fill PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.bars_15m_rollup (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_bars_15m_rollup PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.bars_1d_fill (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_bars_1d_fill PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.bars_1d_rollup (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_bars_1d_rollup PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.bars_1h_fill (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_bars_1h_fill PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.bars_1h_rollup (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_bars_1h_rollup PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.bars_1m (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_bars_1m PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.bars_5m_fill (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_bars_5m_fill PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.bars_5m_rollup (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_bars_5m_rollup PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.corporate_actions (
    symbol TEXT COLLATE "C" NOT NULL,
    ex_date DATE NOT NULL,
    action TEXT NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    ordinal INTEGER NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    price_basis TEXT DEFAULT 'raw' NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_corporate_actions PRIMARY KEY (symbol, ex_date, action, source, ordinal)
);

CREATE TABLE warmbars.corporate_actions_history (
    symbol TEXT COLLATE "C" NOT NULL,
    ex_date DATE NOT NULL,
    action TEXT NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    ordinal INTEGER NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    price_basis TEXT DEFAULT 'raw' NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id BIGINT NOT NULL,
    superseded_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE INDEX ix_corporate_actions_history_key ON warmbars.corporate_actions_history (symbol, ex_date);

CREATE TABLE warmbars.correlations (
    symbol TEXT COLLATE "C" NOT NULL,
    x TEXT NOT NULL,
    y TEXT NOT NULL,
    session DATE NOT NULL,
    window_sessions INTEGER NOT NULL,
    lag INTEGER NOT NULL,
    method TEXT NOT NULL,
    r DOUBLE PRECISION,
    n INTEGER NOT NULL,
    n_effective DOUBLE PRECISION,
    p DOUBLE PRECISION,
    p_adjusted DOUBLE PRECISION,
    family_size INTEGER,
    ci_low DOUBLE PRECISION,
    ci_high DOUBLE PRECISION,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_correlations PRIMARY KEY (symbol, x, y, session, window_sessions, lag, method)
);

COMMENT ON COLUMN warmbars.correlations.window_sessions IS '0: every session there is';

CREATE TABLE warmbars.coverage (
    symbol TEXT COLLATE "C" NOT NULL,
    dataset TEXT NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_coverage PRIMARY KEY (symbol, dataset, source, starts_at)
);

CREATE TABLE warmbars.dirty_windows (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    symbol TEXT COLLATE "C" NOT NULL,
    dataset TEXT NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    rows BIGINT NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_dirty_windows PRIMARY KEY (id)
);

CREATE INDEX ix_dirty_windows_symbol ON warmbars.dirty_windows (symbol, due_at);

COMMENT ON COLUMN warmbars.dirty_windows.rows IS 'raw rows expected inside, so that work can be split';

CREATE TABLE warmbars.indicators_15m (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_indicators_15m PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.indicators_1d (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_indicators_1d PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.indicators_1h (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_indicators_1h PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.indicators_5m (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_indicators_5m PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.instruments (
    symbol TEXT COLLATE "C" NOT NULL,
    market TEXT NOT NULL,
    currency TEXT,
    active_from DATE,
    active_to DATE,
    CONSTRAINT pk_instruments PRIMARY KEY (symbol)
);

CREATE TABLE warmbars.markets (
    market TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    sessions_to DATE NOT NULL,
    CONSTRAINT pk_markets PRIMARY KEY (market)
);

CREATE TABLE warmbars.pending_rollups (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    view TEXT NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_pending_rollups PRIMARY KEY (id)
);

CREATE TABLE warmbars.publications (
    symbol TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    version BIGINT NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id BIGINT NOT NULL,
    published_epoch BIGINT DEFAULT 0 NOT NULL,
    published_version BIGINT DEFAULT 0 NOT NULL,
    published_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_publications PRIMARY KEY (symbol)
);

CREATE TABLE warmbars.quotes (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    last DOUBLE PRECISION NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    previous_close DOUBLE PRECISION,
    change DOUBLE PRECISION,
    change_pct DOUBLE PRECISION,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_quotes PRIMARY KEY (symbol)
);

CREATE TABLE warmbars.rejected_rows (
    digest TEXT NOT NULL,
    line BIGINT NOT NULL,
    rule TEXT NOT NULL,
    dataset TEXT NOT NULL,
    origin TEXT NOT NULL,
    symbol TEXT,
    row TEXT NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_rejected_rows PRIMARY KEY (digest, line, rule)
);

CREATE TABLE warmbars.retention_horizon (
    dataset TEXT NOT NULL,
    horizon TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_retention_horizon PRIMARY KEY (dataset)
);

CREATE TABLE warmbars.runs (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    code_version TEXT NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    summary JSONB DEFAULT '{}' NOT NULL,
    error TEXT,
    CONSTRAINT pk_runs PRIMARY KEY (id)
);

CREATE TABLE warmbars.sentiment_1d (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    count BIGINT NOT NULL,
    mean_score DOUBLE PRECISION NOT NULL,
    mean_confidence DOUBLE PRECISION NOT NULL,
    std_score DOUBLE PRECISION,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_sentiment_1d PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.sentiment_1h (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    count BIGINT NOT NULL,
    mean_score DOUBLE PRECISION NOT NULL,
    mean_confidence DOUBLE PRECISION NOT NULL,
    std_score DOUBLE PRECISION,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_sentiment_1h PRIMARY KEY (symbol, timestamp)
);

CREATE TABLE warmbars.sentiment_data (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C" NOT NULL,
    ordinal INTEGER NOT NULL,
    sentiment_score DOUBLE PRECISION NOT NULL,
    confidence DOUBLE PRECISION NOT NULL,
    price_basis TEXT DEFAULT 'raw' NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_sentiment_data PRIMARY KEY (symbol, timestamp, source, external_id, ordinal)
);

CREATE TABLE warmbars.sentiment_data_history (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C" NOT NULL,
    ordinal INTEGER NOT NULL,
    sentiment_score DOUBLE PRECISION NOT NULL,
    confidence DOUBLE PRECISION NOT NULL,
    price_basis TEXT DEFAULT 'raw' NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id BIGINT NOT NULL,
    superseded_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE INDEX ix_sentiment_data_history_key ON warmbars.sentiment_data_history (symbol, timestamp);

CREATE TABLE warmbars.sessions (
    market TEXT NOT NULL,
    session DATE NOT NULL,
    open TIMESTAMP WITH TIME ZONE NOT NULL,
    close TIMESTAMP WITH TIME ZONE NOT NULL,
    break_start TIMESTAMP WITH TIME ZONE,
    break_end TIMESTAMP WITH TIME ZONE,
    day_start TIMESTAMP WITH TIME ZONE NOT NULL,
    day_end TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_sessions PRIMARY KEY (market, session)
);

CREATE TABLE warmbars.stock_data (
    symbol TEXT COLLATE "C" NOT NULL,
    granularity TEXT NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    adjusted_close DOUBLE PRECISION,
    price_basis TEXT DEFAULT 'raw' NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_stock_data PRIMARY KEY (symbol, granularity, timestamp, source)
);

CREATE INDEX ix_stock_data_adjusted ON warmbars.stock_data (symbol, source, timestamp) WHERE price_basis <> 'raw';

CREATE TABLE warmbars.stock_data_history (
    symbol TEXT COLLATE "C" NOT NULL,
    granularity TEXT NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume DOUBLE PRECISION NOT NULL,
    adjusted_close DOUBLE PRECISION,
    price_basis TEXT DEFAULT 'raw' NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id BIGINT NOT NULL,
    superseded_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE INDEX ix_stock_data_history_key ON warmbars.stock_data_history (symbol, timestamp);

CREATE TABLE warmbars.stock_ticks (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    sequence INTEGER NOT NULL,
    price DOUBLE PRECISION NOT NULL,
    size DOUBLE PRECISION NOT NULL,
    condition TEXT,
    price_basis TEXT DEFAULT 'raw' NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_stock_ticks PRIMARY KEY (symbol, timestamp, source, sequence)
);

CREATE TABLE warmbars.stock_ticks_history (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    sequence INTEGER NOT NULL,
    price DOUBLE PRECISION NOT NULL,
    size DOUBLE PRECISION NOT NULL,
    condition TEXT,
    price_basis TEXT DEFAULT 'raw' NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id BIGINT NOT NULL,
    superseded_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE INDEX ix_stock_ticks_history_key ON warmbars.stock_ticks_history (symbol, timestamp);

CREATE TABLE warmbars.store_meta (
    single BOOLEAN DEFAULT true NOT NULL,
    store_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    database_identity TEXT NOT NULL,
    CONSTRAINT pk_store_meta PRIMARY KEY (single),
    CONSTRAINT one_row CHECK (single)
);

CREATE TABLE warmbars.user_sessions (
    id TEXT NOT NULL,
    body JSONB NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_user_sessions PRIMARY KEY (id)
);

CREATE VIEW warmbars.bars_5m AS SELECT * FROM warmbars.bars_5m_rollup UNION ALL SELECT * FROM warmbars.bars_5m_fill;

CREATE VIEW warmbars.bars_15m AS SELECT * FROM warmbars.bars_15m_rollup UNION ALL SELECT * FROM warmbars.bars_15m_fill;

CREATE VIEW warmbars.bars_1h AS SELECT * FROM warmbars.bars_1h_rollup UNION ALL SELECT * FROM warmbars.bars_1h_fill;

CREATE VIEW warmbars.bars_1d AS SELECT * FROM warmbars.bars_1d_rollup UNION ALL SELECT * FROM warmbars.bars_1d_fill;
