"""Accepting predictions on one simulated host."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace

from bot.sim.answers import Asked
from bot.sim.errors import BadRequest, PromptTooLong
from bot.sim.journal import Journal, PredictionEnded, PredictionStarted
from bot.sim.models import SimHostConfig
from bot.sim.pace import Pace
from bot.sim.predicting import Prediction, PredictionOrder
from bot.sim.prompts import begun, count_tokens, rest_of, script
from bot.sim.tasks import Spawn


class Predictor:
    """Turns orders into predictions and writes them into the journal."""

    def __init__(
        self, config: SimHostConfig, pace: Pace, journal: Journal, on_idle: Callable[[], None]
    ) -> None:
        self._config = config
        self._pace = pace
        self._journal = journal
        self._on_idle = on_idle
        self._numbers = itertools.count(1)

    def open(self, order: PredictionOrder, spawn: Spawn) -> Prediction:
        """Accept a prediction.

        Raises:
            PromptTooLong: the prompt does not fit the context.
            BadRequest: the model's template takes no begun answer.
        """
        said, prefill = begun(order.messages), order.instance.model.prefill
        if said and prefill == "refused":
            raise BadRequest("Assistant response prefill is incompatible with enable_thinking.")
        prompt_tokens = count_tokens(order.messages)
        context_length = order.instance.context_length
        if prompt_tokens >= context_length:
            raise PromptTooLong(prompt_tokens, context_length)
        asked = Asked(order.instance.model.key, self._config.name, order.messages)
        answer = order.demand.met(self._config.answer(asked))
        if said:
            answer = rest_of(answer, said, is_echoed=prefill == "echoed")
            if prefill == "thought":
                answer = replace(answer, content=(), reasoning=answer.content)
        plan = script(
            answer,
            max_tokens=order.max_tokens,
            stop=order.stop,
            room=context_length - prompt_tokens,
        )
        number = next(self._numbers)
        self._write_start(number, order, prompt_tokens)

        def on_end(record: PredictionEnded) -> None:
            order.instance.idle_since_s = self._pace.clock.now()
            self._journal.write(record)
            self._on_idle()

        return Prediction(number, order, plan, prompt_tokens, self._pace, spawn, on_end)

    def _write_start(self, number: int, order: PredictionOrder, prompt_tokens: int) -> None:
        self._journal.write(
            PredictionStarted(
                at=asyncio.get_running_loop().time(),
                number=number,
                key=order.instance.model.key,
                identifier=order.instance.identifier,
                asked_model=order.asked_model,
                via=order.via,
                prompt_tokens=prompt_tokens,
                messages=order.messages,
                sampling=order.sampling,
            )
        )
