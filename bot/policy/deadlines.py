"""How long a host may say nothing before it counts as hung: loading, reading, answering. Pure.

One limit of a quarter of an hour for all let a host that had hung hold a question of 30 tokens that
another could have answered at once. Too short a limit is worse: it breaks off honest work, since
reading a long prompt on a small machine is silent for minutes.
"""

from bot.domain.hosts import Speed

LEAST_ALONE_S = 90.0
"""For the first word, whatever the prompt, where no other host could begin sooner."""
LEAST_BESIDE_S = 20.0
"""The same where another host could."""
LEAST_DEAF_S = 10.0
"""The same where this one tells nothing about itself either."""
DOUBT_S = 5.0
"""Beyond the plain time of reading: by then a host is asked whether it is there."""
DEAF_S = 5.0
"""So long without an answer to that it is deaf, where a probe is not given longer."""
AGAIN_S = 5.0
"""After it told of itself, so long until it is asked again: it may hang later as well."""
MOST_FIRST_S = 900.0
READ_FACTOR = 5.0
"""Times the measured time: what lies in memory may have to be read from the disk again first."""
SLOWEST_TOKENS_PER_S = 25.0
"""Reading, assumed until measured: a large model without a GPU."""
FASTEST_TOKENS_PER_S = 250.0
"""A host seldom tells what it knew of a prompt: faster measurements may have read nothing."""
LEAST_GAP_S, MOST_GAP_S = 20.0, 300.0
SHARED_GAP_S = 60.0
"""In the middle of an answer where others run beside: reading their prompts stops it for long."""
GAPS = 40.0
"""So many usual gaps between two tokens in a row are a stall."""
SLOWEST_ANSWER_PER_S = 4.0
"""Generating, assumed until measured."""
UNSAID_FACTOR = 3.0
"""Times the measured time for an answer that is sent as a whole."""
MOST_UNSAID_S = 3600.0
LEAST_PAUSE_S = 30.0
"""Of a load that was getting on."""
WORDLESS_S = 180.0
"""Of a load without any word: some tell nothing before they are done."""
LOAD_FACTOR = 2.0


def doubt_s(prompt_tokens: int, speed: Speed, beside: int) -> float:
    """Silence after a request that is longer than reading takes; arguments as for the limit."""
    # It costs only a question at the host: one that was never measured and hung with 9,000 tokens
    # was not asked whether it is there for six minutes.
    return DOUBT_S + _reading_s(prompt_tokens, speed, beside, FASTEST_TOKENS_PER_S)


def first_word_s(
    prompt_tokens: int, speed: Speed, beside: int, other_s: float, *, is_deaf: bool
) -> float:
    """Longest silence between a request and its first word.

    Args:
        prompt_tokens: What is to be read.
        speed: Measured with this model on this host.
        beside: Other turns running there, which may be read first.
        other_s: In how many seconds another host could begin to answer; infinity for never.
        is_deaf: In that silence it was asked whether it is there, and did not answer.
    """
    # Who reads a long prompt may have no time to answer: it is cut for that only by who can go.
    is_deaf = is_deaf and is_soon(other_s)
    is_plain = speed.prefill_tokens_per_s is None or is_deaf
    factor = 1.0 if is_plain else READ_FACTOR
    least_s = min(LEAST_ALONE_S, max(LEAST_DEAF_S if is_deaf else LEAST_BESIDE_S, other_s))
    assumed = FASTEST_TOKENS_PER_S if is_deaf else SLOWEST_TOKENS_PER_S
    return min(MOST_FIRST_S, least_s + factor * _reading_s(prompt_tokens, speed, beside, assumed))


def is_soon(other_s: float) -> bool:
    """Is a host in doubt left the sooner for one that could begin to answer in so many seconds?"""
    return other_s < LEAST_ALONE_S


def is_deaf(asked_s: float, probe_timeout_s: float) -> bool:
    """Should a host have told whether it is there by now?

    Args:
        asked_s: How long ago it was asked.
        probe_timeout_s: How long its owner lets a probe take.
    """
    return asked_s >= max(DEAF_S, probe_timeout_s)


def _reading_s(prompt_tokens: int, speed: Speed, beside: int, assumed: float) -> float:
    per_s = min(speed.prefill_tokens_per_s or assumed, FASTEST_TOKENS_PER_S)
    return prompt_tokens * (1 + beside) / per_s


def gap_s(speed: Speed, beside: int) -> float:
    """Longest silence in the middle of an answer, from the host's own usual gaps."""
    if speed.tokens_per_s is None:
        return SHARED_GAP_S
    least_s = SHARED_GAP_S if beside else LEAST_GAP_S
    return min(MOST_GAP_S, max(least_s, GAPS / speed.tokens_per_s))


def unsaid_s(tokens: int, speed: Speed, beside: int) -> float:
    """Longest an answer that is sent as a whole may take, beyond its first word.

    Args:
        tokens: The most it may have.
        speed: Measured with this model on this host.
        beside: Other turns running there, each of which slows it.
    """
    per_s = speed.tokens_per_s or SLOWEST_ANSWER_PER_S
    return min(MOST_UNSAID_S, UNSAID_FACTOR * tokens * (1 + beside) / per_s)


def load_pause_s(fraction: float, expected_s: float | None, silent_s: float = 0.0) -> float:
    """Longest a load may stand still before whoever may go elsewhere does; it goes on meanwhile.

    Args:
        fraction: How far it is; of one at 0 its whole time counts, since it may never tell more.
        expected_s: How long it usually takes there, when measured.
        silent_s: How long the host has told nothing of itself either, though it was asked.
    """
    # Nothing there gets on: beside a provider all waited a minute, until the connection broke.
    if silent_s >= LEAST_DEAF_S:
        return LEAST_DEAF_S
    if fraction <= 0.0:
        return max(WORDLESS_S, LOAD_FACTOR * (expected_s or 0.0))
    return max(LEAST_PAUSE_S, expected_s or 0.0)
