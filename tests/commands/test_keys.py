"""A key that was changed in a file while the bot runs."""

from collections.abc import Sequence

import pytest
import structlog

from bot import app
from bot.domain.cloud import ProviderConfig
from bot.domain.errors import ConfigError
from bot.domain.ids import ModelKey, ProviderName

OLD = ProviderConfig(ProviderName("zai"), "http://nowhere.invalid", ModelKey("glm"))


class Out:
    """Providers of which one is left out, or none."""

    def __init__(self, *, has_outage: bool) -> None:
        self.has_outage = has_outage
        self.taken: list[Sequence[ProviderConfig]] = []

    def take_keys(self, configs: Sequence[ProviderConfig]) -> None:
        self.taken.append(configs)


@pytest.mark.parametrize("has_outage", [True, False])
async def test_settings_are_read_again_only_while_a_provider_is_left_out(
    *, has_outage: bool
) -> None:
    providers = Out(has_outage=has_outage)
    take = app._take_keys  # pyright: ignore[reportPrivateUsage]  # the timer's own job
    await take(lambda: [OLD], providers)  # pyright: ignore[reportArgumentType]  # a double
    await take(None, providers)  # pyright: ignore[reportArgumentType]  # a double
    assert providers.taken == ([[OLD]] if has_outage else [])


async def test_a_file_that_is_wrong_meanwhile_stops_nothing() -> None:
    def broken() -> Sequence[ProviderConfig]:
        raise ConfigError(["config.yaml:3: no such key"])

    providers = Out(has_outage=True)
    with structlog.testing.capture_logs() as logs:
        take = app._take_keys  # pyright: ignore[reportPrivateUsage]  # the timer's own job
        await take(broken, providers)  # pyright: ignore[reportArgumentType]  # a double
    assert providers.taken == []
    assert [log["event"] for log in logs] == ["keys not read again"]
