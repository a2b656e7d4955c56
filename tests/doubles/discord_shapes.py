"""Discord's payloads, as far as discord.py 2.7.1 reads them; plain functions."""

from collections.abc import Mapping, Sequence
from typing import cast

Json = dict[str, object]

BOT, OWNER, PERSON = "100000000000000001", "100000000000000002", "100000000000000003"
SERVER, CHANNEL, PRIVATE = "200000000000000001", "300000000000000001", "300000000000000002"
TOKEN = "discord-double-token"

_MAY_ALL = str((1 << 53) - 1)


def user(user_id: str, name: str, *, bot: bool = False) -> Json:
    return {
        "id": user_id,
        "username": name,
        "global_name": None if bot else name.title(),
        "discriminator": "0",
        "avatar": None,
        "bot": bot,
        "flags": 0,
    }


ME = user(BOT, "lantern", bot=True)
PEOPLE = {OWNER: user(OWNER, "owner"), PERSON: user(PERSON, "alice")}

_MEMBER: Json = {
    "roles": [],
    "nick": None,
    "joined_at": "2026-01-01T00:00:00+00:00",
    "deaf": False,
    "mute": False,
    "flags": 0,
}


def member(user_id: str) -> Json | None:
    """Somebody as the server knows them; None: no member."""
    return {**_MEMBER, "user": PEOPLE[user_id]} if user_id in PEOPLE else None


def application(*, grants_content: bool) -> Json:
    return {
        "id": BOT,
        "name": "lantern",
        "description": "",
        "icon": None,
        "bot_public": True,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "owner": PEOPLE[OWNER],
        "team": None,
        "flags": 1 << 19 if grants_content else 0,
    }


def channel_ids(count: int) -> tuple[str, ...]:
    """The server's channels when it has so many, ``CHANNEL`` first."""
    return (CHANNEL, *(str(int(CHANNEL) + 1000 + number) for number in range(1, count)))


def server(channels: int = 1) -> Json:
    everyone: Json = {
        "id": SERVER,
        "name": "@everyone",
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "position": 0,
        "permissions": _MAY_ALL,
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }
    plain: Json = {
        "type": 0,
        "name": "general",
        "position": 0,
        "permission_overwrites": [],
        "nsfw": False,
        "parent_id": None,
        "rate_limit_per_user": 0,
    }
    return {
        "id": SERVER,
        "name": "Home",
        "owner_id": OWNER,
        "roles": [everyone],
        "emojis": [],
        "stickers": [],
        "features": [],
        "member_count": 3,
        "members": [{**_MEMBER, "user": ME}],
        "channels": [{**plain, "id": channel} for channel in channel_ids(channels)],
        "threads": [],
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "unavailable": False,
    }


def ready(gateway_url: str) -> Json:
    return {
        "v": 10,
        "user": ME,
        "guilds": [{"id": SERVER, "unavailable": True}],
        "session_id": "double",
        "resume_gateway_url": gateway_url,
        "application": {"id": BOT, "flags": 0},
        "shard": [0, 1],
    }


def message(
    message_id: str,
    channel: str,
    author: Mapping[str, object],
    content: str,
    components: Sequence[object] = (),
) -> Json:
    return {
        "id": message_id,
        "channel_id": channel,
        "author": author,
        "content": content,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "components": list(components),
        "pinned": False,
        "type": 0,
        "flags": 0,
    }


def said(message_id: str, channel: str, text: str, *, reply_to: Json | None) -> Json:
    """A person's message as the gateway delivers it; in the server it mentions the bot."""
    in_server = channel != PRIVATE
    content = f"<@{BOT}> {text}" if in_server else text
    payload = message(message_id, channel, PEOPLE[PERSON], content)
    payload["channel_type"] = 0 if in_server else 1
    if in_server:
        payload |= {"guild_id": SERVER, "member": _MEMBER, "mentions": [{**ME, "member": _MEMBER}]}
    if reply_to is not None:
        reference: Json = {"message_id": reply_to["id"], "channel_id": channel}
        payload |= {"type": 19, "message_reference": reference, "referenced_message": reply_to}
    return payload


def interaction(interaction_id: str, kind: int, data: Json, user_id: str) -> Json:
    """A command (kind 2) or a press (kind 3) in the server's channel."""
    return {
        "id": interaction_id,
        "application_id": BOT,
        "type": kind,
        "data": data,
        "token": f"token-{interaction_id}",
        "version": 1,
        "guild_id": SERVER,
        "channel_id": CHANNEL,
        "channel": {"id": CHANNEL, "type": 0, "name": "general", "position": 0},
        "member": {**_MEMBER, "user": PEOPLE[user_id], "permissions": _MAY_ALL},
        "app_permissions": _MAY_ALL,
        "locale": "en-US",
        "guild_locale": "en-US",
        "entitlements": [],
        "authorizing_integration_owners": {"0": SERVER},
        "context": 0,
        "attachment_size_limit": 10_485_760,
    }


def button_ids(components: Sequence[object]) -> tuple[str, ...]:
    """What the buttons of a message's rows are called, in order."""
    rows = cast("Sequence[Mapping[str, Sequence[Mapping[str, str]]]]", components)
    return tuple(button["custom_id"] for row in rows for button in row["components"])
