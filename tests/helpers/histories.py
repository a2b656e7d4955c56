"""How many random histories a promise is held against."""

from hypothesis import HealthCheck, settings

_PROFILE = settings.get_current_profile_name()
_IS_NIGHTLY = _PROFILE == "nightly"

HISTORIES = {"nightly": 10_000, "mutants": 50}.get(_PROFILE, 300)
"""By profile: what is promised of each fleet's invariants. Each run draws others."""


def examples(number: int) -> settings:
    """So many examples of what needs more, or fewer, than the profile says.

    `make nightly` takes forty times as many: a number of a test's own goes before a profile's, and
    what takes longest was held against no more by night than by day.
    """
    return settings(max_examples=number * (40 if _IS_NIGHTLY else 1), deadline=None)


def plays(number: int) -> settings:
    """So many plays of a test that takes long for each, the same ones in each run.

    `make nightly` takes eighty times as many, others each night: it once played these alone again.
    """
    return settings(
        max_examples=number * (80 if _IS_NIGHTLY else 1),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=not _IS_NIGHTLY,
    )
