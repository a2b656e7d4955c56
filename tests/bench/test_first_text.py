"""The smallest case of the first texts: its double of Discord broke unseen when a call was new."""

from typing import cast

import pytest

from bench import first_text
from bench.first_text import Reach, _by_command, _by_message  # pyright: ignore[reportPrivateUsage]  # its two ways in
from bench.house import HOST, MODEL, Studio
from bot.sim.host import SimHost
from bot.sim.models import GB, SimHostConfig, SimModel


@pytest.mark.parametrize(
    ("reach", "before"), [(_by_message, ()), (_by_command, ("defer",))], ids=["message", "command"]
)
async def test_a_first_text_is_shown_and_the_calls_before_it_are_told(
    reach: Reach, before: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlogged(**_: object) -> None:
        """Other tests read the log."""

    monkeypatch.setattr(first_text, "CALL_S", 0.0)
    monkeypatch.setattr(first_text, "ROUNDS", 1)
    monkeypatch.setattr("bench.house.configure_logging", unlogged)
    models = (SimModel(MODEL, GB),)
    async with SimHost(SimHostConfig(HOST, models=models, time_scale=0.0)) as host:
        (first,) = await first_text._measure(cast(Studio, host), reach)  # pyright: ignore[reportPrivateUsage]  # all but the process of its own
    assert first.before == before
