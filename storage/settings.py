"""Settings, read once: environment `WARMBARS_*`, then `warmbars.toml`, then the defaults below."""

import os
import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from transforms.errors import ConfigurationError
from transforms.schema import (
    INTERVALS,
    Align,
    Dataset,
    Granularity,
    Interval,
    KeepOrDrop,
    PriceBasis,
    SentimentCutoff,
    TradingHours,
)

CONFIG_FILE = "warmbars.toml"
DEFAULT_INDICATORS = (
    *(
        "sma_20",
        "sma_50",
        "sma_200",
        "ema_12",
        "ema_26",
        "rsi_14",
        "macd",
        "bollinger",
        "atr_14",
        "vwap",
        "obv",
    ),
)
Seconds = Annotated[float, Field(gt=0)]
RetainedDataset = Literal["ticks", "bars", "sentiment"]
"""Raw datasets that may expire; corporate actions never do."""


class SourceSettings(BaseModel):
    """One configured source, `[sources.NAME]` in warmbars.toml; `run` and the deployments ingest these by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["files", "simulated"] = Field("files", description="where the rows come from")
    path: str | None = Field(None, description="a file, directory or glob of Parquet or CSV (kind `files`)")
    dataset: Dataset | None = Field(None, description="what the rows are; told from the columns when left out")
    mode: Literal["upsert", "replace"] | None = Field(
        None, description="`upsert` by key, or `replace` whole symbol-days; ticks replace, the rest upsert"
    )
    columns: dict[str, str] = Field(default_factory=dict, description="their column name = ours")
    granularity: Granularity | None = Field(
        None, description="length of the bars; told from their spacing when left out"
    )
    label: Literal["start", "end"] | None = Field(None, description="whether a bar is stamped at its start or its end")
    time_zone: str | None = Field(
        None,
        description="IANA name of the zone of times that name none, `America/New_York`; they are rejected without",
    )
    price_basis: PriceBasis = Field("raw", description="how the prices were adjusted by the vendor")
    market: str | None = Field(None, description="exchange calendar of symbols first seen here")
    symbols: int = Field(5, ge=1, le=1000, description="how many symbols the simulated market has")
    sessions: int = Field(60, ge=2, le=2600, description="how many sessions the simulated market has")
    seed: int = Field(7, description="seed of the simulated market")

    @model_validator(mode="after")
    def _files_need_a_path(self) -> Self:
        if self.kind == "files" and not self.path:
            raise ValueError("a source of kind 'files' needs a path")
        return self

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        if name is not None and name not in available_timezones():
            raise ValueError("no time zone has this name; IANA names are accepted, such as 'America/New_York' or 'UTC'")
        return name


class Settings(BaseSettings):
    """Everything that can be set, frozen once read. `docs/settings.md` is made from the descriptions below."""

    model_config = SettingsConfigDict(env_prefix="WARMBARS_", frozen=True, extra="forbid", env_nested_delimiter="__")

    home: Path = Field(Path(".warmbars"), description="data directory: the embedded servers, secrets, logs")
    database_url: SecretStr | None = Field(None, description="your PostgreSQL; left out, the embedded one is used")
    redis_url: SecretStr | None = Field(None, description="your Redis or Valkey; left out, the embedded one is used")
    namespace: str = Field(
        "main",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="part of every cache key; one database to a namespace",
    )

    market: str = Field("XNYS", description="exchange calendar of symbols that name no other (exchange_calendars code)")
    markets: dict[str, str] = Field(default_factory=dict, description="symbol = exchange calendar, where not `market`")
    calendar_start: date = Field(date(1990, 1, 1), description="first session of the stored session tables")
    intervals: tuple[Interval, ...] = Field(INTERVALS, description="bar intervals kept; `1m` always is")
    trading_hours: TradingHours = Field("regular", description="`regular` sessions only, or `all` hours")
    align: Align = Field("session", description="intraday buckets start at the `session`'s open, or on the `clock`")
    close_grace: timedelta = Field(
        timedelta(minutes=2),
        description="how long after the close a trade without conditions still belongs to the day",
    )
    message_conditions: tuple[str, ...] = Field(
        ("0x1000000", "0x4000000"),
        description="tick conditions that repeat auction volume (official close, official open) and make no bar; "
        "`0x…` tests bits of a hexadecimal condition, anything else a whole word of it",
    )
    auction_conditions: tuple[str, ...] = Field(
        ("0x80",),
        description="tick conditions of the closing auction; such a trade belongs to the last bucket",
    )
    source_rank: tuple[str, ...] = Field(
        (), description="sources in order of trust; those not listed come after, by name"
    )

    indicators: tuple[str, ...] = Field(DEFAULT_INDICATORS, description="indicators kept, by catalogue name")
    sentiment_retweets: KeepOrDrop = Field("keep", description="messages flagged `is_retweet`: count them or not")
    sentiment_duplicates: KeepOrDrop = Field("keep", description="messages flagged `is_duplicate`: count them or not")
    sentiment_cutoff: SentimentCutoff = Field(
        "close",
        description="until when a session collects messages: its `close`, or `midnight`, the end of its local date; "
        "later ones count for the next session",
    )
    sentiment_cutoff_offset: timedelta = Field(
        timedelta(0), description="moves `sentiment_cutoff`: `-PT15M` for a quarter of an hour earlier; less than a day"
    )
    sentiment_baseline: int = Field(
        20, ge=1, le=1_000, description="sessions with messages whose mean a session's `momentum` is measured against"
    )
    correlation_lags: tuple[int, ...] = Field(
        tuple(range(-5, 6)),
        description="sessions by which the return follows the sentiment (negative: precedes it)",
    )
    correlation_min_n: int = Field(20, ge=3, description="fewest pairs a correlation is computed on")
    correlation_windows: tuple[int, ...] = Field(
        default_factory=lambda data: tuple(w for w in (20, 60, 120) if w >= data.get("correlation_min_n", 0)),
        description="lengths in sessions of the windows of rolling correlations; none below `correlation_min_n`, "
        "left out where that is set alone",
    )
    rolling_lags: tuple[int, ...] = Field((0, 1), description="lags of rolling correlations, as in `correlation_lags`")
    matrix_window: int = Field(
        default_factory=lambda data: max(252, data.get("correlation_min_n", 0)),
        ge=3,
        description="newest sessions in the correlation matrix of daily returns; not below `correlation_min_n`, "
        "raised to it where that is set alone",
    )
    matrix_symbols: int = Field(
        500, ge=2, le=2_000, description="most symbols in the matrix; those most traded by value come first"
    )
    missing_sentiment: Literal["leave_out", "zero"] = Field(
        "leave_out",
        description="a session without a mention: `leave_out` of the pairs, or count it as `zero`",
    )

    forecast_min_history: int = Field(
        250, ge=231, description="fewest sessions of which a target is known that it is forecast from"
    )
    forecast_window: int = Field(1_000, ge=100, description="most sessions a forecasting model is fitted to")
    forecast_calibration: int = Field(
        250, ge=40, description="newest errors that the intervals of a forecast are made of"
    )
    forecast_scored: int = Field(250, ge=60, description="newest sessions that forecasting models are scored on")
    forecast_batch_symbols: int = Field(8, ge=1, description="symbols forecast in one transaction")

    future_tolerance: timedelta = Field(
        timedelta(minutes=5), description="a row further in the future than this is rejected"
    )
    ingest_batch_rows: int = Field(1_000_000, ge=1_000, description="rows held in memory at once while ingesting")
    refresh_batch_rows: int = Field(1_000_000, ge=1_000, description="raw rows recomputed in one transaction")
    refresh_batch_symbols: int = Field(250, ge=1, description="symbols recomputed in one transaction")
    retention: dict[RetainedDataset, Annotated[timedelta, Field(ge=timedelta(days=1))]] = Field(
        default_factory=dict,
        description='how long raw rows are kept, by dataset (`ticks`, `bars`, `sentiment`): `ticks = "P90D"`, at '
        "least a day; what is computed of them stays. A dataset not listed is kept for ever",
    )
    reject_limit: int = Field(10_000, ge=0, description="rejected rows stored per run; further ones are counted only")

    published_bars: int = Field(500, ge=1, le=100_000, description="newest bars in each published key")
    published_sentiment: int = Field(
        500, ge=1, le=100_000, description="newest sentiment buckets in each published key"
    )
    published_rolling: int = Field(
        250, ge=1, le=100_000, description="newest sessions in each published key of rolling correlations"
    )
    soft_ttl_seconds: dict[str, int] = Field(
        default_factory=lambda: {
            "stock_quote": 60,
            "stock_history": 300,
            "sentiment_current": 180,
            "sentiment_history": 600,
            "technical_indicators": 300,
            "user_session": 3600,
            "correlation_analysis": 1800,
            "prediction_results": 900,
        },
        description="age in seconds after which a value of the dataset is called stale; it is still served",
    )

    pool_min: int = Field(0, ge=0, description="database connections kept open by one process")
    pool_max: int = Field(4, ge=1, description="most database connections of one process")
    query_timeout_seconds: Seconds = Field(60, description="longest ordinary query; bulk statements have no limit")
    idle_timeout_seconds: Seconds = Field(60, description="longest a transaction may sit idle before it is ended")
    connect_timeout_seconds: Seconds = Field(10, description="longest wait for a connection")
    application_name: str = Field("warmbars", description="how our connections are named in pg_stat_activity")
    jit: bool = Field(False, description="PostgreSQL's JIT compiler; off, it costs more than it brings here")
    redis_timeout_seconds: Seconds = Field(5, description="longest wait for one answer of the cache")
    publish_batch_symbols: int = Field(64, ge=1, description="symbols sent to the cache in one round trip")

    sources: dict[str, SourceSettings] = Field(
        default_factory=lambda: {"simulated": SourceSettings(kind="simulated")},
        description="what `run` ingests, by name; a simulated market until you name your own",
    )

    @field_validator("intervals")
    @classmethod
    def _always_minutes(cls, kept: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return tuple(i for i in INTERVALS if i == "1m" or i in kept)

    @field_validator("correlation_windows", "matrix_window")
    @classmethod
    def _wide_enough(cls, set_to: tuple[int, ...] | int, info: ValidationInfo) -> tuple[int, ...] | int:
        least = info.data.get("correlation_min_n", 0)
        shortest = set_to if isinstance(set_to, int) else min(set_to, default=least)
        if shortest < least:
            raise ValueError(f"a window of {shortest} sessions never holds correlation_min_n = {least} pairs")
        return set_to

    @field_validator("sentiment_cutoff_offset")
    @classmethod
    def _less_than_a_day(cls, offset: timedelta) -> timedelta:
        if abs(offset) >= timedelta(days=1):
            raise ValueError("a cutoff moves by less than a day")
        return offset

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, CONFIG_FILE)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; a wrong one raises `ConfigurationError` naming it, its source and what is accepted."""
    try:
        return Settings(**overrides)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{CONFIG_FILE} is not valid TOML: {exc}") from exc
    except ValidationError as exc:
        wrong = "\n".join(f"  {_describe(error, overrides)}" for error in exc.errors())
        raise ConfigurationError(f"wrong settings:\n{wrong}\nEvery setting is described in docs/settings.md.") from exc


def origin(name: str) -> str:
    """Where a setting's value comes from: `environment`, the file's name, or `default`."""
    variable = f"WARMBARS_{name.upper()}"
    if any(key.upper() == variable or key.upper().startswith(f"{variable}__") for key in os.environ):
        return "environment"
    file = Path(CONFIG_FILE)
    in_file = file.is_file() and name in tomllib.loads(file.read_text(encoding="utf-8"))
    return CONFIG_FILE if in_file else "default"


def _describe(error: Any, overrides: dict[str, Any]) -> str:
    """One line for one wrong setting: its name, its source, what was given and what is accepted."""
    path = [str(part) for part in error["loc"]]
    name = path[0]
    source = "argument" if name in overrides else origin(name)
    if source == "environment":
        source = f"environment variable WARMBARS_{name.upper()}"
    if error["type"] == "extra_forbidden":
        return f"{'.'.join(path)} ({source}): there is no such setting"
    shown = "(hidden)" if name.endswith("_url") else repr(error["input"])
    return f"{'.'.join(path)} ({source}): {error['msg'][:1].lower()}{error['msg'][1:]}; got {shown}"
