"""One line of the log for each request that was routed."""

from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from tests.gateway.gate import CHATS, chat, gate
from tests.helpers.house import QWEN, sim


async def test_each_request_is_one_line_with_its_figures_and_no_word_of_it(tmp_path: Path) -> None:
    secret = "xyzzy"
    async with gate(tmp_path, sim("one", replace(QWEN, architecture="qwen3"))) as it:
        key = await it.key("ada")
        with capture_logs() as logs:
            for stream in (False, True):
                body = chat(QWEN.key, secret, max_tokens=9, stream=stream)
                answer = await it.ask(CHATS, body, Authorization=key)
                assert answer.status == 200
            it.house.hosts["one"].faults.status_500(path="/v1/chat")
            failed = await it.ask(CHATS, chat(QWEN.key, secret), Authorization=key)
            assert failed.status == 502
        lines = [line for line in logs if line["event"] == "request"]
        assert [line["outcome"] for line in lines] == ["done", "done", "failed"]
        assert [line["status"] for line in lines] == [200, 200, 502]
        for line in lines[:2]:
            assert (line["key"], line["endpoint"], line["where"]) == ("ada", "chat", "one")
            assert (line["model"], line["arch"]) == (QWEN.key, "qwen3")
            assert line["output_tokens"] == 9
            assert line["input_tokens"] > 0
            assert line["tokens_per_s"] is None or line["tokens_per_s"] > 0
            assert line["request"]
        assert [line["first_token_s"] is None for line in lines[:2]] == [True, False]
        assert [line["waited_s"] is None for line in lines[:2]] == [True, False]
        assert secret not in str(logs)
