"""The clock that stands still until a test lets it pass."""

import asyncio

from clocks import LoopClock


async def test_what_was_due_before_it_was_asked_for_begins_at_once(loop_clock: LoopClock) -> None:
    loop, rung = asyncio.get_running_loop(), list[str]()
    due = loop.time() + 2.0
    loop_clock.passes(5.0)

    loop.call_at(due, rung.append, "late")
    loop.call_later(0.0, rung.append, "now")
    await asyncio.sleep(0)

    assert rung == ["late", "now"]
