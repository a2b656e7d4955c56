"""A model that will not load somewhere: the next question does not wait to see it fail again."""

from pathlib import Path

from house import QWEN, house, sim

from bot.chat.words import why_text
from bot.domain.errors import FailureKind
from bot.domain.events import Failed
from bot.domain.ids import HostName
from bot.sim.journal import LoadStarted

REASON = "the GPU caught fire"


async def test_the_next_question_goes_past_a_host_that_failed_to_load_its_model(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        home.hosts["one"].faults.fail_next_load(REASON, times=None)
        first = await home.ask("hello", model=QWEN.key)
        assert first.receipt.host == "two"
        assert [a.kind for a in first.receipt.attempts] == [FailureKind.LOAD_FAILED]
        await home.lantern.acts.unload(None, QWEN.key)
        later = await home.ask("and now?", model=QWEN.key)
        assert (later.receipt.host, later.receipt.attempts) == ("two", ())
        assert len(home.hosts["one"].journal.of(LoadStarted)) == 1
        turn = await home.lantern.turns.store.get(later.turn)
        assert turn is not None
        why = why_text(turn)
        assert "failed to load it a moment ago: " in why
        assert REASON in why


async def test_where_nobody_else_has_it_the_reason_is_said_at_once_and_an_admin_may_try(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("one", QWEN)) as home:
        home.hosts["one"].faults.fail_next_load(REASON)
        for _ in range(2):
            said = await home.ask("hello", model=QWEN.key)
            assert isinstance(said.last, Failed)
            assert REASON in said.last.error.user_message
        assert len(home.hosts["one"].journal.of(LoadStarted)) == 1
        async with home.lantern.acts.load("one", QWEN.key) as steps:
            async for _ in steps:
                pass
        held = home.lantern.fleet.snapshot().hosts[HostName("one")].instances
        assert [instance.model_key for instance in held] == [QWEN.key]
        said = await home.ask("hello", model=QWEN.key)
        assert said.receipt.host == "one"
