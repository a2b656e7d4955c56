from hypothesis import given
from hypothesis import strategies as st

from bot.sim.answers import Answer, Message
from bot.sim.providers.asking import Ask, Thinks
from bot.sim.providers.caching import PromptCache
from bot.sim.providers.config import SimProviderModel, Thinking
from bot.sim.providers.faults import Fault, FaultName
from bot.sim.providers.frames import Break, Frame, with_breaks
from bot.sim.providers.replying import Reply, compose

WORDS = st.lists(st.sampled_from(["a", " b", " stop", " c"]), max_size=12).map(tuple)
THINKING: st.SearchStrategy[Thinking] = st.sampled_from(["never", "switch", "always"])
THINKS: st.SearchStrategy[Thinks] = st.sampled_from(["auto", "less", "off"])
HELLO = (Message("user", "hello"),)


def reply(ask: Ask, answer: Answer, faults: dict[FaultName, Fault] | None = None) -> Reply:
    return compose(
        ask,
        answer,
        faults or {},
        reply_id="r",
        created=0,
        prompt_tokens=ask.prompt_tokens,
        cached_tokens=0,
    )


@given(WORDS, WORDS, THINKING, THINKS, st.one_of(st.none(), st.integers(1, 30)))
def test_a_reply_keeps_its_limit_and_begins_as_the_answer_does(
    thought: tuple[str, ...],
    said: tuple[str, ...],
    thinking: Thinking,
    thinks: Thinks,
    max_tokens: int | None,
) -> None:
    model = SimProviderModel("m", thinking=thinking, max_output=20)
    ask = Ask(model, HELLO, max_tokens=max_tokens, stop=(" stop",), thinks=thinks)
    made = reply(ask, Answer(said, thought))
    assert made.usage.completion <= min(max_tokens or 20, 20)
    whole = "".join(said)
    assert whole.startswith("".join(made.content))
    assert " stop" not in "".join(made.content)
    assert made.usage.completion == len(made.reasoning) + len(made.content)
    assert not made.reasoning or (thinking != "never" and thinks != "off")
    assert (made.finish == "stop_sequence") == (made.stopped_by is not None)


def test_the_window_ends_an_answer_that_its_limit_would_not() -> None:
    ask = Ask(SimProviderModel("m", window=0), HELLO, max_tokens=10)
    tight = Ask(SimProviderModel("m", window=ask.prompt_tokens + 2), HELLO, max_tokens=10)
    made = reply(tight, Answer(("a", " b", " c")))
    assert (made.content, made.finish) == (("a", " b"), "window")


@given(WORDS, st.integers(0, 12))
def test_a_cut_lets_exactly_so_many_words_out(said: tuple[str, ...], after: int) -> None:
    frames = [*(Frame(word, "text") for word in said), Frame("end", "finish"), Frame("[DONE]")]
    fault = Fault("cut", after_tokens=after)
    steps = list(with_breaks(frames, {"cut": fault}))
    at = steps.index(Break(fault))
    assert at == min(after, len(said))
    assert [step for step in steps if isinstance(step, Frame)] == frames


def test_half_a_character_goes_out_escaped() -> None:
    assert Frame({"text": "\ud83d"}).encode() == b'data: {"text": "\\ud83d"}\n\n'
    assert Frame({"text": "é"}).encode() == 'data: {"text": "é"}\n\n'.encode()


def test_a_cache_forgets_the_oldest_and_tells_models_apart() -> None:
    cache = PromptCache(1, remembered=4)
    long = (Message("user", "word " * 20), Message("user", "and?"))
    assert cache.read("m", long) == 0
    assert cache.read("other", long) == 0
    assert cache.read("m", long) > 0
    assert cache.read("third", long) == 0
    assert cache.read("m", long) == 0
    assert PromptCache(None).read("m", long) == 0
