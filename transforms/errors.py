"""The error tree every layer shares.

Anything raised on purpose is a `PipelineError`; flows and serving catch it at their edge and print its text,
so a message says what happened, to which file, row or key, and what to do next.
"""


class PipelineError(Exception):
    """Whatever we raise on purpose."""


class TransientError(PipelineError):
    """The same call may succeed later, so it is retried."""


class StoreUnavailable(TransientError):
    """The database or the cache does not answer."""


class RateLimited(TransientError):
    """A source asked us to come back later."""


class PermanentError(PipelineError):
    """Input, configuration or code must change before the call can succeed."""


class ConfigurationError(PermanentError):
    """A setting is wrong; the message names it, where it came from and what is accepted."""


class SchemaMismatch(PermanentError):
    """A frame or a file lacks a column, or has it in a type that cannot be read."""


class UnreadableSource(PermanentError):
    """A file or feed cannot be read at all."""


class UnknownSymbol(PermanentError):
    """Nobody ever ingested this symbol."""


class UnknownMarket(PermanentError):
    """No exchange calendar has this name."""


class UnknownIndicator(PermanentError):
    """The catalogue has no indicator of this name."""


class ServerFailed(PermanentError):
    """An embedded server would not start; the message carries its own log."""


class NamespaceTaken(PermanentError):
    """The cache namespace belongs to another database."""
