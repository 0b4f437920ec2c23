"""Hypothesis draws whole small markets here, and says nothing about how long Polars takes the first time."""

from hypothesis import HealthCheck, settings

settings.register_profile("transforms", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("transforms")
