"""Whose turn is next in a line, and how long others may overtake it.

People take turns, the more urgent first, then first come.
"""

from collections.abc import Mapping, Sequence

from bot.domain.personas import Priority

MOST_PASSES = 5
"""So often in a row somebody more urgent is let in before those who came earlier."""
PATIENCE_S = 30.0
"""How long others may overtake a turn that waits for memory, at most."""

_LEVELS: Mapping[Priority, int] = {"high": 0, "normal": 1, "low": 2}


def in_turn(
    users: Sequence[str],
    holding: Mapping[str, int],
    served: Mapping[str, int],
    priorities: Sequence[Priority] = (),
    passes: int = 0,
) -> tuple[list[int], int]:
    """The order of the turns, and how many passes there are in a row once its first is let in.

    Each person's first wish comes before anybody's second, so that one person with many wishes
    cannot starve the rest, however urgent they are. Of those the most urgent is next, and among
    equals whoever was served longest ago. After ``MOST_PASSES`` whoever came first is next, so
    that nobody waits behind a stream of more urgent ones for ever.

    Args:
        users: Whose wish each is, as they arrived.
        holding: How many wishes are being served, by user.
        served: The number of the last grant, by user; who is missing was never served.
        priorities: How urgent each is; none are all alike.
        passes: Grants in a row, up to now, that passed somebody who came earlier.

    Returns:
        Indices into ``users``, and the passes to be kept.
    """
    is_due = passes >= MOST_PASSES
    levels = [_LEVELS[priority] for priority in priorities] or [0] * len(users)
    # What is being served counts as a wish: three answers running put the fourth behind
    # everybody's first.
    wishes = dict(holding)
    ranked: list[tuple[int, int, int, int]] = []
    # One's own urgent question goes before one's other questions.
    arrived = range(len(users))
    for number in arrived if is_due else sorted(arrived, key=levels.__getitem__):
        user = users[number]
        rank = wishes.get(user, 0)
        wishes[user] = rank + 1
        level, turn = (0, 0) if is_due else (levels[number], served.get(user, 0))
        ranked.append((rank, level, turn, number))
    ranked.sort()
    order = [number for *_, number in ranked]
    if not order:
        return [], passes
    first, least = order[0], ranked[0][0]
    is_pass = any(
        rank == least and number < first and levels[number] > levels[first]
        for rank, _, _, number in ranked
    )
    return order, passes + 1 if is_pass else 0


def swap_due_s(
    waited_s: float, together_s: float, waiting: int, swap_s: float, max_wait_s: float | None
) -> float:
    """In how many seconds is what others use to make way for somebody whom they overtake?

    Once all who wait for the same have waited as long as the swap costs everybody, or this one for
    ``PATIENCE_S``, at most a quarter of its longest wait: what is left must do for the others to
    finish and for the load.

    Args:
        waited_s: How long others overtook it, who had what they want in memory.
        together_s: How long all who wait for the same were overtaken, added up.
        waiting: How many these are.
        swap_s: Its load, and those of what leaves for it, once more.
        max_wait_s: Its longest wait; None for no limit.

    Returns:
        0.0 where it is worth the swap by now.
    """
    patience_s = PATIENCE_S if max_wait_s is None else min(PATIENCE_S, max_wait_s / 4)
    return max(0.0, min((swap_s - together_s) / waiting, patience_s - waited_s))
