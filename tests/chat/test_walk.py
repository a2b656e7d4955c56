"""The walk over candidates, and what warming and loading by hand say at its end."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from house import ADA, GEMMA, PLACE, QWEN, House, cloud, house, sim

from bot.chat.override import Override
from bot.chat.walk import HOST_AT_FAULT, LoadSteps, Readiness, walk
from bot.domain.chat import Candidate
from bot.domain.errors import FailureKind, NoCandidates, RequestRefused, Unavailable
from bot.domain.events import Offered
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName, TurnId
from bot.fleet.lease import Elsewhere, Silent
from bot.policy.access import Rights
from bot.sim.models import GB, SimModel

A, B = Candidate(ModelKey("m"), HostName("a")), Candidate(ModelKey("m"), HostName("b"))
A_OTHER = Candidate(ModelKey("other"), HostName("a"))
ZAI = Candidate(ModelKey("glm"), provider=ProviderName("zai"))
OPENAI = Candidate(ModelKey("gpt"), provider=ProviderName("openai"))
BUSY, CUT, SERVER = FailureKind.BUSY, FailureKind.CUT, FailureKind.SERVER


class Walk:
    """One walk over candidates of which each answers as told, then serves."""

    def __init__(
        self,
        *candidates: Candidate,
        max_wait_s: float | None = 9.0,
        **fails: Sequence[FailureKind | Candidate | Unavailable],
    ) -> None:
        """Of each by name why it fails in turn, or who is sooner by then."""
        self.max_wait_s = max_wait_s
        self.candidates = candidates
        self.fails = {where: list(kinds) for where, kinds in fails.items()}
        self.asked: list[tuple[str, float | None, bool]] = []
        self.told: list[tuple[str, FailureKind]] = []
        self.broken: list[list[HostName]] = []
        """Of each asked, who had broken by then."""
        self.override = Override()
        self.latecomers: list[Sequence[Candidate]] = []
        self.looked_after: list[int] = []
        """How many were asked before hosts that nobody looked at were waited for."""
        self.is_cloud_chosen = False
        """By the asker, as soon as anybody failed."""
        self.chosen: ProviderName | None = None
        """By the asker, before."""

    async def serve(
        self,
        candidate: Candidate,
        max_wait_s: float | None,
        is_last: bool,
        broken: Collection[HostName],
    ) -> None:
        self.broken.append(sorted(broken))
        self.asked.append((candidate.where, max_wait_s, is_last))
        kinds = self.fails.get(candidate.where, [])
        if kinds:
            why = kinds.pop(0)
            if isinstance(why, Unavailable):
                raise why
            raise Elsewhere(why) if isinstance(why, Candidate) else Unavailable("no", why)

    async def on_failure(self, candidate: Candidate, error: Unavailable) -> None:
        self.told.append((candidate.where, error.kind))
        if self.is_cloud_chosen:
            self.override.choose("cloud")

    async def late(self) -> Sequence[Candidate]:
        self.looked_after.append(len(self.asked))
        return self.latecomers.pop(0) if self.latecomers else ()

    async def play(self, *repeated: Candidate) -> Candidate | None:
        return await walk(
            self.candidates,
            self.serve,
            self.on_failure,
            override=self.override,
            max_wait_s=self.max_wait_s,
            comes_again={candidate.provider for candidate in repeated}.__contains__,
            newcomers=self.late,
            patient_with=self.chosen,
        )

    @property
    def order(self) -> list[str]:
        return [where for where, _, _ in self.asked]


C = Candidate(ModelKey("m"), HostName("c"))


@pytest.mark.parametrize("kind", [CUT, BUSY, FailureKind.LOAD_FAILED])
async def test_after_a_host_no_provider_is_paid_before_hosts_that_were_never_looked_at(
    kind: FailureKind,
) -> None:
    play = Walk(A, ZAI, a=[kind, kind], b=[CUT], c=[CUT])
    play.latecomers = [(B,), (C,)]
    assert await play.play() is ZAI
    # Also where one that was waited for broke.
    assert play.order[:4] == ["a", "b", "c", "zai"]
    # Until nobody more is seen: then it is not waited for at each provider.
    play = Walk(A, ZAI, OPENAI, a=[CUT], zai=[SERVER])
    assert await play.play() is OPENAI
    assert (play.order, play.looked_after) == (["a", "zai", "openai"], [1])


async def test_where_no_host_failed_or_the_asker_chose_nobody_is_waited_for() -> None:
    play = Walk(ZAI, OPENAI, A, zai=[SERVER])
    assert (await play.play(), play.looked_after) == (OPENAI, [])
    play = Walk(A, B, ZAI, a=[CUT])
    assert (await play.play(), play.looked_after) == (B, [])
    play = Walk(A, ZAI, a=[CUT])
    play.override.offer = Offered(TurnId("t"), here=A, warm=None, cloud=ZAI)
    play.is_cloud_chosen = True
    assert (await play.play(), play.looked_after) == (ZAI, [])


async def test_the_provider_that_was_chosen_is_waited_for_though_a_host_could_serve() -> None:
    play = Walk(ZAI, OPENAI, A)
    play.chosen = ZAI.provider
    assert (await play.play(), play.asked) == (ZAI, [("zai", None, False)])
    play = Walk(ZAI, OPENAI, A, zai=[SERVER])
    play.chosen = ZAI.provider
    assert await play.play() is OPENAI
    assert play.asked[-1] == ("openai", 9.0, False)


async def test_the_first_that_serves_ends_the_walk() -> None:
    play = Walk(A, B, ZAI, a=[FailureKind.LOAD_FAILED])
    assert await play.play() is B
    assert play.asked == [("a", 9.0, False), ("b", 9.0, False)]
    assert play.told == [("a", FailureKind.LOAD_FAILED)]


async def test_whoever_serves_is_told_which_hosts_broke_before() -> None:
    play = Walk(A, B, C, ZAI, a=[CUT], b=[FailureKind.DOES_NOT_FIT], c=[CUT])
    assert await play.play() is ZAI
    assert play.broken == [[], ["a"], ["a", "b"], ["a", "c"]]


async def test_the_last_one_is_waited_for_without_a_limit_and_knows_it() -> None:
    play = Walk(A, ZAI, a=[CUT], zai=[FailureKind.SERVER])
    assert await play.play() is None
    assert play.asked == [("a", 9.0, False), ("zai", None, True)]


async def test_everybody_is_asked_once_before_a_provider_is_asked_again() -> None:
    play = Walk(ZAI, OPENAI, A, zai=[SERVER, SERVER], openai=[SERVER, SERVER], a=[CUT])
    assert await play.play(OPENAI) is None
    assert play.asked == [
        ("zai", 9.0, False),
        ("openai", 9.0, False),
        ("a", None, True),
        ("openai", None, True),
    ]


async def test_a_provider_asked_again_may_serve_and_is_not_asked_a_third_time() -> None:
    play = Walk(ZAI, OPENAI, zai=[SERVER, SERVER], openai=[SERVER])
    assert await play.play(ZAI, OPENAI) is OPENAI
    assert play.order == ["zai", "openai", "zai", "openai"]


async def test_a_busy_host_comes_once_more_after_the_others_and_then_waits() -> None:
    play = Walk(A, B, a=[BUSY, BUSY], b=[FailureKind.DOES_NOT_FIT])
    assert await play.play() is None
    assert play.asked == [("a", 9.0, False), ("b", 9.0, False), ("a", None, True)]


async def test_a_busy_host_comes_again_after_those_who_take_longer_too() -> None:
    late = Candidate(ModelKey("m"), HostName("b"), seconds=9.1)
    play = Walk(A, late, a=[BUSY], b=[FailureKind.DOES_NOT_FIT])
    served = await play.play()
    assert served is not None
    assert served.host == A.host
    assert play.asked == [("a", 9.0, False), ("b", 9.0, False), ("a", None, True)]


async def test_a_host_nothing_is_predicted_of_is_not_taken_for_a_late_one() -> None:
    play = Walk(ZAI, B, zai=[BUSY], max_wait_s=0.5)
    assert await play.play() is B
    assert play.asked == [("zai", 0.5, False), ("b", 0.5, False)]


async def test_a_host_found_busy_is_waited_for_though_others_are_left() -> None:
    play = Walk(A, B, a=[BUSY], b=[BUSY])
    began_s = asyncio.get_running_loop().time()
    served = await play.play()
    assert served is not None
    assert served.since is not None
    assert served == replace(A, since=served.since)
    # With the time it has waited, or whoever came meanwhile would be answered first.
    assert began_s <= served.since <= asyncio.get_running_loop().time()
    assert play.asked == [("a", 9.0, False), ("b", 9.0, False), ("a", None, False)]


async def test_whoever_is_free_goes_before_a_providers_line_is_waited_in() -> None:
    play = Walk(ZAI, OPENAI, A, zai=[BUSY, BUSY], openai=[BUSY, BUSY], a=[FailureKind.LOAD_FAILED])
    assert await play.play() is None
    assert play.asked == [
        ("zai", 9.0, False),
        ("openai", 9.0, False),
        ("a", 9.0, False),
        ("zai", None, False),
        ("openai", None, True),
    ]


async def test_a_providers_line_is_not_left_for_a_host_that_takes_longer_than_anybody_waits() -> (
    None
):
    late = Candidate(ModelKey("m"), HostName("b"), seconds=9.1)
    soon = Candidate(ModelKey("m"), HostName("b"), seconds=9.0)
    play = Walk(ZAI, late, zai=[BUSY])
    assert await play.play() is late
    assert play.asked == [("zai", None, False), ("b", None, True)]
    play = Walk(ZAI, soon, zai=[BUSY])
    assert await play.play() is soon
    assert play.asked[0] == ("zai", 9.0, False)
    play = Walk(ZAI, OPENAI, late, zai=[BUSY], openai=[SERVER])
    assert await play.play() is ZAI
    assert play.order == ["zai", "openai", "zai"]


async def test_whom_a_host_that_hangs_was_left_for_is_next_before_a_provider() -> None:
    soon = replace(B, seconds=1.0)
    # One that was left for a host sooner by then stands behind the provider.
    play = Walk(B, A, ZAI, b=[Elsewhere(A)], a=[Silent("hangs", soon)])
    served = await play.play()
    assert served is not None
    assert (served.host, play.order) == (B.host, ["b", "a", "b"])
    # So does one that was busy, whose line is waited in to its end now.
    play = Walk(B, A, ZAI, b=[BUSY], a=[Silent("hangs", soon)])
    served = await play.play()
    assert served is not None
    assert play.asked[-1] == ("b", None, False)


async def test_whom_a_host_that_hangs_was_left_for_is_asked_though_it_came_up_since() -> None:
    play = Walk(A, ZAI, a=[Silent("hangs", C)])
    assert (await play.play(), play.order) == (C, ["a", "c"])
    # Alone it had all its time: nobody is put before others.
    play = Walk(A, ZAI, B, a=[Silent("hangs", None)])
    assert (await play.play(), play.order) == (ZAI, ["a", "zai"])


@pytest.mark.parametrize("kind", FailureKind)
async def test_a_broken_host_is_not_asked_for_another_model(kind: FailureKind) -> None:
    play = Walk(A, A_OTHER, a=[kind])
    served = await play.play()
    is_skipped = kind in HOST_AT_FAULT
    assert served == (None if is_skipped else A_OTHER)
    assert len(play.asked) == (1 if is_skipped else 2)


async def test_behind_a_broken_hosts_other_model_the_next_host_is_asked() -> None:
    play = Walk(A, A_OTHER, B, a=[CUT])
    assert await play.play() is B
    assert play.order == ["a", "b"]


async def test_what_the_asker_chose_goes_first_and_only_once() -> None:
    play = Walk(A, B)
    play.override.offer = Offered(TurnId("t"), here=A, warm=B, cloud=ZAI)
    assert play.override.choose("warm")
    assert await play.play() is B
    assert play.order == ["b"]


async def test_who_is_left_for_a_choice_comes_again_as_the_last_resort() -> None:
    play = Walk(A, ZAI, zai=[FailureKind.SERVER])
    play.override.offer = Offered(TurnId("t"), here=A, warm=None, cloud=ZAI)
    asked = play.serve

    async def serve(
        candidate: Candidate,
        max_wait_s: float | None,
        is_last: bool,
        broken: Collection[HostName],
    ) -> None:
        await asked(candidate, max_wait_s, is_last, broken)
        if play.override.choose("cloud"):
            await asyncio.Event().wait()

    play.serve = serve
    assert await play.play() is A
    assert play.asked == [("a", 9.0, False), ("zai", 9.0, False), ("a", None, True)]


# --- how a wish ends -------------------------------------------------------------------------


async def ended(steps: LoadSteps) -> Readiness:
    async with steps as progress:
        last = [step async for step in progress][-1]
    assert isinstance(last, Readiness)
    return last


async def chosen(home: House, name: str) -> Readiness:
    """Chooses a model and warms it, as ``/model`` does."""
    switch = home.lantern.switch
    model = await switch.set_model(PLACE, ADA, "me", name, rights=Rights())
    return await ended(switch.warm(PLACE, ADA, model=model))


async def off(home: House, name: str = "studio") -> None:
    await home.hosts[name].stop()
    await home.lantern.fleet.host(HostName(name)).probe()


async def test_a_warm_model_needs_no_wait_and_a_cold_one_tells_it(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        began = asyncio.get_running_loop().time()
        cold = await chosen(home, QWEN.key)
        took_s = asyncio.get_running_loop().time() - began
        warm = await chosen(home, QWEN.key)
    assert cold.is_as_wished
    assert cold.waited_s is not None
    assert 0 < cold.waited_s <= took_s
    assert (warm.is_as_wished, warm.waited_s, warm.failed) == (True, None, ())


async def test_with_the_host_off_a_choice_is_kept_and_nobody_is_ready(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await off(home)
        ready = await chosen(home, QWEN.key)
        assert (await home.lantern.switch.explain(PLACE, ADA)).model == QWEN.key
    assert (ready.by, ready.is_as_wished) == (None, False)
    assert [r.where for r in ready.failed] == ["studio"]


async def test_a_host_lost_while_loading_is_told_with_its_reason(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.fail_next_load("exit code 42", times=None)
        ready = await chosen(home, QWEN.key)
    assert ready.by is None
    assert "exit code 42" in ready.failed[0].reason


async def test_a_model_that_cannot_fit_is_told(tmp_path: Path) -> None:
    huge = SimModel("huge/one", 60 * GB)
    async with house(tmp_path, sim("studio", QWEN, huge), memory_gb=8) as home:
        ready = await chosen(home, huge.key)
    assert ready.by is None
    assert "does not fit" in ready.failed[0].reason


async def test_where_only_a_provider_can_answer_it_is_named_and_nothing_is_ready(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await off(home)
        ready = await chosen(home, QWEN.key)
    assert ready.by is not None
    assert (ready.by.provider, ready.is_as_wished) == ("zai", False)
    assert [r.where for r in ready.failed] == ["studio"]


async def test_a_persona_whose_model_cannot_be_loaded_names_the_alternative(
    tmp_path: Path,
) -> None:
    personas = {"sage": f"model: {QWEN.key}\nalternatives: [{GEMMA.key}]\n"}
    hosts = (sim("studio", QWEN), sim("laptop", GEMMA))
    async with house(tmp_path, *hosts, personas=personas) as home:
        await off(home)
        ready = await ended(home.lantern.switch.warm(PLACE, ADA, persona=PersonaName("sage")))
        assert [i.key for i in home.hosts["laptop"].resident] == [GEMMA.key]
    assert ready.by is not None
    assert (ready.by.host, ready.by.model) == ("laptop", GEMMA.key)
    assert not ready.is_as_wished


async def test_a_load_by_hand_tells_where_and_fails_with_each_reason(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", QWEN)) as home:
        home.hosts["studio"].faults.fail_next_load("no luck", times=None)
        by = (await ended(home.lantern.acts.load(None, QWEN.key))).by
        assert by is not None
        assert by.host == "laptop"
        with pytest.raises(NoCandidates, match=r"studio: .*no luck") as failed:
            await ended(home.lantern.acts.load("studio", QWEN.key))
        # The laptop can.
        head = f"studio cannot load `{QWEN.key}` now."
        assert failed.value.user_message.splitlines()[0] == head


async def test_a_load_by_hand_at_a_host_without_the_model_names_those_that_have_it(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), sim("laptop", GEMMA)) as home:
        with pytest.raises(RequestRefused) as refused:
            async with home.lantern.acts.load("laptop", QWEN.key) as steps:
                assert [step async for step in steps] == []
    said = f"laptop does not have `{QWEN.key}`; it is on studio."
    assert refused.value.user_message == said


async def test_an_embedding_model_is_loaded_by_hand_wherever_it_is(tmp_path: Path) -> None:
    embed = SimModel("text-embedding-nomic", GB // 10, kind="embedding")
    async with house(tmp_path, sim("laptop", QWEN), sim("studio", embed)) as home:
        ready = await ended(home.lantern.acts.load(None, embed.key))
        assert [i.key for i in home.hosts["studio"].resident] == [embed.key]
    assert ready.is_as_wished
    assert ready.instance is not None
    assert ready.instance.model_key == embed.key


@pytest.mark.parametrize("kind", [CUT, FailureKind.LOAD_FAILED])
async def test_a_wait_left_for_a_host_that_is_sooner_is_no_failure_and_comes_again_last(
    kind: FailureKind,
) -> None:
    asked: list[Candidate] = []
    told: list[Candidate] = []
    sooner = Candidate(ModelKey("m"), HostName("b"), seconds=1.0, since=5.0)

    async def serve(
        candidate: Candidate,
        _max_wait_s: float | None,
        _is_last: bool,
        _broken: Collection[HostName],
    ) -> None:
        asked.append(candidate)
        if candidate == A and len(asked) == 1:
            raise Elsewhere(sooner)
        if candidate == sooner:
            raise Unavailable("gone", kind)

    async def on_failure(candidate: Candidate, _error: Unavailable) -> None:
        told.append(candidate)

    served = await walk((A, B, A_OTHER), serve, on_failure)
    # The same host and model stand in the line once, as they are known now.
    assert asked == [A, sooner, A_OTHER]
    assert (served, told) == (A_OTHER, [sooner])
    asked.clear()
    told.clear()
    served = await walk((A, B), serve, on_failure)
    again = replace(A, since=5.0)
    assert asked == [A, sooner, again], "with the time it has waited"
    assert (served, told) == (again, [sooner])


async def test_whoever_waited_without_a_limit_does_so_again_where_it_comes_back() -> None:
    limits: list[tuple[str, float | None]] = []
    ends: list[Exception | None] = [
        Unavailable("busy", BUSY),
        Unavailable("gone", CUT),
        Elsewhere(replace(B, since=5.0)),
        None,
    ]

    async def serve(
        candidate: Candidate, max_wait_s: float | None, _last: bool, _out: Collection[HostName]
    ) -> None:
        limits.append((candidate.where, max_wait_s))
        if (error := ends.pop(0)) is not None:
            raise error

    async def on_failure(_: Candidate, __: Unavailable) -> None: ...

    await walk((A, replace(B, host=HostName("c"))), serve, on_failure, max_wait_s=9.0)
    assert limits == [("a", 9.0), ("c", 9.0), ("a", None), ("b", 9.0)]
    ends[:] = [Unavailable("busy", BUSY), Unavailable("gone", CUT)]
    ends += [Elsewhere(replace(B, since=5.0)), Unavailable("gone", CUT), None]
    limits.clear()
    await walk((A, replace(B, host=HostName("c"))), serve, on_failure, max_wait_s=9.0)
    assert limits[3:] == [("b", 9.0), ("a", None)]


async def test_a_line_that_was_left_is_waited_in_once_more_and_to_its_end_once() -> None:
    play = Walk(A, B, a=[BUSY, C, BUSY], b=[CUT], c=[CUT])
    assert await play.play() is None
    assert play.order == ["a", "b", "a", "c", "a"]
    # Where it was left before its end, it comes after the others, and then to its end.
    play = Walk(A, B, a=[C, BUSY], b=[CUT], c=[CUT])
    served = await play.play()
    assert served is not None
    assert (served.host, play.order) == (A.host, ["a", "c", "b", "a", "a"])


async def test_a_line_is_waited_in_again_with_the_time_that_was_waited_elsewhere_too() -> None:
    waited = replace(A, since=-5.0)
    assert await Walk(waited, B, a=[BUSY], b=[CUT]).play() == waited


async def test_where_nobody_minds_waiting_no_host_is_late() -> None:
    late = replace(A, seconds=9.1)
    play = Walk(ZAI, late, max_wait_s=None, zai=[SERVER])
    assert await play.play() is late
    assert play.asked == [("zai", None, False), ("a", None, True)]


async def test_a_host_that_came_while_the_only_line_was_waited_in_is_asked_before_nobody_is() -> (
    None
):
    play = Walk(A, a=[CUT])
    play.latecomers = [(B,)]
    assert await play.play() == B
    assert play.looked_after == [1]
    alone = Walk(A, a=[CUT])
    assert await alone.play() is None
    assert alone.looked_after == [1]
    both = Walk(A, a=[CUT], b=[SERVER])
    both.latecomers = [(B,)]
    assert await both.play() is None
    assert both.looked_after == [1, 2]
