"""The channels of the SDK's WebSocket: loads with progress and predictions."""

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from bot.sim.engine import Engine
from bot.sim.errors import ConnectionCut, SilentEnd
from bot.sim.loading import Load
from bot.sim.memory import Instance, LoadOrder
from bot.sim.predicting import Prediction, PredictionOrder
from bot.sim.prompts import Token
from bot.sim.wire_calls import find_instance
from bot.sim.wire_json import (
    JsonObject,
    as_list,
    as_object,
    checked,
    config_fields,
    fields_list,
    int_of,
    socket_message,
    text_of,
    words_of,
)
from bot.sim.wire_shapes import load_fields, socket_instance, socket_model

Send = Callable[[JsonObject], Awaitable[None]]
Outcome = Literal["closed", "cut"]


class Channel(Protocol):
    """One channel: runs once, may receive messages meanwhile."""

    async def run(self) -> Outcome:
        """Do the work; "cut" wants the connection broken."""
        ...

    def receive(self, message: JsonObject) -> None:
        """Take a message of the client."""
        ...


class LoadChannel:
    """`loadModel`: always one more instance. The load outlives the client."""

    def __init__(self, engine: Engine, namespace: str, parameter: JsonObject, send: Send) -> None:
        self._engine = engine
        self._embedding = namespace == "embedding"
        self._parameter = parameter
        self._send = send
        self._load: Load | None = None
        self._is_cancelled = False

    async def run(self) -> Outcome:
        """Load and report progress."""
        engine, parameter = self._engine, self._parameter
        model = engine.on_disk(text_of(parameter, "modelKey") or "")
        await self._send({"type": "resolved", "info": socket_model(model)})
        load = engine.load(
            LoadOrder(
                model,
                identifier=text_of(parameter, "identifier"),
                fields=config_fields(parameter.get("loadConfigStack")),
                ttl_s=_seconds(int_of(parameter, "ttlMs")),
            )
        )
        return await self._follow(load, "progress", "success")

    def receive(self, message: JsonObject) -> None:
        """Honour a cancel message."""
        if message.get("type") == "cancel":
            # It may come in the same packet as the command, before anything is begun.
            self._is_cancelled = True
            if self._load is not None:
                self._load.cancelled.set()

    async def _follow(self, load: Load, progress: str, success: str) -> Outcome:
        self._load = load
        if self._is_cancelled:
            load.cancelled.set()
        drop = self._engine.faults.take("drop_mid_load")
        async for fraction in load.progress.follow():
            await self._send({"type": progress, "progress": fraction})
            if drop is not None and fraction >= drop.number:
                return "cut"
        instance = await load.instance()
        await self._send({"type": success, "info": _info(self._engine, instance)})
        return "closed"


class GetOrLoadChannel(LoadChannel):
    """`getOrLoad`: any fitting instance, else a load that counts as just-in-time."""

    async def run(self) -> Outcome:
        """Find or load."""
        engine, parameter = self._engine, self._parameter
        name = text_of(parameter, "identifier") or ""
        found = engine.memory.find(name, embedding=self._embedding)
        if found is not None:
            await self._send({"type": "alreadyLoaded", "info": _info(engine, found)})
            return "closed"
        model = engine.on_disk(name)
        for other in engine.evict_for_jit():
            await self._send({"type": "unloadingOtherJITModel", "info": _info(engine, other)})
        load = engine.load(
            LoadOrder(
                model,
                fields=config_fields(parameter.get("loadConfigStack")),
                ttl_s=_seconds(int_of(parameter, "loadTtlMs")),
                is_jit=True,
            )
        )
        identifier = load.reserved.identifier
        info = socket_model(model)
        await self._send({"type": "startLoading", "identifier": identifier, "info": info})
        return await self._follow(load, "loadProgress", "loadSuccess")


class PredictChannel:
    """`predict`: prompt progress, fragments with their reasoning type, then the statistics."""

    def __init__(self, engine: Engine, namespace: str, parameter: JsonObject, send: Send) -> None:
        self._engine = engine
        self._embedding = namespace == "embedding"
        self._parameter = parameter
        self._send = send
        self._prediction: Prediction | None = None

    async def run(self) -> Outcome:
        """Predict."""
        instance = find_instance(
            self._engine, self._parameter.get("modelSpecifier"), embedding=self._embedding
        )
        fields = config_fields(self._parameter.get("predictionConfigStack"))
        prediction = self._engine.predict(self._order(instance, fields))
        self._prediction = prediction
        try:
            async with prediction:
                async for fraction in prediction.prefill():
                    await self._send({"type": "promptProcessingProgress", "progress": fraction})
                async for token in prediction.tokens():
                    await self._send({"type": "fragment", "fragment": _fragment(token)})
        except ConnectionCut:
            return "cut"
        except SilentEnd:
            return "closed"
        await self._send(_success(self._engine, prediction, fields))
        return "closed"

    def receive(self, message: JsonObject) -> None:
        """Honour a cancel message."""
        if message.get("type") == "cancel" and self._prediction is not None:
            self._prediction.cancel()

    def _order(self, instance: Instance, fields: JsonObject) -> PredictionOrder:
        history = as_object(self._parameter.get("history"))
        max_tokens = checked(fields, "llm.prediction.maxPredictedTokens")
        return PredictionOrder(
            instance=instance,
            asked_model=_asked(self._parameter) or instance.identifier,
            messages=tuple(socket_message(raw) for raw in as_list(history.get("messages"))),
            via="socket",
            max_tokens=max_tokens if type(max_tokens) is int else None,
            stop=words_of(fields.get("llm.prediction.stopStrings")),
            sampling=fields,
        )


ChannelFactory = Callable[[Engine, str, JsonObject, Send], Channel]

CHANNELS: dict[tuple[str, str], ChannelFactory] = {
    ("llm", "loadModel"): LoadChannel,
    ("llm", "getOrLoad"): GetOrLoadChannel,
    ("llm", "predict"): PredictChannel,
    ("embedding", "loadModel"): LoadChannel,
    ("embedding", "getOrLoad"): GetOrLoadChannel,
}


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _info(engine: Engine, instance: Instance) -> JsonObject:
    return socket_instance(instance, engine.wall_ms(instance.idle_since_s))


def _asked(parameter: JsonObject) -> str | None:
    specifier = as_object(parameter.get("modelSpecifier"))
    return text_of(as_object(specifier.get("query")), "identifier")


def _fragment(token: Token) -> JsonObject:
    return {
        "content": token.text,
        "tokensCount": 1,
        "containsDrafted": False,
        "reasoningType": token.kind,
    }


def _success(engine: Engine, prediction: Prediction, fields: JsonObject) -> JsonObject:
    instance = prediction.order.instance
    seconds = max(prediction.seconds - prediction.first_token_s, 1e-9)
    stats: JsonObject = {
        "stopReason": "userStopped" if prediction.is_cancelled else prediction.stop_reason,
        "tokensPerSecond": prediction.sent / seconds,
        "timeToFirstTokenSec": prediction.first_token_s,
        "promptTokensCount": prediction.prompt_tokens,
        "predictedTokensCount": prediction.sent,
        "totalTokensCount": prediction.prompt_tokens + prediction.sent,
    }
    return {
        "type": "success",
        "stats": stats,
        "modelInfo": _info(engine, instance) | {"identifier": prediction.reply_model},
        "loadModelConfig": fields_list(load_fields(instance)),
        "predictionConfig": fields_list(fields),
    }
