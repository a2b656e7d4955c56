from dataclasses import replace

import pytest

from bot.domain.chat import Receipt, Rejection, Route
from bot.domain.errors import FailureKind
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName
from bot.policy.outages import passed_over
from bot.policy.routing import NOT_MEANT

M = ModelKey("m")
NOBODY = Receipt(PersonaName("sage"))
OUT = Rejection("zai", M, "wrong key")
FAILED = Rejection("zai", M, "broke", FailureKind.SERVER)


def receipt(
    *, rejected: tuple[Rejection, ...] = (), attempts: tuple[Rejection, ...] = (), by: str = ""
) -> Receipt:
    found = replace(NOBODY, route=Route(rejected=rejected), attempts=attempts)
    if by == "studio":
        return replace(found, host=HostName(by))
    return replace(found, provider=ProviderName(by) if by else None)


@pytest.mark.parametrize(
    ("said", "missed"),
    [
        (receipt(), set[str]()),
        (receipt(rejected=(OUT,), by="openai"), {"zai"}),
        (receipt(rejected=(OUT,)), {"zai"}),
        # Nobody missed it: a host answers before any provider.
        (receipt(rejected=(OUT,), by="studio"), set[str]()),
        (receipt(attempts=(FAILED,), by="studio"), {"zai"}),
        # Asked twice, and the second time it did answer.
        (receipt(attempts=(FAILED,), by="zai"), set[str]()),
        *((receipt(rejected=(Rejection("zai", M, why),)), set[str]()) for why in NOT_MEANT),
    ],
)
def test_a_question_goes_elsewhere_where_a_provider_was_missed(
    said: Receipt, missed: set[str]
) -> None:
    assert passed_over(said) == missed
