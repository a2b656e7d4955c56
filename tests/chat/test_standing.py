"""One calm line: who could not answer, and who did."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.chat.standing import (
    away_words,
    instead_words,
    looking_words,
    nobody_words,
    shortly,
    standing_words,
)
from bot.domain.chat import Candidate, Receipt, Rejection, Route, Seam
from bot.domain.errors import FailureKind
from bot.domain.hosts import FleetSnapshot, HostSnapshot
from bot.domain.ids import AUTO, HostName, ModelKey, PersonaName, ProviderName

QWEN, GLM = ModelKey("qwen"), ModelKey("glm")
ZAI = ProviderName("zai")
AT_ZAI = Candidate(GLM, provider=ZAI)
REFUSED = "away: 10.0.0.2:1234 refuses connections"


def off(*names: str) -> tuple[Rejection, ...]:
    return tuple(Rejection(name, QWEN, REFUSED, brief="off") for name in names)


def at_home(name: str, seconds: float) -> Candidate:
    return Candidate(QWEN, HostName(name), seconds=seconds)


def tried(where: str, kind: FailureKind, reason: str = REFUSED) -> Rejection:
    return Rejection(where, QWEN, reason, kind, is_cloud=where == ZAI)


BETA = Receipt(PersonaName("sage"), model=QWEN, host=HostName("beta"))
LOST = Seam(HostName("alpha"), REFUSED, 9, 1.0)
BY_ZAI = Receipt(PersonaName("sage"), model=GLM, provider=ZAI)


@pytest.mark.parametrize(
    ("receipt", "line"),
    [
        (
            replace(BY_ZAI, route=Route((AT_ZAI,), off("alpha", "beta"))),
            "☁ alpha and beta are off; zai answered.",
        ),
        (replace(BETA, seams=(LOST,)), "↪ alpha was lost in the middle; beta went on."),
        (
            replace(BETA, seams=(LOST, replace(LOST, host=HostName("gamma")))),
            "↪ alpha and gamma were lost in the middle; beta went on.",
        ),
        (
            replace(BETA, seams=(replace(LOST, host=HostName("10.0.0.2:1234")),)),
            "↪ a machine was lost in the middle; beta went on.",
        ),
        (
            replace(
                BETA,
                host=HostName("10.0.0.3:1234"),
                seams=(replace(LOST, host=HostName("10.0.0.2:1234")),),
            ),
            "↪ a machine was lost in the middle; another went on.",
        ),
        (replace(BETA, seams=(replace(LOST, pause_s=None),)), ""),
        # A host is judged for each model wanted, and named once.
        (
            replace(BY_ZAI, route=Route((AT_ZAI,), off("alpha", "alpha"))),
            "☁ alpha is off; zai answered.",
        ),
        # Chosen by its asker, and another provider answered instead.
        (
            replace(
                BY_ZAI,
                provider=ProviderName("openai"),
                route=Route((AT_ZAI,), off("alpha"), prefers_cloud=True, chosen=ZAI),
                attempts=(tried("zai", FailureKind.AUTH),),
            ),
            "☁ zai is not available; openai answered.",
        ),
        (replace(BY_ZAI, route=Route((AT_ZAI,), prefers_cloud=True, chosen=ZAI)), ""),
        (
            replace(
                BY_ZAI,
                route=Route((AT_ZAI,), off("alpha"), chosen=ProviderName("openai")),
                presses=("Use the cloud",),
            ),
            "",
        ),
        # Failed within the turn: the attempt says more than the plan.
        (
            replace(
                BY_ZAI,
                route=Route((at_home("alpha", 1.0), AT_ZAI), off("beta")),
                attempts=(tried("alpha", FailureKind.CUT),),
            ),
            "☁ alpha is in trouble, beta is off; zai answered.",
        ),
        # Slower than people are let wait.
        (
            replace(BY_ZAI, route=Route((AT_ZAI, at_home("alpha", 180.0)))),
            "☁ alpha is ~3 min away; zai answered.",
        ),
        # Waited for longer than planned: the attempt again.
        (
            replace(
                BY_ZAI,
                route=Route((at_home("alpha", 1.0), AT_ZAI)),
                attempts=(tried("alpha", FailureKind.BUSY),),
            ),
            "☁ alpha is busy; zai answered.",
        ),
        # That one host lacks the model is no news while another has it.
        (
            replace(
                BY_ZAI,
                route=Route(
                    (AT_ZAI,),
                    (*off("alpha"), Rejection("b", QWEN, "no", brief="without this model")),
                ),
            ),
            "☁ alpha is off; zai answered.",
        ),
        # A provider that stumbled before is no reason why the LAN was left.
        (
            replace(
                BY_ZAI,
                route=Route((AT_ZAI,), off("alpha")),
                attempts=(tried("zai", FailureKind.OVERLOAD, "529: pay more"),),
            ),
            "☁ alpha is off; zai answered.",
        ),
        # An address is nobody's business.
        (
            replace(BY_ZAI, route=Route((AT_ZAI,), off("10.0.0.2:1234"))),
            "☁ a machine is off; zai answered.",
        ),
        (
            replace(BY_ZAI, route=Route((AT_ZAI,), off("alpha", "[fd00::5]:1234"))),
            "☁ alpha and 1 more are off; zai answered.",
        ),
        (
            replace(BY_ZAI, route=Route((AT_ZAI,), off(*"abcde"))),
            "☁ a, b, c and 2 more are off; zai answered.",
        ),
        # Wanted so, by a choice, a setting or a press: no reason is owed.
        (replace(BY_ZAI, route=Route((AT_ZAI,), off("alpha"), prefers_cloud=True)), ""),
        (
            replace(BY_ZAI, route=Route((at_home("alpha", 40), AT_ZAI)), presses=("Use",)),
            "",
        ),
        (replace(BY_ZAI, route=Route((AT_ZAI,), off("alpha")), from_cache=True), ""),
        (replace(BY_ZAI, provider=None, route=Route((AT_ZAI,), off("alpha"))), ""),
        # A host for a host goes unseen; a host for the provider that was chosen does not.
        (
            replace(BY_ZAI, provider=None, host=HostName("beta"), route=Route((), off("alpha"))),
            "",
        ),
        (
            replace(
                BY_ZAI,
                provider=None,
                host=HostName("beta"),
                route=Route((), off("alpha"), prefers_cloud=True, chosen=ZAI),
                attempts=(tried("zai", FailureKind.NO_MONEY, "HTTP 402: top up"),),
            ),
            "☁ zai is not available; beta answered.",
        ),
    ],
)
def test_why_somebody_else_answered(receipt: Receipt, line: str) -> None:
    assert instead_words(receipt) == line


@pytest.mark.parametrize(
    ("route", "attempts", "line"),
    [
        (
            Route((), off("alpha", "beta")),
            (),
            "No machine can answer right now: alpha and beta are off. (`/why`)",
        ),
        (
            Route((AT_ZAI,), off("alpha")),
            (tried("zai", FailureKind.NO_MONEY, "HTTP 402: top up"),) * 2,
            "Nobody can answer right now: alpha is off, zai is not available. (`/why`)",
        ),
        # A provider is no machine, and one of several is counted as what all of them are.
        (
            Route((AT_ZAI,), off("alpha", "beta", "gamma")),
            (tried("zai", FailureKind.CONNECT),),
            "Nobody can answer right now: alpha, beta, gamma and 1 more are off. (`/why`)",
        ),
        (
            Route(),
            (tried("alpha", FailureKind.LOAD_FAILED, "Exit code 42."),),
            "No machine can answer right now: alpha is unable to load it. Exit code 42. (`/why`)",
        ),
        (
            Route((), (Rejection("alpha", QWEN, "not on this host", brief="without this model"),)),
            (),
            "No machine can answer right now: alpha is without this model. (`/why`)",
        ),
        (Route(), (), "No machine here has `qwen`; `/model` shows what there is. (`/why`)"),
    ],
)
def test_nobody_is_said_calmly(route: Route, attempts: tuple[Rejection, ...], line: str) -> None:
    assert nobody_words(route, attempts, model=QWEN) == line


def test_words_that_stay_home_say_why() -> None:
    words = nobody_words(Route((), off("alpha")), (), model=AUTO, kept_home="sage is local only")
    assert words == (
        "No machine can answer right now: alpha is off. "
        "These words stay on the LAN (sage is local only). (`/why`)"
    )
    assert nobody_words(Route(), (), model=AUTO) == "No machine here is set up. (`/why`)"


def test_of_a_model_that_was_chosen_alone_the_choice_and_the_way_back_are_told() -> None:
    way = "It is chosen by you here; `/model auto` goes back."
    assert nobody_words(Route((), off("alpha")), (), model=QWEN, chosen=way) == (
        "No machine can answer with `qwen` right now: alpha is off. "
        "It is chosen by you here; `/model auto` goes back. (`/why`)"
    )
    assert nobody_words(Route(), (), model=QWEN, chosen=way) == (
        "No machine here has `qwen`; `/model` shows what there is. "
        "It is chosen by you here; `/model auto` goes back. (`/why`)"
    )


def test_what_has_no_room_is_told_in_one_sentence() -> None:
    large = Rejection("alpha", QWEN, "does not fit: needs about 9.0 GB", brief="too full for it")
    assert standing_words([large]) == "alpha is too full for it; needs about 9.0 GB."
    any_ = replace(large, where="beta", reason="no model can serve: `q`: does not fit: needs 9 GB")
    assert standing_words([large, any_]) == (
        "alpha and beta are too full for it; needs about 9.0 GB; no model can serve: `q`: does not "
        "fit: needs 9 GB."
    )


def test_a_host_without_a_name_is_this_machine_in_its_own_reason() -> None:
    at = "10.0.0.2:1234"
    reason = f"qwen does not fit on {at}: it is full, see http://{at}/v1 and 10.0.0.3:1234."
    assert standing_words([tried(at, FailureKind.DOES_NOT_FIT, reason)]) == (
        "a machine is too full for it. qwen does not fit on this machine: it is full, see … and …."
    )
    # Two of them say the same once.
    both = [
        tried(f"10.0.0.{n}:1234", FailureKind.DOES_NOT_FIT, f"No room on 10.0.0.{n}:1234.")
        for n in (2, 3)
    ]
    assert standing_words(both) == "2 machines are too full for it. No room on this machine."


NAMES = ["alpha", "10.0.0.2:1234", "[fd00::5]:1234", "studio.lan:1234"]
REASONS = [
    "10.0.0.2:1234 refuses",
    "see http://10.0.0.2:1234/v1",
    "[fd00::5]:1234 is away",
    "studio.lan:1234 hangs",
    "10.0.0.2 does not answer",
]


@given(
    st.lists(
        st.builds(
            Rejection,
            where=st.sampled_from(NAMES),
            model=st.just(QWEN),
            reason=st.sampled_from(REASONS),
            kind=st.none(),
            brief=st.sampled_from(["off", "too full for it", "unable to load it", ""]),
        ),
        max_size=5,
    )
)
def test_no_reader_ever_meets_an_address(failed: list[Rejection]) -> None:
    told = standing_words(failed) + nobody_words(Route((), tuple(failed)), (), model=QWEN)
    assert not re.search(r"10\.0\.0|fd00|1234|http", told)


def test_a_hosts_own_words_are_one_short_line_in_a_reply() -> None:
    page = "Failed to load model.\n\n  Error: llama_init at /Users/x/.lmstudio/models\n" * 20
    said = standing_words([tried("beta", FailureKind.LOAD_FAILED, page)])
    assert said.startswith("beta is unable to load it. Failed to load model. Error: llama_init at ")
    assert said.endswith(" …")
    assert len(said) < 200
    assert "\n" not in said
    assert shortly("No room.\n") == "No room."
    assert shortly("x" * 160) == "x" * 160
    assert shortly(f"{'x' * 150} {'y' * 10}") == f"{'x' * 150} …"


GONE = HostSnapshot(HostName("alpha"), "10.0.0.1:1", "down", "refused", away_since=60.0)
GONE_SINCE = replace(GONE, name=HostName("beta"), away_since=80.0)


def test_where_all_hosts_are_out_it_is_told_since_when_and_that_they_are_looked_for() -> None:
    def away(*hosts: HostSnapshot) -> str:
        return away_words(FleetSnapshot({host.name: host for host in hosts}, 100.0))

    again = "Lantern looks again within a few seconds, and with each question."
    assert away(GONE) == f"That has been so for 40 s; {again}"
    # "For 0 s" told nobody anything.
    assert [away(replace(GONE, away_since=at)) for at in (99.0, 99.001)] == [
        f"That has been so for 1 s; {again}",
        again,
    ]
    # Till then the other could answer.
    assert away(GONE, GONE_SINCE) == f"That has been so for 20 s; {again}"
    assert away(GONE, replace(GONE_SINCE, state="up", away_since=None)) == away() == ""
    # One that may sleep, or failed its requests, is left alone for longer.
    asleep = replace(GONE_SINCE, state="asleep", next_probe_at=143.0)
    soon = replace(GONE, next_probe_at=105.0)
    assert away(soon) == away(GONE)
    assert away(soon, asleep) == away(soon).replace("40 s", "20 s").replace("a few seconds", "43 s")
    assert "within 6 s, and" in away(replace(GONE, next_probe_at=105.6))
    words = nobody_words(Route((), off("alpha")), (), model=QWEN, away=away(GONE))
    assert words == f"No machine can answer right now: alpha is off. {away(GONE)} (`/why`)"


def test_who_waits_for_a_look_reads_for_whom() -> None:
    unseen, up = replace(GONE_SINCE, state="unknown"), replace(GONE_SINCE, state="up")
    assert looking_words([GONE, up]) == "🔎 Looking whether alpha is back …"
    assert looking_words([GONE, unseen]) == "🔎 Looking whether alpha and beta are back …"
    assert looking_words([up]) == ""
