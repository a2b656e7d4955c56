"""Options of the whole suite."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says nothing about it: a busy machine must not fail a test.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", settings.get_profile("dev"), max_examples=2_000)
# Thousands of mutants, each with the same few examples.
settings.register_profile(
    "mutants", settings.get_profile("dev"), max_examples=25, derandomize=True, database=None
)
settings.load_profile("dev")


def pytest_configure() -> None:
    """Spare every HTTP client the reading of the system's certificates: no test speaks TLS.

    The SDK makes six httpx clients per host, and each takes some 40 ms to read them.
    """
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lantern")
    group.addoption(
        "--lan-host",
        metavar="ADDRESS:PORT",
        help="a real LM Studio for the tests marked lan; run them with -m lan",
    )
    group.addoption("--lan-token", metavar="TOKEN", help="its API token, when it wants one")
    group.addoption(
        "--lan-model", metavar="KEY", help="the model to load on it; the smallest by default"
    )
    group.addoption("--tries", type=int, default=1, metavar="N", help="run every test N times")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test as often as ``--tries`` says: what fails once in ten times is found by ten."""
    tries = int(metafunc.config.getoption("tries") or 1)
    if tries > 1:
        metafunc.fixturenames.append("number_of_try")
        metafunc.parametrize("number_of_try", range(tries))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests marked lan out unless they are asked for by name."""
    if "lan" in str(config.getoption("markexpr")):
        return
    away = [item for item in items if item.get_closest_marker("lan") is not None]
    if away:
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in away]
