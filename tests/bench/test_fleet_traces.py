"""Traces are made up: the same each time, and of the load they say."""

from statistics import fmean

import pytest

from bench.fleet.trace import CONTEXT, FULL, LOADS, SIZES, LoadName, SizeName, Trace, make


@pytest.fixture(scope="module")
def traces() -> dict[tuple[SizeName, LoadName], Trace]:
    return {(size, load): make(size, load) for size in SIZES for load in LOADS}


Traces = dict[tuple[SizeName, LoadName], Trace]


@pytest.mark.slow
def test_the_same_arguments_make_the_same_trace(traces: Traces) -> None:
    assert make("small", "busy") == traces["small", "busy"]
    assert make("small", "busy", 2) != traces["small", "busy"]


def test_one_fleet_is_asked_more_under_more_load(traces: Traces) -> None:
    for size in SIZES:
        light, busy, heavy = (traces[size, load] for load in LOADS)
        assert light.hosts == busy.hosts == heavy.hosts
        assert light.outages == busy.outages == heavy.outages
        assert len(light.chats) < len(busy.chats) / 1.5 < len(heavy.chats) / 2.5


def test_every_model_can_be_held_by_a_host_that_has_it(traces: Traces) -> None:
    for trace in traces.values():
        for key, model in trace.models.items():
            able = trace.able(key)
            assert able
            assert all(model.bytes_at(CONTEXT) <= host.memory_bytes for host in able)
        assert all(host.models for host in trace.hosts)
        assert sum(trace.shares.values()) == pytest.approx(1.0)


def test_transcripts_grow_by_what_was_said_and_never_past_the_window(traces: Traces) -> None:
    for trace in traces.values():
        assert [chat.number for chat in trace.chats] == list(range(len(trace.chats)))
        for chat in trace.chats:
            said = trace.prompts[chat.model]
            for place, asked in enumerate(chat.asked):
                assert asked.prompt == said + asked.words
                assert asked.prompt + 1024 <= FULL
                assert (asked.pause_s == 0.0) == (place == 0)
                said = asked.prompt + asked.answer


def test_the_load_is_about_what_its_name_says(traces: Traces) -> None:
    for (_, load), trace in traces.items():
        work_s = 0.0
        for chat in trace.chats:
            model, able, read = trace.models[chat.model], trace.able(chat.model), 0
            for asked in chat.asked:
                work_s += fmean(
                    host.read_s(model, asked.prompt - read) + asked.answer * host.write_s(model)
                    for host in able
                )
                read = asked.prompt + asked.answer
        span_s = trace.chats[-1].starts_at
        # Favourites, drift and crowds move it.
        assert work_s / span_s / len(trace.hosts) == pytest.approx(LOADS[load], rel=0.45)
