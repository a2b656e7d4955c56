"""``/admin``: what an admin may see and do over HTTP; who may come in, the doors have said."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Literal, TypeVar, cast

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from bot.chat.lantern import Lantern
from bot.chat.walk import Readiness
from bot.chat.words import seconds_text, unstored_text
from bot.documents.values import PositiveSeconds
from bot.domain.errors import (
    FailureKind,
    ForeignInstance,
    NoCandidates,
    NotPermitted,
    RequestRefused,
    UnknownName,
)
from bot.domain.events import Evicting
from bot.domain.hosts import AWAY, Drain, HostSnapshot, Instance
from bot.domain.ids import HostName, ModelKey, TurnId
from bot.domain.personas import LoadSettings
from bot.fleet.client import LoadValue, not_applied
from bot.gateway.active import ActiveModel, DefaultInference
from bot.gateway.bodies import read_body
from bot.gateway.doors import Doors
from bot.gateway.edge import Object, read_object
from bot.gateway.errors import NEVER_AGAIN, Problem, problem_of
from bot.gateway.picture import fleet_objects, model_objects
from bot.gateway.usage import key_objects, usage_report
from bot.gateway.watching import Watching
from bot.policy.names import nearest


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class _Gpu(_Strict):
    ratio: Annotated[float, Field(ge=0, le=1)] | Literal["max", "off"] | None = None
    layers: Annotated[int, Field(ge=0)] | None = None


class _LoadConfig(_Strict):
    context_length: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    gpu: _Gpu = _Gpu()
    flash_attention: bool | None = None
    cpu_threads: Annotated[int, Field(ge=1)] | None = None
    rope_frequency_base: Annotated[float, Field(gt=0)] | None = None
    rope_frequency_scale: Annotated[float, Field(gt=0)] | None = None
    num_experts: Annotated[int, Field(ge=1)] | None = None


class _Activate(_Strict):
    model_key: Annotated[str, Field(min_length=1, max_length=500)]
    default_inference: DefaultInference = DefaultInference()


class _Load(_Activate):
    host: str | None = None
    activate: bool = False
    load_config: _LoadConfig = _LoadConfig()


class _Unload(_Strict):
    model_key: Annotated[str, Field(min_length=1, max_length=500)]
    instance_id: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """One copy of it; None is all of them."""
    host: str | None = None
    foreign: bool = False
    """Also what others loaded."""


class _Drain(_Strict):
    lasting: Annotated[PositiveSeconds | None, Field(alias="for")] = None
    """After how long it ends by itself."""


_Shape = TypeVar("_Shape", bound=_Strict)


class Admin:
    """Carries out what admins ask; every act is the same as by Discord or the command line."""

    def __init__(
        self, built: Lantern, active: ActiveModel, watching: Watching, doors: Doors
    ) -> None:
        self._built = built
        self._doors = doors
        self._active = active
        self._watching = watching

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Its paths."""
        # A HEAD of what has no end would never be answered.
        # It outlives what was true of its key as it was let in; answers of models may end.
        admit = partial(self._doors.admit, scope="admin", again=True)
        events = partial(self._watching.feed.serve, admit)
        router.add_get("/admin/events", events, allow_head=False)
        for name in ("status", "hosts", "models", "requests", "usage", "keys"):
            router.add_get(f"/admin/{name}", self._show)
        router.add_post("/admin/requests/{id}/cancel", self._cancel)
        router.add_post("/admin/models/activate", self._activate)
        router.add_post("/admin/models/load", self._load)
        router.add_post("/admin/models/unload", self._unload)
        router.add_post("/admin/hosts/{name}/drain", self._drain)
        router.add_post("/admin/hosts/{name}/resume", self._drain)

    async def _show(self, request: web.Request) -> web.Response:
        """What there is to see, each at a path of its name."""
        built, told = self._built, dict[str, object]()
        match request.path.rpartition("/")[2]:
            case "status":
                told = self._watching.status(await self._watching.accounts())
            case "hosts":
                told["hosts"] = fleet_objects(built.fleet.snapshot())
            case "models":
                told["models"] = model_objects(built.catalog, self._active.key)
            case "requests":
                told["requests"] = self._watching.flights()
            case "usage":
                told = await usage_report(built, request)
            case _:
                told["keys"] = await key_objects(built)
        return web.json_response(told)

    async def _cancel(self, request: web.Request) -> web.Response:
        await read_body(request)
        id = TurnId(request.match_info["id"])
        status = self._built.relaying.flights.cancel(id)
        # Turns of Discord are known by ids of the same kind; their askers keep the text so far.
        if status is None and self._built.turns.stop_turn(id):
            status = "cancelled"
        if status is not None:
            words = f"{id} is ending already." if status == "ending" else f"Ended {id}."
            return web.json_response({"status": status, "message": words, "id": id})
        words = "No request of this id is under way; it may have ended meanwhile."
        raise Problem(404, words, "request_not_found")

    async def _drain(self, request: web.Request) -> web.Response:
        name = self._host(request.match_info["name"])
        is_draining = request.path.endswith("/drain")
        shape = _Drain if is_draining else _Strict
        asked = await _parsed(request, shape)
        left_s = asked.lasting if isinstance(asked, _Drain) else None
        drain = Drain(name, is_draining, left_s)
        reason = await self._built.fleet.host(name).drained(drain)
        status, words = "resumed", f"{name} takes new requests again."
        if is_draining:
            end = "" if left_s is None else f", at the latest in {seconds_text(left_s)}"
            words = f"{name} takes no new requests; those running end, until it is resumed{end}."
            status = "draining"
        words += unstored_text(drain, reason)
        told: Object = {"status": status, "message": words, "host": name, "seconds": left_s}
        told["stored"] = not reason
        return web.json_response(told)

    async def _activate(self, request: web.Request) -> web.Response:
        asked = await _parsed(request, _Activate)
        key = self._model(asked.model_key, must_chat=True)
        await self._active.choose(key, asked.default_inference)
        is_loaded = self._active.is_loaded(key)
        words = f"{key} answers requests that name no model"
        words += "." if is_loaded else "; it is loaded with the first of them."
        return web.json_response(
            {
                "status": "activated",
                "message": words,
                "modelKey": key,
                "loaded": is_loaded,
                "defaultInference": asked.default_inference.told(),
            }
        )

    async def _load(self, request: web.Request) -> web.Response:
        asked = await _parsed(request, _Load)
        key = self._model(asked.model_key, must_chat=asked.activate)
        only = None if asked.host is None else self._holder(asked.host, key)
        config = asked.load_config
        # Of `gpu.layers` no host knows anything.
        settings = LoadSettings(**config.model_dump(exclude={"gpu"}), gpu=config.gpu.ratio)
        began = asyncio.get_running_loop().time()
        evicted: list[str] = []
        ready: Readiness | None = None
        try:
            async with self._built.acts.load(only, key, settings) as steps:
                async for step in steps:
                    if isinstance(step, Evicting):
                        evicted = [*dict.fromkeys([*evicted, *map(str, step.evicted)])]
                    elif isinstance(step, Readiness):
                        ready = step
        except NoCandidates as failed:
            problem = problem_of(failed)
            is_drained = self._only_drained(key, only)
            if is_drained or FailureKind.BUSY not in failed.kinds:
                # Official clients repeat a 503: it would be one more load that fails, or one more
                # refusal of a host that is drained for hours.
                code = "no_host" if is_drained else "model_load_failed"
                problem = Problem(503, problem.message, code, "server_error", None, NEVER_AGAIN)
            raise problem from failed
        assert ready is not None, "a load that ends says how"
        lacks_place = False
        if asked.activate:
            await self._active.choose(key, asked.default_inference)
        elif "default_inference" in asked.model_fields_set:
            lacks_place = not await self._active.refill(key, asked.default_inference)
        is_new = ready.waited_s is not None
        assert ready.by is not None
        assert ready.by.host is not None
        assert ready.instance is not None
        host = self._built.fleet.snapshot().hosts[ready.by.host]
        told = await self._built.fleet.host(host.name).reader.load_config(ready.instance)
        applied, ignored = _applied(host, ready.instance, config, settings, told, is_new=is_new)
        if lacks_place:
            ignored.append("defaultInference")
        seconds = asyncio.get_running_loop().time() - began
        words = f"{key} is in memory on {host.name}" + ("." if is_new else " already.")
        words += _missed_words(applied, ignored, config.context_length)
        return web.json_response(
            {
                "status": "loaded" if is_new else "already_loaded",
                "message": words,
                "modelKey": key,
                "host": host.name,
                "instanceId": ready.instance.identifier,
                "seconds": round(seconds, 3),
                "evicted": evicted,
                "loadConfig": _as_asked(applied),
                "ignored": ignored,
                "active": self._active.key == key,
            }
        )

    async def _unload(self, request: web.Request) -> web.Response:
        asked = await _parsed(request, _Unload)
        key = self._model(asked.model_key)
        only = None if asked.host is None else self._host(asked.host)
        before = self._holding(key, only)
        was_active = only is None and asked.instance_id is None and self._active.key == key
        on_its_way = [
            host.name
            for host in self._built.fleet.snapshot().hosts.values()
            if only in (None, host.name) and host.load is not None and host.load.model_key == key
        ]
        if on_its_way and not before and not was_active:
            # "In memory nowhere" was no answer beside a load that then ran on.
            words = (
                f"`{key}` is still being loaded on {', '.join(on_its_way)}. Cancel what waits for "
                "it, or unload it once it is in memory."
            )
            raise Problem(409, words, "model_loading")
        if not before and not was_active:
            # Loaded since the newest look, by others or by a command that sends its asker here.
            await self._built.fleet.probe_all()
            before = self._holding(key, only)
        words, hosts = f"{key} was in memory nowhere.", list[HostName]()
        if before:
            try:
                what = asked.instance_id or key
                done = await self._built.acts.unload(only, what, even_foreign=asked.foreign)
                words, hosts = done.said, list(dict.fromkeys(name for name, _ in done.left))
            except UnknownName:
                before = []  # It left by itself since it was listed.
            except ForeignInstance as kept:
                words = f"{kept.user_message} Send `foreign` true to unload it all the same."
                raise Problem(409, words, "foreign_instance") from kept
            except NotPermitted as busy:
                raise Problem(409, busy.user_message, "model_busy") from busy
        if not before and not was_active:
            words = f"`{key}` is not in memory" + (f" on {only}." if only else " anywhere.")
            holders = self._built.fleet.snapshot().holders(key)
            away = [h.name for h in holders if h.state in AWAY and only in (None, h.name)]
            if away:
                words = f"`{key}` is in memory nowhere that is known: no answer from "
                words += f"{', '.join(away)}, which may still hold it."
            raise Problem(404, words, "model_not_loaded", param="modelKey")
        if was_active:
            await self._active.choose(None, DefaultInference())
            words += " It is not the active model any more."
        told: Object = {"status": "unloaded", "message": words, "modelKey": key, "hosts": hosts}
        return web.json_response(told)

    # --- whom a name means ------------------------------------------------------------------

    def _model(self, name: str, *, must_chat: bool = False) -> ModelKey:
        """A model of this very name; a program that nearly says one is told so.

        Raises:
            NoCandidates: no host answers, so nothing is known of models.
            Problem: no host has it, or it is to answer chats and cannot.
        """
        known = self._built.catalog.all_model_keys()
        if not known:
            self._built.catalog.any_model(name)
        if name not in known:
            near = nearest(name, tuple(known))
            told = UnknownName("model", name, near, listed="GET /admin/models").user_message
            raise Problem(404, told, "model_not_found", param="modelKey")
        try:
            return self._built.catalog.model(name) if must_chat else ModelKey(name)
        except RequestRefused as wrong:
            raise Problem(422, wrong.user_message, param="modelKey") from wrong

    def _host(self, name: str) -> HostName:
        names = list(self._built.fleet.snapshot().hosts)
        if name not in names:
            told = UnknownName("host", name, nearest(name, names), names).user_message
            raise Problem(404, told, "host_not_found", param="host")
        return HostName(name)

    def _holder(self, name: str, key: ModelKey) -> HostName:
        """A host that has a model on its disk, or may have."""
        try:
            return self._built.catalog.holder(self._host(name), key)
        except RequestRefused as wrong:
            raise Problem(404, wrong.user_message, "model_not_found", param="host") from wrong

    def _only_drained(self, key: ModelKey, only: HostName | None) -> bool:
        """Is every host that could load a model, and is there, drained?"""
        holders = self._built.fleet.snapshot().holders(key)
        there = {h.state for h in holders if only in (None, h.name) and h.state not in AWAY}
        return there == {"draining"}

    def _holding(self, key: ModelKey, only: HostName | None) -> list[HostName]:
        """The hosts with a model in memory."""
        return [
            host.name
            for host in self._built.fleet.snapshot().hosts.values()
            if only in (None, host.name) and host.has_loaded(key)
        ]


def _applied(
    host: HostSnapshot,
    made: Instance,
    config: _LoadConfig,
    settings: LoadSettings,
    told: Mapping[str, LoadValue],
    *,
    is_new: bool,
) -> tuple[Object, list[str]]:
    """What of a load's wishes holds, by the host's own word, and the names of those that do not."""
    wished: Object = config.model_dump(exclude={"gpu"}, exclude_none=True, by_alias=True)
    gpu = config.gpu.model_dump(exclude_none=True)
    wished |= {f"gpu.{name}": value for name, value in gpu.items()}
    missed = not_applied(settings, made.kind, host.interface or "SDK socket")
    ignored = {"gpu.ratio" if name == "gpu" else to_camel(name) for name in missed} | {"gpu.layers"}
    if not is_new:
        # Somebody may have loaded it otherwise; of what the host does not tell nobody knows.
        same = {name for name, value in wished.items() if told.get(name) == value}
        ignored |= set(wished) - same - {"contextLength"}
    applied: Object = {name: wished[name] for name in wished if name not in ignored}
    applied |= {name: value for name, value in told.items() if name in wished}
    if made.context_length is not None:
        applied["contextLength"] = made.context_length
        # Neither the model's own end nor a host that gives less is passed over in silence.
        if made.context_length < (config.context_length or 0):
            ignored.add("contextLength")
    return applied, [name for name in wished if name in ignored]


def _as_asked(applied: Object) -> Object:
    """What a load holds in the shape of a body: what is told can be sent again."""
    told: Object = {name: value for name, value in applied.items() if "." not in name}
    gpu = {name.removeprefix("gpu."): value for name, value in applied.items() if "." in name}
    return told | ({"gpu": gpu} if gpu else {})


def _missed_words(applied: Object, ignored: list[str], wanted_context: int | None) -> str:
    """What of a load's wishes does not hold, as its message goes on; empty where all do."""
    words = f" Not applied: {', '.join(ignored)}." if ignored else ""
    if "contextLength" in ignored:
        given = applied["contextLength"]
        words += f" Its context is {given:,} tokens, the most there is, "
        words += f"of {wanted_context:,} asked for."
    return words


def _named(place: Sequence[int | str], fields: object) -> list[str]:
    """Where a fault is in a body as its client wrote it, but for one that is missing."""
    path: list[str] = []
    for part in place:
        # Behind a value stand the shapes it was held against: `gpu.ratio.constrained-float`.
        if not isinstance(fields, (dict, list)):
            break
        path.append(str(part))
        within = cast(dict[int | str, object], fields) if isinstance(fields, dict) else {}
        fields = within.get(part)
    return path


async def _parsed(request: web.Request, shape: type[_Shape]) -> _Shape:
    """The body of an act.

    Raises:
        Problem: it is no JSON object (400); a field is unknown, missing or out of its range (422).
    """
    body = await read_body(request)
    # Nothing at all is nothing said: `curl -X POST` of an act that needs no word.
    fields = read_object(body or b"{}")
    try:
        return shape.model_validate(fields)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        path = ".".join(_named(first["loc"], fields))
        # Its own words alone: pydantic puts "Value error," before those of a validator of ours.
        said = first.get("ctx", {}).get("error", first["msg"])
        raise Problem(422, f"`{path}`: {said}.", "invalid_value", param=path) from wrong
