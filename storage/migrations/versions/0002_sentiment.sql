ALTER TABLE warmbars.sentiment_data
    ADD COLUMN is_retweet BOOLEAN,
    ADD COLUMN is_duplicate BOOLEAN;

ALTER TABLE warmbars.sentiment_data_history
    ADD COLUMN is_retweet BOOLEAN,
    ADD COLUMN is_duplicate BOOLEAN;

ALTER TABLE warmbars.sentiment_1h
    ADD COLUMN weighted_score DOUBLE PRECISION,
    ADD COLUMN positive_share DOUBLE PRECISION,
    ADD COLUMN negative_share DOUBLE PRECISION;

ALTER TABLE warmbars.sentiment_1d
    ADD COLUMN weighted_score DOUBLE PRECISION,
    ADD COLUMN positive_share DOUBLE PRECISION,
    ADD COLUMN negative_share DOUBLE PRECISION,
    ADD COLUMN momentum DOUBLE PRECISION;

-- The new columns of buckets that are stored already are filled by the next refresh.
INSERT INTO warmbars.dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)
SELECT symbol, 'sentiment', min(timestamp), max(timestamp) + interval '1 microsecond', min(timestamp), count(*), 0
FROM warmbars.sentiment_data
GROUP BY symbol, extract(year FROM timestamp AT TIME ZONE 'UTC')
ORDER BY symbol, min(timestamp);
