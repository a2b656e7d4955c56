"""The paths that models answer: one way for all, from the client's JSON to the last byte."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from aiohttp import web

from bot.chat.choices import PLAIN, Resolved
from bot.chat.lantern import Lantern
from bot.chat.relaying import RelayRequest
from bot.domain.chat import Place
from bot.domain.errors import UnknownName
from bot.domain.ids import AUTO, ModelKey, PlaceId, TurnId
from bot.gateway.active import ActiveModel
from bot.gateway.bodies import read_body
from bot.gateway.doors import Caller
from bot.gateway.edge import as_messages, filled, measure, parse
from bot.gateway.errors import Problem, problem_of
from bot.gateway.shapes import Endpoint
from bot.gateway.sinks import StreamSink, WholeSink
from bot.policy.names import nearest

REQUEST_ID = web.RequestKey("lantern_request_id", str)
CALLER = web.RequestKey("lantern_caller", Caller)

_log = structlog.get_logger(__name__)


class Inferring:
    """Answers the inference paths; holds no state between requests."""

    def __init__(self, built: Lantern, active: ActiveModel, utcnow: Callable[[], datetime]) -> None:
        self._built = built
        self._active = active
        self._utcnow = utcnow

    def handler(
        self, endpoint: Endpoint, path: str
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler of one path."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(request, endpoint, path)

        return handle

    async def _handle(
        self, request: web.Request, endpoint: Endpoint, path: str
    ) -> web.StreamResponse:
        parsed = parse(endpoint, await read_body(request))
        caller = request[CALLER]
        resolved = self._resolved(parsed.model, caller)
        # Of a persona its own parameters count, whatever its model.
        is_plain = resolved.persona is PLAIN
        defaults = self._active.defaults_of(resolved.model) if is_plain else {}
        fields = filled(parsed, resolved.persona, defaults)
        is_stream = fields.get("stream") is True and endpoint != "embeddings"
        prompt_tokens, answer_tokens, has_images = measure(fields)
        messages, why_local = as_messages(fields) if endpoint == "chat" else ((), "")
        number = request[REQUEST_ID]
        asked = RelayRequest(
            id=TurnId(number),
            form=endpoint,
            path=path,
            fields=fields,
            resolved=resolved,
            user=caller.user,
            place=Place(PlaceId(str(caller.user)), is_private=True),
            prompt_tokens=prompt_tokens,
            answer_tokens=0 if endpoint == "embeddings" else answer_tokens,
            is_stream=is_stream,
            wants_usage=parsed.wants_usage,
            needs_vision=has_images,
            messages=messages,
            why_local=why_local or ("" if messages else "only chats are passed to providers"),
        )
        created = int(self._utcnow().timestamp())
        relaying = self._built.relaying
        if not is_stream:
            sink = WholeSink(endpoint, f"chatcmpl-{number}", created)
            receipt = await relaying.answer(asked, sink)
            return sink.answer(receipt)
        stream = StreamSink(request, endpoint, number, str(resolved.model), created)
        try:
            async with stream.alive():
                receipt = await relaying.answer(asked, stream)
            return await stream.end(receipt, wants_usage=parsed.wants_usage)
        except Exception as error:
            if not stream.has_begun:
                raise
            problem = problem_of(error)
            if problem.code == "internal_error":
                _log.exception("request broke", request=number)
            return await stream.fail(problem)

    def _resolved(self, name: str | None, caller: Caller) -> Resolved:
        """Who answers a name: a model key, a persona, or what answers soonest.

        Raises:
            UnknownName: nobody has it; names the nearest.
            NoCandidates: no host answers, so nothing is known of models.
            Problem: the caller's key is not for it.
        """
        keys = {str(key) for key in self._built.catalog.all_model_keys()}
        persona = None if name is None else self._built.shelf.get(name)
        if name is None and self._active.key is not None:
            resolved = Resolved(PLAIN, "", self._active.key, "the active model", True)
        elif name is None or name == AUTO:
            resolved = Resolved(PLAIN, "", AUTO, "none was named", False)
        elif name in keys:
            resolved = Resolved(PLAIN, "", ModelKey(name), "asked for", True)
        elif persona is not None:
            resolved = Resolved(persona, "asked for", persona.model, f"{name}'s own model", False)
        else:
            if not keys:
                self._built.catalog.any_model(name)
            known = keys | {str(known.name) for known in self._built.shelf.all()}
            raise UnknownName(
                "model", name, nearest(name, sorted(filter(caller.may_ask_for, known)))
            )
        asked_for = name or str(resolved.model)
        if not caller.may_ask_for(asked_for, resolved.models):
            words = f"The key `{caller.name}` is not for `{asked_for}`."
            raise Problem(403, words, "model_not_allowed", param="model")
        return resolved
