-- Both were never filled: how a test stands among all is a finding of the market, not of its symbol.
ALTER TABLE warmbars.correlations
    DROP COLUMN p_adjusted,
    DROP COLUMN family_size;

CREATE TABLE warmbars.rolling_correlations (
    symbol TEXT COLLATE "C" NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    session DATE NOT NULL,
    window_sessions INTEGER NOT NULL,
    lag INTEGER NOT NULL,
    n INTEGER NOT NULL,
    pearson DOUBLE PRECISION,
    spearman DOUBLE PRECISION,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_rolling_correlations PRIMARY KEY (symbol, timestamp, window_sessions, lag)
);

CREATE TABLE warmbars.correlation_findings (
    symbol TEXT COLLATE "C" NOT NULL,
    x TEXT NOT NULL,
    y TEXT NOT NULL,
    lag INTEGER NOT NULL,
    method TEXT NOT NULL,
    r DOUBLE PRECISION NOT NULL,
    n INTEGER NOT NULL,
    p DOUBLE PRECISION NOT NULL,
    p_adjusted DOUBLE PRECISION NOT NULL,
    family_size INTEGER NOT NULL,
    ci_low DOUBLE PRECISION NOT NULL,
    ci_high DOUBLE PRECISION NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_correlation_findings PRIMARY KEY (symbol, x, y, lag, method)
);

CREATE TABLE warmbars.return_matrix (
    symbol TEXT COLLATE "C" NOT NULL,
    position INTEGER NOT NULL,
    n INTEGER NOT NULL,
    r DOUBLE PRECISION[] NOT NULL,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_return_matrix PRIMARY KEY (symbol)
);

COMMENT ON COLUMN warmbars.return_matrix.r IS 'with each symbol by position; null: too few sessions in common';

-- The next refresh makes the matrix of what is stored; correlations come with the sentiment that 0002 marks.
INSERT INTO warmbars.dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)
SELECT '@market', 'returns', now(), now(), now(), 0, 0
WHERE EXISTS (SELECT FROM warmbars.bars_1d);
