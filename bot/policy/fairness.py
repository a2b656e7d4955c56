"""Whose turn is next in a line: people take turns, then first come, first served."""

from collections.abc import Mapping, Sequence


def in_turn(
    users: Sequence[str], holding: Mapping[str, int], served: Mapping[str, int]
) -> list[int]:
    """The places of a line in the order of their turns: indices into ``users``.

    Each person's first wish comes before anybody's second, and among equals whoever was served
    longest ago is next, so that one person with many wishes cannot starve the rest.

    Args:
        users: Whose wish each is, as they arrived.
        holding: How many wishes are being served, by user.
        served: The number of the last grant, by user; who is missing was never served.
    """
    # What is being served counts as a wish: three answers running put the fourth behind
    # everybody's first.
    wishes = dict(holding)
    ranked: list[tuple[int, int, int]] = []
    for number, user in enumerate(users):
        rank = wishes.get(user, 0)
        wishes[user] = rank + 1
        ranked.append((rank, served.get(user, 0), number))
    return [number for *_, number in sorted(ranked)]
