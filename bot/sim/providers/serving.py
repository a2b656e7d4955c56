"""Answers the requests of one provider, one after the other as they come and side by side."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

from bot.sim.answers import Asked
from bot.sim.clock import SimClock
from bot.sim.demands import demand_of
from bot.sim.providers.asking import Ask, Declined, HttpAnswer, find_model
from bot.sim.providers.caching import PromptCache
from bot.sim.providers.catalogue import models_of
from bot.sim.providers.config import SimProviderConfig
from bot.sim.providers.faults import (
    ANSWER_FAULTS,
    REPLY_FAULTS,
    Fault,
    FaultName,
    ProviderFaults,
)
from bot.sim.providers.journal import Arrival, Outcome, ProviderJournal, is_chat
from bot.sim.providers.replying import Reply, compose
from bot.sim.providers.streaming import Stream, cut, outcome_of
from bot.sim.providers.visit import Visit
from bot.sim.providers.wire import ProviderWire, Scene, edge_answer
from bot.sim.providers.zai import CODING_PREFIX
from bot.sim.wire_json import JsonObject, parse_object, text_of

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "proxy-authorization", "cookie"})


class Serving:
    """Everything behind the socket."""

    def __init__(
        self,
        config: SimProviderConfig,
        wire: ProviderWire,
        faults: ProviderFaults,
        journal: ProviderJournal,
        utcnow: Callable[[], datetime] | None,
    ) -> None:
        self.key = config.key
        self._config = config
        self._wire = wire
        self._faults = faults
        self._journal = journal
        self._utcnow = utcnow
        self._clock = SimClock(config.time_scale)
        self._cache = PromptCache(config.cache_from_tokens)
        self._models = models_of(config)
        self._number = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request and keep its record."""
        body = parse_object(await request.read())
        visit = Visit(self._journal, self._arrival(request, body or {}))
        try:
            return await self._answer(request, visit, body)
        except Declined as declined:
            visit.answered(declined.answer)
            return self._response(declined.answer, visit)
        except ConnectionError:
            visit.end("cut", "asker left")
            return web.Response()
        except asyncio.CancelledError:
            visit.end("cut", "asker left")
            raise
        finally:
            visit.end("error", "the simulator failed")

    def _arrival(self, request: web.Request, body: JsonObject) -> Arrival:
        self._number += 1
        headers = {name.lower(): value for name, value in request.headers.items()}
        return Arrival(
            number=self._number,
            at=asyncio.get_running_loop().time(),
            method=request.method,
            path=request.path,
            model=text_of(body, "model") or "",
            user=self._wire.user_of(body),
            payload=body,
            headers={n: value for n, value in headers.items() if n not in _SECRET_HEADERS},
        )

    async def _answer(
        self, request: web.Request, visit: Visit, body: JsonObject | None
    ) -> web.StreamResponse:
        path = request.path
        while self._faults.take("no_headers", path):
            await self._faults.until_cleared()
        if self._faults.take("reset", path):
            return cut(request, visit, "reset")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self._check_key(headers, visit)
        self._raise_fault(visit)
        self._wire.admit(headers)
        match request.method, self._tail(path, visit):
            case "GET", "/models":
                return self._whole(self._wire.model_list(self._models), visit)
            case "GET", tail if tail.startswith("/models/"):
                return self._one_model(tail.removeprefix("/models/"), visit)
            case "POST", tail if tail == self._wire.chat:
                return await self._chat(request, visit, self._understood(body, headers))
            case "POST", "/messages/count_tokens" if self._wire.chat == "/messages":
                ask = self._understood({"max_tokens": 1, **(body or {})}, headers)
                return self._whole({"input_tokens": ask.prompt_tokens}, visit)
            case _:
                raise Declined(_no_such_path())

    def _check_key(self, headers: Mapping[str, str], visit: Visit) -> None:
        key = self._wire.key_of(headers)
        if self.key and key != self.key:
            raise Declined(self._wire.answer(Fault("auth"), self._scene(visit, key=key)))

    def _raise_fault(self, visit: Visit) -> None:
        path = visit.arrival.path
        elsewhere = self._wire.elsewhere
        names: list[FaultName] = [name for name in ANSWER_FAULTS if name != elsewhere]
        fault = self._faults.take_first(names, path)
        if fault is not None:
            raise Declined(edge_answer(fault) or self._wire.answer(fault, self._scene(visit)))

    def _tail(self, path: str, visit: Visit) -> str:
        is_coding = self._config.wire == "zai" and path.startswith(f"{CODING_PREFIX}/")
        prefix = CODING_PREFIX if is_coding else self._wire.prefix
        if not path.startswith(f"{prefix}/"):
            raise Declined(_no_such_path())
        if self._config.wire == "zai" and is_coding != (self._config.plan == "coding"):
            # A key of the other plan is told there is no money, not that it knocks at a wrong door.
            raise Declined(self._wire.answer(Fault("no_money"), self._scene(visit)))
        return path.removeprefix(prefix)

    def _one_model(self, key: str, visit: Visit) -> web.StreamResponse:
        model = find_model(self._models, key)
        if model is None:
            raise Declined(self._wire.answer(Fault("unknown_model"), self._scene(visit, model=key)))
        return self._whole(self._wire.model(model), visit)

    def _understood(self, body: JsonObject | None, headers: Mapping[str, str]) -> Ask:
        if body is None:
            raise Declined(HttpAnswer(400, {"error": {"message": "The body is no JSON object."}}))
        return self._wire.understand(body, headers, self._models)

    async def _chat(self, request: web.Request, visit: Visit, ask: Ask) -> web.StreamResponse:
        scene = self._scene(visit, ask=ask)
        if scene.prompt_tokens > ask.model.window:
            raise Declined(self._wire.answer(Fault("too_long"), scene))
        if self._is_crowded(scene.model):
            raise Declined(self._wire.answer(Fault("rate_limit"), scene))
        reply = self._reply(visit, ask, scene)
        if ask.stream:
            stream = Stream(request, visit, self._wire, scene, self._faults, self._clock)
            return await stream.send(ask, reply, self._config, self._headers(visit))
        await self._clock.sleep(self._config.first_token_s)
        visit.charge_prompt(ask.model.price, reply)
        tokens = len(reply.reasoning) + len(reply.content)
        await self._clock.sleep(tokens / self._config.tokens_per_s)
        visit.charge_whole(reply)
        return self._whole(self._wire.whole(ask, reply), visit, reply)

    def _is_crowded(self, model: str) -> bool:
        limit = self._config.max_concurrent
        open_ = [a for a in self._journal.open if is_chat(a) and a.model == model]
        return limit is not None and len(open_) > limit

    def _reply(self, visit: Visit, ask: Ask, scene: Scene) -> Reply:
        has_broken = self._wire.has_broken_finish
        names: list[FaultName] = [n for n in REPLY_FAULTS if has_broken or n != "broken"]
        if self._wire.elsewhere is not None:
            names.append(self._wire.elsewhere)
        cached = self._cache.read(ask.model.key, ask.messages) if ask.may_cache else 0
        asked = Asked(ask.model.key, self._config.display_name, ask.messages)
        demand = demand_of(visit.arrival.payload, ask.messages)
        answer = demand.met(self._config.answer(asked))
        called = replace(answer, content=answer.call) if demand.call else answer
        reply = compose(
            ask,
            called,
            self._faults.take_all(names, visit.arrival.path),
            reply_id=f"sim-{visit.arrival.number:012d}",
            created=int(scene.now.timestamp()),
            prompt_tokens=scene.prompt_tokens,
            cached_tokens=cached,
        )
        return replace(reply, calls=demand.call.name) if demand.call else reply

    def _whole(
        self, body: JsonObject, visit: Visit, reply: Reply | None = None
    ) -> web.StreamResponse:
        outcome: Outcome = "finished" if reply is None else outcome_of(reply)
        reason = "" if reply is None else reply.finish
        answer = HttpAnswer(200, body, outcome=outcome, reason=reason)
        visit.answered(answer)
        return self._response(answer, visit)

    def _response(self, answer: HttpAnswer, visit: Visit) -> web.Response:
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        headers = self._headers(visit) | dict(answer.headers)
        return web.Response(
            status=answer.status, text=text, content_type=answer.content_type, headers=headers
        )

    def _headers(self, visit: Visit) -> dict[str, str]:
        date = format_datetime(self._now(), usegmt=True)
        return {"Date": date, **self._wire.headers(visit.arrival.number)}

    def _scene(
        self, visit: Visit, *, ask: Ask | None = None, model: str = "", key: str | None = None
    ) -> Scene:
        return Scene(
            now=self._now(),
            number=visit.arrival.number,
            model=model or visit.arrival.model,
            window=ask.model.window if ask else 0,
            prompt_tokens=ask.prompt_tokens if ask else 0,
            shown_key=f"{key[:4]}****" if key else "",
        )

    def _now(self) -> datetime:
        if self._utcnow is not None:
            return self._utcnow().astimezone(UTC)
        return _EPOCH + timedelta(seconds=self._clock.now())


def _no_such_path() -> HttpAnswer:
    return HttpAnswer(404, "404 page not found", content_type="text/plain", reason="no such path")
