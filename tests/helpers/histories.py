"""How many random histories a promise is held against."""

from hypothesis import settings

HISTORIES = {"nightly": 10_000, "mutants": 50}.get(settings.get_current_profile_name(), 300)
"""By profile: `make nightly` takes more."""
