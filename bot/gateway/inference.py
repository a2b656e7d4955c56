"""The paths that models answer: one way for all, from the client's JSON to the last byte."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import ParamSpec, TypeVar
from unicodedata import normalize

import structlog
from aiohttp import web

from bot.chat.choices import PLAIN, Resolved
from bot.chat.lantern import Lantern
from bot.chat.planning import FIRST_LOOK_S
from bot.chat.relayed import RelayRequest, RequestForm
from bot.domain.chat import Place, Receipt
from bot.domain.errors import BotError, FailureKind, NoCandidates
from bot.domain.ids import AUTO, ModelKey, PlaceId, TurnId
from bot.domain.personas import Persona
from bot.gateway.active import ActiveModel
from bot.gateway.bodies import read_body
from bot.gateway.doors import Caller
from bot.gateway.edge import (
    Measured,
    Object,
    Parsed,
    filled,
    measure,
    messages_read,
    parse,
    read_object,
)
from bot.gateway.errors import Problem, problem_of
from bot.gateway.kept import KeptAnswers
from bot.gateway.key_watch import Admit, KeyWatch
from bot.gateway.models import MODELS, unknown_model
from bot.gateway.outbound import outbound
from bot.gateway.shapes import check_shape
from bot.gateway.sinks import LifePace, StreamSink, WholeSink
from bot.gateway.watching import Watching
from bot.policy.context import ANSWER_MARK, countable
from bot.policy.context import widest as widest_estimate
from bot.policy.fitness import Need, Unfit, unfit, widest, window_room
from bot.policy.keys import may_ask_for

P = ParamSpec("P")
T = TypeVar("T")

REQUEST_ID = web.RequestKey("lantern_request_id", str)
CALLER = web.RequestKey("lantern_caller", Caller)

LARGE_BYTES = 256 << 10
"""A larger body is read in a thread; this much takes some thousandths of a second."""

_WORDS_IN = {"responses": "input", "text": "prompt", "embeddings": "input"}
"""Where a request of each form holds its words, if not in ``messages``."""

_log = structlog.get_logger(__name__)


class Inferring:
    """Answers the inference paths; between requests it knows who keeps which answer."""

    def __init__(
        self,
        built: Lantern,
        active: ActiveModel,
        utcnow: Callable[[], datetime],
        pace: LifePace,
        watching: Watching,
        admit: Admit,
    ) -> None:
        self._watching = watching
        self.keys = KeyWatch(built.relaying.flights, admit)
        """Of the requests under way; to be run while they are answered."""
        self._built = built
        self._active = active
        self._utcnow = utcnow
        self._kept = KeptAnswers()
        self._pace = pace

    async def answer(
        self, endpoint: RequestForm, path: str, request: web.Request
    ) -> web.StreamResponse:
        """The answer to a request of one form; ``path`` is where a host has it below ``/v1``."""
        number, caller = request[REQUEST_ID], request[CALLER]
        parsed: Parsed | None = None
        try:
            body = await read_body(request)
            is_large = len(body) > LARGE_BYTES
            parsed = await _read(is_large, parse, endpoint, body)
            is_embedding = endpoint == "embeddings"
            resolved = await self._resolved(parsed.model, caller, is_embedding=is_embedding)
            asked = await self._asked(number, caller, parsed, resolved, path, is_large)
        except (Problem, BotError) as refused:
            # Never flown, and so in no other event: a client that asked all day for a model that
            # is called otherwise was seen by nobody. Its own words are not told.
            named = parsed.model if parsed is not None else None
            self._watching.refused(number, caller.name, endpoint, named, problem_of(refused))
            raise
        # Where none is needed there is none to end. Once the last one was revoked none is needed
        # any more on this machine: what waits by it goes on, since it would be let in anew.
        with nullcontext() if caller.key is None else self.keys.over(asked.id, request):
            return await self._answered(asked, parsed, request)

    async def _answered(
        self, asked: RelayRequest, parsed: Parsed, request: web.Request
    ) -> web.StreamResponse:
        relaying, endpoint, number = self._built.relaying, asked.form, str(asked.id)
        created = int(self._utcnow().timestamp())
        if not asked.is_stream:
            sink = WholeSink(endpoint, f"chatcmpl-{number}", created)
            try:
                receipt = await relaying.answer(asked, sink)
            except Exception as error:
                raise self._problem(asked, error) from error
            self._keep(asked, sink.reply, receipt)
            return sink.answer(receipt)
        model = parsed.model or str(asked.resolved.model)
        stream = StreamSink(request, endpoint, number, model, created, self._pace)
        try:
            async with stream:
                receipt = await relaying.answer(asked, stream)
            self._keep(asked, stream.reply, receipt)
            return await stream.end(receipt, wants_usage=parsed.wants_usage)
        # Found while a byte was written: hosts' broken connections never come up to here.
        except ConnectionError as left:
            raise asyncio.CancelledError("the client left") from left
        except Exception as error:
            problem = self._problem(asked, error)
            # Before its headers it still has a status of its own, by which clients come again.
            if not stream.has_begun:
                raise problem from error
            if problem.code == "internal_error":
                _log.exception("request broke", request=number)
            return await stream.fail(problem)

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        """How many tokens a message would have, with its persona's prompt.

        By the own count of a host that has its model in memory, else about, and rather too many:
        LM Studio has no such path (its bug 2055), and nothing is loaded to count.
        """
        body = await read_body(request)
        is_large = len(body) > LARGE_BYTES
        fields = await _read(is_large, read_object, body)
        await _read(is_large, check_shape, "count_tokens", fields)
        named = str(fields.get("model") or "") or None
        resolved = await self._resolved(named, request[CALLER])
        parsed = Parsed("messages", fields, named, wants_usage=False)
        whole = await _read(is_large, filled, parsed, resolved.persona, {})
        read = {name: whole[name] for name in ("system", "tools", "messages") if name in whole}
        size = await _read(is_large, measure, "messages", read)
        counted = None if size.has_pictures else await self._counted(resolved, read, size, is_large)
        tokens = size.prompt_tokens if counted is None else counted
        return web.json_response({"input_tokens": tokens})

    async def _counted(
        self, resolved: Resolved, read: Object, size: Measured, is_large: bool
    ) -> int | None:
        """Tokens of a message as a host with its model in memory counts them; None: none tells."""
        for model, host in product(resolved.models, self._built.catalog.snapshot().hosts.values()):
            # A text beyond all windows would only hold up the host, and everybody here.
            copies = (
                copy
                for copy in host.loaded
                if copy.model_key == model
                and size.prompt_tokens <= widest_estimate(copy.context_length or 0, 0)
            )
            if host.tells and (copy := next(copies, None)) is not None:
                text = countable(await _read(is_large, messages_read, read)) + ANSWER_MARK
                told = await self._built.fleet.host(host.name).reader.count_tokens(copy, text)
                if told is not None:
                    return told
        return None

    async def _asked(
        self,
        number: str,
        caller: Caller,
        parsed: Parsed,
        resolved: Resolved,
        path: str,
        is_large: bool,
    ) -> RelayRequest:
        """The request as it is relayed.

        Raises:
            Problem: no model it may go to could ever serve it.
        """
        endpoint, user = parsed.endpoint, caller.user
        # Of a persona its own parameters count, whatever its model.
        is_plain = resolved.persona.name == PLAIN.name
        defaults = self._active.defaults_of(resolved.model) if is_plain else {}
        is_granted = not is_plain and may_ask_for(caller.models, str(resolved.persona.name))
        fields, size = await _read(is_large, _ready, parsed, resolved.persona, defaults)
        need = Need(
            models=resolved.models,
            prompt_tokens=size.prompt_tokens,
            window=resolved.persona.load.context_length,
            is_embedding=endpoint == "embeddings",
            has_pictures=size.has_pictures,
            # A provider may read more, or see.
            is_local=endpoint != "chat"
            or not self._built.providers.names
            or resolved.persona.is_private,
        )
        own_format = parsed.fields.get("response_format")
        snapshot = self._built.catalog.snapshot()
        if found := unfit(snapshot, need):
            raise _misfit(endpoint, found)
        prompt_tokens, answer_tokens = window_room(need, widest(snapshot, need), size.limit)
        only_host = None
        if earlier := fields.get("previous_response_id"):
            only_host = self._kept.host_of(user, str(earlier), asyncio.get_running_loop().time())
            if only_host is None:
                raise _gone(str(earlier))
        return RelayRequest(
            id=TurnId(number),
            form=endpoint,
            path=path,
            fields=fields,
            resolved=resolved,
            user=user,
            daily_micro_usd=caller.key.daily_micro_usd if caller.key is not None else None,
            place=Place(PlaceId(str(user)), is_private=True),
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
            is_stream=fields.get("stream") is True and endpoint != "embeddings",
            wants_usage=parsed.wants_usage,
            needs_vision=size.has_pictures,
            abroad=None if need.is_local else outbound(fields, size.limit, own_format),
            # Whoever may ask a persona by its name may be answered by whatever answers for it.
            models=() if is_granted else caller.models,
            only_host=only_host,
        )

    def _keep(self, asked: RelayRequest, reply: str, receipt: Receipt) -> None:
        if reply and receipt.host is not None:
            self._kept.note(asked.user, reply, receipt.host, asyncio.get_running_loop().time())

    def _problem(self, asked: RelayRequest, error: Exception) -> Problem:
        """What its client is told; of a host that is gone, that its answers are."""
        is_gone = isinstance(error, NoCandidates) and FailureKind.BUSY not in error.kinds
        if asked.only_host is not None and is_gone:
            return _gone(str(asked.fields["previous_response_id"]))
        problem = problem_of(error)
        if problem.param == "messages":
            problem.param = _WORDS_IN.get(asked.form, "messages")
        return problem

    def _any_embedding(self, caller: Caller) -> ModelKey:
        """Of those this key is for, one in memory, else the first."""
        hosts = [host for host in self._built.catalog.snapshot().hosts.values() if host.is_serving]
        loaded = [i.model_key for h in hosts for i in h.instances if i.kind == "embedding"]
        known = [key for h in hosts for key, model in h.models.items() if model.kind == "embedding"]
        able = [key for keys in (loaded, known) for key in sorted(keys)]
        return next(filter(caller.may_ask_for, able), AUTO)

    async def _resolved(
        self, name: str | None, caller: Caller, *, is_embedding: bool = False
    ) -> Resolved:
        """Who answers a name: a model key, a persona, or what answers soonest.

        Raises:
            UnknownName: nobody has it; names the nearest.
            NoCandidates: no host answers, so nothing is known of models.
            Problem: the caller's key is not for it.
        """
        keys = self._built.catalog.all_model_keys()
        if name is not None and name not in keys:
            name = normalize("NFC", name)
        persona = None if name is None else self._built.shelf.for_client(name)
        is_known = name is None or name == AUTO or name in keys or persona is not None
        if not is_known or (is_embedding and name is None):
            # It may be on a host that is not seen yet: right after a start the 404 was a lie.
            await self._built.fleet.settled(FIRST_LOOK_S)
            keys = self._built.catalog.all_model_keys()
        if name is None and self._active.key is not None and not is_embedding:
            # It was chosen to chat: asked for vectors it would only refuse.
            resolved = Resolved(PLAIN, "", self._active.key, "the active model", True)
        elif name is None or name == AUTO:
            # Chats go wherever it is soonest; a vector is of use beside others of one model alone.
            model = self._any_embedding(caller) if is_embedding else AUTO
            resolved = Resolved(PLAIN, "", model, "none was named", False)
        elif name in keys:
            # The model answers, and not the persona of that name; but whoever meant the persona
            # may count on its privacy.
            plain = PLAIN
            if persona is not None:
                plain = replace(PLAIN, local_only=persona.local_only, cloud=persona.cloud)
            resolved = Resolved(plain, "", ModelKey(name), "asked for", True)
        elif persona is not None:
            resolved = Resolved(persona, "asked for", persona.model, f"{name}'s own model", False)
        else:
            if not keys:
                self._built.catalog.any_model(name)
            known = keys | self._built.shelf.for_clients().keys()
            raise unknown_model(name, filter(caller.may_ask_for, known))
        asked_for = name or str(resolved.model)
        if not caller.may_ask_for(asked_for, resolved.models):
            raise _not_for(caller, name, resolved.model)
        return resolved


def _not_for(caller: Caller, name: str | None, model: ModelKey) -> Problem:
    """What is told of a key that is not for the model named, or for what answers where none is."""
    words = f"The key `{caller.name}` is not for `{name}`."
    if name is None:
        what = "every model" if model == AUTO else f"the active one, `{model}`"
        words = (
            f"The request names no model, and the key `{caller.name}` is not for {what}. "
            f"Name one that `{MODELS}` lists."
        )
    return Problem(403, words, "model_not_allowed", param="model")


async def _read(is_large: bool, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    # On the loop 330,000 messages held up everybody else's tokens for two seconds and a half.
    return await asyncio.to_thread(read, *args, **kwargs) if is_large else read(*args, **kwargs)


def _ready(
    parsed: Parsed, persona: Persona, defaults: Mapping[str, object]
) -> tuple[Object, Measured]:
    fields = filled(parsed, persona, defaults)
    return fields, measure(parsed.endpoint, fields)


def _misfit(endpoint: RequestForm, found: Unfit) -> Problem:
    """What no model here can ever serve, as its client is told it."""
    if found.about == "absence":
        # As of an unknown model: 503 was repeated by clients, and for ever.
        return Problem(404, found.words, "model_not_found", param="model")
    param = "model" if found.about == "kind" else _WORDS_IN.get(endpoint, "messages")
    code = "context_length_exceeded" if found.about == "size" else None
    return Problem(400, found.words, code, param=param)


def _gone(reply: str) -> Problem:
    words = f"The answer `{reply}` is not kept any more: send the whole conversation."
    return Problem(404, words, "previous_response_not_found", param="previous_response_id")
