"""Finds messages of ours whose ids a crash took: by the question, by buttons, by a token."""

import asyncio
from typing import Any

import discord
import structlog
from discord.http import Route

from bot.domain.values import value
from bot.store.questions import Question
from cogs._faults import SENDING_ERRORS, DiscordFault, fault_of
from cogs._transport import CALL_S
from cogs._view import Act, MessageView, buttons_of, subjects_in

LOOKED_AT = 100
"""Messages behind a question in which ours are looked for: one page of Discord's."""

_LOADING = 1 << 7
"""Discord's mark of a message that only says that the bot thinks."""

_PROMISES = frozenset({Act.STOP, Act.CANCEL, Act.HALT})

_log = structlog.get_logger(__name__)


@value
class OurMessage:
    """One message of ours as Discord shows it."""

    id: int
    is_waiting: bool
    """It promises more words: it says that the bot thinks, or can be stopped."""


def found_in(message: dict[str, Any]) -> OurMessage:
    """What counts of a message as Discord's API gives it."""
    acts = {act for act, _ in subjects_in(message.get("components") or ())}
    is_loading = bool(message.get("flags", 0) & _LOADING)
    return OurMessage(int(message["id"]), is_loading or not acts.isdisjoint(_PROMISES))


async def answers_to(client: discord.Client, question: Question) -> dict[int, OurMessage]:
    """Our messages in its channel that answer a question; none where they may not be read."""
    messages: list[Any] = []
    try:
        async with asyncio.timeout(CALL_S):
            messages = await client.http.logs_from(
                int(question.channel_id), LOOKED_AT, after=int(question.id)
            )
    except SENDING_ERRORS as error:
        _log.info("messages not looked for", error=str(error)[:200])
    me = str(client.user.id if client.user is not None else 0)
    # A persona's come by our webhook: then the author is that.
    app = str(client.application_id or 0)
    ours = [m for m in messages if me == m["author"]["id"] or m.get("application_id") == app]
    return {int(m["id"]): found_in(m) for m in ours if _answers(m, question)}


def _answers(message: dict[str, Any], question: Question) -> bool:
    none: dict[str, Any] = {}
    referred = (message.get("message_reference") or none).get("message_id")
    cause = (message.get("interaction_metadata") or none).get("id")
    subjects = {subject for _, subject in subjects_in(message.get("components") or ())}
    # Later parts of a reply refer to nothing, but the last one's buttons name the turn.
    return question.id in (referred, cause) or (question.turn or "") in subjects


async def response_of(client: discord.Client, question: Question) -> OurMessage | None:
    """The first message of an interaction's response, while its token lives."""
    if question.token is None:
        return None
    try:
        async with asyncio.timeout(CALL_S):
            return found_in(await client.http.request(_route(client, "GET", question.token)))
    except SENDING_ERRORS as error:
        _log.info("response not found", error=str(error)[:200])
        return None


async def tell_by_token(
    client: discord.Client,
    token: str,
    message: MessageView,
    message_id: int | None = None,
    *,
    locale: object = None,
) -> bool:
    """Puts a message in place of one of an interaction's; whether that needs no further try.

    Args:
        client: Logged in.
        token: The interaction's.
        message: What is to be read.
        message_id: Which of its messages; None: its response.
        locale: Its reader's, for the buttons.
    """
    buttons = buttons_of(message, locale)
    components = [] if buttons is None else buttons.to_components()
    body: dict[str, Any] = {"content": message.content, "components": components}
    try:
        async with asyncio.timeout(CALL_S):
            await client.http.request(_route(client, "PATCH", token, message_id), json=body)
    except SENDING_ERRORS as error:
        return fault_of(error) not in (DiscordFault.PASSING, DiscordFault.LEAVING)
    return True


def _route(client: discord.Client, method: str, token: str, message_id: int | None = None) -> Route:
    return Route(
        method,
        f"/webhooks/{{webhook_id}}/{{webhook_token}}/messages/{message_id or '@original'}",
        webhook_id=client.application_id,
        webhook_token=token,
    )
