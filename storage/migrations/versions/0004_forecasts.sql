CREATE TABLE warmbars.forecasts (
    symbol TEXT COLLATE "C" NOT NULL,
    target TEXT NOT NULL,
    model TEXT NOT NULL,
    role TEXT NOT NULL,
    session DATE NOT NULL,
    made_from DATE NOT NULL,
    point DOUBLE PRECISION NOT NULL,
    low_50 DOUBLE PRECISION NOT NULL,
    high_50 DOUBLE PRECISION NOT NULL,
    low_80 DOUBLE PRECISION NOT NULL,
    high_80 DOUBLE PRECISION NOT NULL,
    low_95 DOUBLE PRECISION NOT NULL,
    high_95 DOUBLE PRECISION NOT NULL,
    n INTEGER NOT NULL,
    mae DOUBLE PRECISION NOT NULL,
    mase DOUBLE PRECISION,
    coverage_50 DOUBLE PRECISION NOT NULL,
    coverage_80 DOUBLE PRECISION NOT NULL,
    coverage_95 DOUBLE PRECISION NOT NULL,
    interval_score DOUBLE PRECISION NOT NULL,
    skill DOUBLE PRECISION,
    interval_skill DOUBLE PRECISION,
    p DOUBLE PRECISION,
    beats_baseline BOOLEAN,
    verdict TEXT,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_forecasts PRIMARY KEY (symbol, target, model)
);

CREATE TABLE warmbars.forecast_inputs (
    symbol TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT NOT NULL,
    method TEXT NOT NULL,
    made_from DATE NOT NULL,
    missing TEXT,
    run_id BIGINT NOT NULL,
    CONSTRAINT pk_forecast_inputs PRIMARY KEY (symbol)
);

COMMENT ON COLUMN warmbars.forecast_inputs.missing IS 'why a target has no forecast';
