ALTER TABLE warmbars.instruments ADD COLUMN renamed_to TEXT COLLATE "C";

COMMENT ON COLUMN warmbars.instruments.renamed_to IS 'the symbol that took over its rows';

ALTER TABLE warmbars.coverage ADD COLUMN arrived_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;

CREATE TABLE warmbars.coverage_history (
    symbol TEXT COLLATE "C" NOT NULL,
    dataset TEXT NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    superseded_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE INDEX ix_coverage_history_key ON warmbars.coverage_history (symbol, dataset);

CREATE TABLE warmbars.retention_holds (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    dataset TEXT NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_retention_holds PRIMARY KEY (id)
);

CREATE TABLE warmbars.applied_settings (
    dataset TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    chosen JSONB NOT NULL,
    applied_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_applied_settings PRIMARY KEY (dataset)
);

COMMENT ON COLUMN warmbars.applied_settings.chosen IS 'the settings the fingerprint is of';

ALTER TABLE warmbars.publications ADD COLUMN changed JSONB DEFAULT '{}' NOT NULL;

ALTER TABLE warmbars.publications ADD COLUMN recipe TEXT DEFAULT '' NOT NULL;

COMMENT ON COLUMN warmbars.publications.changed IS 'table: the version that last changed rows of it';

COMMENT ON COLUMN warmbars.publications.recipe IS 'how the bodies that were sent were made: settings and code';
