"""The answer being made."""

from bot.chat.draft import Draft
from bot.domain.chat import Candidate
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName

HERE = Candidate(ModelKey("qwen"), host=HostName("studio"))
AWAY = Candidate(ModelKey("glm"), provider=ProviderName("zai"))


def test_what_a_candidate_left_by_choice_had_begun_is_not_the_next_ones() -> None:
    draft = Draft(PersonaName("sage"), "", 0.0)
    draft.granted(HERE, 0.0, 0.0)
    draft.sent(1.0)
    draft.add_reasoning("Let me see.", 2.0)
    draft.granted(AWAY, 0.0, 0.0)
    draft.sent(10.0)
    draft.add_text("Hello.", 12.0)
    assert draft.reasoning == ""
    assert draft.first_token_s == 2.0
    assert draft.receipt(13.0).usage.completion_tokens == 1
