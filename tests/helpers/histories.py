"""How many random histories a promise is held against."""

from hypothesis import HealthCheck, settings

_PROFILE = settings.get_current_profile_name()
_IS_NIGHTLY = _PROFILE == "nightly"

HISTORIES = {"nightly": 10_000, "mutants": 50}.get(_PROFILE, 300)
"""By profile: `make nightly` takes more."""


def plays(examples: int) -> settings:
    """So many plays of a test that takes long for each, the same ones in each run.

    `make nightly` takes forty times as many, others each night: it once played these alone again.
    """
    return settings(
        max_examples=examples * (40 if _IS_NIGHTLY else 1),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=not _IS_NIGHTLY,
    )
