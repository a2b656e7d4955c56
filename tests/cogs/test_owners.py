"""Where the owners' news go, whoever may be written to."""

from typing import Any
from unittest.mock import AsyncMock, MagicMock

import discord
import pytest
from cogs_doubles import READERS, http_error
from stand_ins import Method, double

from cogs._owners import tell_owners

Refusals = dict[int | None, Exception]
"""Who cannot be written to, by the person's id; None is the channel."""


async def told(refusals: Refusals, channel: int | None) -> tuple[bool, dict[int | None, str]]:
    """Whether somebody was told, and what each read."""
    read: dict[int | None, str] = {}

    def post_of(whom: int | None) -> Any:
        async def send(text: str, **_: object) -> None:
            if whom in refusals:
                raise refusals[whom]
            read[whom] = text

        post = MagicMock(send=send, id=whom)
        post.create_dm = AsyncMock(return_value=post)
        return post

    client = double(discord.Client)
    team = MagicMock(members=[MagicMock(id=1), MagicMock(id=2)])
    client.application = MagicMock(team=team)
    client.fetch_user = Method(post_of)
    client.get_partial_messageable.return_value = post_of(None)
    return await tell_owners(client, "zai is out", channel, READERS), read


@pytest.mark.parametrize(
    ("channel", "refusals", "readers", "is_told"),
    [
        (None, {}, [1, 2], True),
        (7, {}, [None], True),
        (7, {None: http_error(403, 50001)}, [1, 2], True),
        (7, {None: http_error(404, 10003)}, [1, 2], True),
        # A line that is cut is tried again, and no reason to write in private.
        (7, {None: http_error(503)}, [], False),
        (7, {None: RuntimeError("Session is closed")}, [], False),
        (None, {1: http_error(403, 50007)}, [2], True),
        (None, {1: http_error(403, 50007), 2: http_error(403, 50007)}, [], False),
        (7, {at: http_error(403, 50007) for at in (None, 1, 2)}, [], False),
    ],
)
async def test_owners_are_told_where_they_may_be_written_to(
    channel: int | None, refusals: Refusals, readers: list[int | None], is_told: bool
) -> None:
    result, read = await told(refusals, channel)
    assert (result, sorted(read, key=str)) == (is_told, sorted(readers, key=str))
    assert all(text.startswith("zai is out") for text in read.values())
    is_hinted = channel is not None and None not in read
    assert all(("<#7>" in text) is is_hinted for text in read.values())
