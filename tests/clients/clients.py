"""A client of Python against a gateway: openai-python, anthropic-python, LangChain's or ``llm``.

``clients.py WHICH BASE KEY MODEL COLD VECTORS HOME [CUT SLOW]``, in a process of its own: some
warn of what pytest takes for errors, and reading them takes seconds. Prints one JSON object per
play: its name, and what went wrong where something did. openai-python and anthropic-python are
played in more depth by ``test_python_clients.py``, within one process with the gateway.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Generator
from importlib import import_module
from pathlib import Path
from typing import Any

which, base, key, model, cold, vectors, home, *broken = sys.argv[1:]
# Read as they are imported: nobody's own settings count here.
os.environ |= {
    "LLM_USER_PATH": home,
    "OPENAI_BASE_URL": f"{base}/v1",
    "OPENAI_API_KEY": key,
    "LANGSMITH_TRACING": "false",
}
Path(home, "extra-openai-models.yaml").write_text(
    json.dumps(
        [
            {
                "model_id": name,
                "model_name": name,
                "api_base": f"{base}/v1",
                "api_key_name": "lantern",
                "supports_tools": True,
                "supports_schema": True,
                **form,
            }
            for name, form in (
                (model, {}),
                (cold, {}),
                *((name, {}) for name in broken),
                ("sim/none", {}),
                ("sage", {"responses": True}),
            )
        ]
    ),
    encoding="utf-8",
)
GREETING = "Grüße, 🏮"
CALL = '[[call weather {"city": "Ulm"}]]'
SCHEMA: dict[str, Any] = {
    "title": "trip",
    "description": "Where to.",
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}

openai: Any = import_module("openai")
# Installed where these tests are run alone.
langchain: Any = import_module("langchain_openai") if which == "langchain" else None
llm: Any = import_module("llm") if which == "llm" else None
anthropic: Any = import_module("anthropic") if which == "anthropic" else None


def chat(name: str = model, **more: Any) -> Any:
    return langchain.ChatOpenAI(
        model=name, base_url=f"{base}/v1", api_key=key, max_retries=0, **more
    )


def weather(city: str) -> str:
    """The weather of a city."""
    return f"dry in {city}"


def openai_client(as_key: str = key) -> Any:
    return openai.OpenAI(base_url=f"{base}/v1", api_key=as_key, max_retries=0)


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def openai_chat() -> None:
    whole = openai_client().chat.completions.create(
        model=model, messages=said(f"[[say {GREETING}]]")
    )
    assert whole.choices[0].message.content == GREETING
    assert (whole.model, whole.choices[0].finish_reason) == (model, "stop")


def openai_stream_of_a_cold_model() -> None:
    options = {"include_usage": True}
    chunks = list(
        openai_client().chat.completions.create(
            model=cold, messages=said(f"[[say {GREETING}]]"), stream=True, stream_options=options
        )
    )
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == GREETING
    assert [c.finish_reason for c in choices if c.finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage.completion_tokens > 0


def openai_tools_and_schema() -> None:
    ask = openai_client().chat.completions.create
    function = {"name": "weather", "parameters": SCHEMA}
    called = ask(
        model=model, messages=said(CALL), tools=[{"type": "function", "function": function}]
    )
    (call,) = called.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Ulm"}
    wanted = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
    fitting = ask(model=model, messages=said("hi"), response_format=wanted)
    assert json.loads(fitting.choices[0].message.content)["city"]


def openai_vectors() -> None:
    made = openai_client().embeddings.create(model=vectors, input=["a", "b"])
    assert [len(each.embedding) for each in made.data] == [64, 64]


def openai_responses() -> None:
    ask = openai_client().responses.create
    first = ask(model=model, input="[[say one]]")
    assert first.output_text == "one"
    events = list(ask(model=model, input="[[say two]]", previous_response_id=first.id, stream=True))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "two"


def openai_errors() -> None:
    for is_stream in (False, True):
        with_error(
            openai.NotFoundError,
            "model_not_found",
            lambda is_stream=is_stream: openai_client().chat.completions.create(
                model="sim/none", messages=said("hi"), stream=is_stream
            ),
        )
    with_error(
        openai.AuthenticationError,
        "invalid_api_key",
        lambda: openai_client("lantern_none").models.list(),
    )


def openai_abort() -> None:
    with openai_client().chat.completions.create(
        model=model, messages=said("[[tokens 5000]]"), stream=True
    ) as stream:
        for _ in range(3):
            next(stream)


def anthropic_client(as_key: str = key) -> Any:
    return anthropic.Anthropic(base_url=base, api_key=as_key, max_retries=0)


def anthropic_messages() -> None:
    whole = anthropic_client().messages.create(
        model=model, max_tokens=99, messages=said(f"[[say {GREETING}]]")
    )
    assert whole.content[-1].text == GREETING


def anthropic_stream() -> None:
    with anthropic_client().messages.stream(
        model=model, max_tokens=99, messages=said(f"[[think 2]] [[say {GREETING}]]")
    ) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[1].text == GREETING


def anthropic_tools() -> None:
    tool = {"name": "weather", "input_schema": SCHEMA}
    called = anthropic_client().messages.create(
        model=model, max_tokens=99, messages=said(CALL), tools=[tool]
    )
    assert called.content[-1].input == {"city": "Ulm"}


def anthropic_errors() -> None:
    unknown: dict[str, Any] = {"model": "sim/none", "max_tokens": 9, "messages": said("hi")}
    with_error(anthropic.NotFoundError, None, lambda: anthropic_client().messages.create(**unknown))
    wrong = anthropic_client("lantern_none")
    with_error(anthropic.AuthenticationError, None, lambda: wrong.messages.create(**unknown))


def langchain_chat() -> None:
    whole = chat().invoke(f"[[say {GREETING}]]")
    assert whole.content == GREETING
    assert whole.response_metadata["model_name"] == model
    assert whole.usage_metadata["output_tokens"] > 0


def langchain_stream_of_a_cold_model() -> None:
    chunks = list(chat(cold, stream_usage=True).stream(f"[[say {GREETING}]]"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == GREETING
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.response_metadata["model_name"] == cold
    assert whole.usage_metadata["output_tokens"] > 0


def langchain_tools() -> None:
    bound = chat().bind_tools([weather])
    streamed: Any = None
    for chunk in bound.stream(CALL):
        streamed = chunk if streamed is None else streamed + chunk
    for called in (bound.invoke(CALL), streamed):
        (call,) = called.tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "Ulm"})
        answered = {"role": "tool", "content": "dry", "tool_call_id": call["id"]}
        assert bound.invoke([("user", CALL), called, answered]).content


def langchain_schema() -> None:
    assert chat().with_structured_output(SCHEMA, method="json_schema").invoke("hi")["city"]
    assert chat().with_structured_output(None, method="json_mode").invoke("as json") == {}


def langchain_vectors() -> None:
    # Its own cutting of texts asks the network for a table of OpenAI's tokens.
    made = langchain.OpenAIEmbeddings(
        model=vectors, base_url=f"{base}/v1", api_key=key, check_embedding_ctx_length=False
    ).embed_documents(["a", "b"])
    assert len(made[1]) == 64
    assert made[0] != made[1]


def langchain_responses() -> None:
    first = chat(use_responses_api=True).invoke("[[say one]]")
    assert first.text == "one"
    goes_on = chat(use_responses_api=True, use_previous_response_id=True)
    again = [("user", "[[say one]]"), first, ("user", "[[say two]]")]
    assert "".join(chunk.text for chunk in goes_on.stream(again)) == "two"


def langchain_errors() -> None:
    unknown = chat("sim/none")
    with_error(openai.NotFoundError, "model_not_found", lambda: unknown.invoke("hi"))
    with_error(openai.NotFoundError, "model_not_found", lambda: list(unknown.stream("hi")))
    with_error(openai.BadRequestError, None, lambda: chat(temperature=9).invoke("hi"))
    wrong = langchain.ChatOpenAI(model=model, base_url=f"{base}/v1", api_key="lantern_none")
    with_error(openai.AuthenticationError, "invalid_api_key", lambda: wrong.invoke("hi"))


def langchain_abort() -> None:
    stream = chat().stream("[[tokens 5000]]")
    for _ in range(3):
        next(stream)
    stream.close()


def llm_chat() -> None:
    answer = llm.get_model(model).prompt(f"[[say {GREETING}]]", key=key, stream=False)
    assert answer.text() == GREETING
    assert answer.usage().output > 0


def llm_stream_of_a_cold_model() -> None:
    answer = llm.get_model(cold).prompt("[[say warm now]]", key=key)
    assert "".join(answer) == "warm now"


def llm_tools() -> None:
    chain = llm.get_model(model).chain(CALL, tools=[weather], key=key)
    assert chain.text()
    called = [call for answer in chain.responses() for call in answer.tool_calls()]
    assert [(call.name, call.arguments) for call in called] == [("weather", {"city": "Ulm"})]


def llm_schema() -> None:
    answer = llm.get_model(model).prompt("hi", schema=SCHEMA, key=key)
    assert json.loads(answer.text())["city"]


def llm_conversation() -> None:
    talk = llm.get_model(model).conversation()
    assert talk.prompt("[[say one]]", system="Be brief.", key=key).text() == "one"
    assert talk.prompt("[[say two]]", key=key).text() == "two"


def llm_responses() -> None:
    for is_stream in (False, True):
        answer = llm.get_model("sage").prompt("[[say one]]", key=key, stream=is_stream)
        assert answer.text() == "one"


def llm_vectors() -> None:
    # Of vectors it knows OpenAI's own alone, at whatever address openai-python is told.
    plugin: Any = import_module("llm.default_plugins.openai_models")
    made = plugin.OpenAIEmbeddingModel("own", vectors).embed_batch(["a", "b"], key=key)
    assert [len(vector) for vector in made] == [64, 64]


def llm_errors() -> None:
    for is_stream in (False, True):
        answer = llm.get_model("sim/none").prompt("hi", key=key, stream=is_stream)
        with_error(openai.NotFoundError, "model_not_found", answer.text)


def llm_abort() -> None:
    stream = iter(llm.get_model(model).prompt("[[tokens 5000]]", key=key))
    for _ in range(3):
        next(stream)
    stream.close()


def with_error(kind: type[Exception], code: str | None, act: Callable[[], object]) -> None:
    try:
        act()
    except kind as error:
        told = getattr(error, "code", None)
    else:
        raise AssertionError(f"no {kind.__name__}")
    assert code in (None, told)


def openai_words(name: str, text: str) -> Generator[str]:
    asked: dict[str, Any] = {"model": name, "messages": said(text), "stream": True}
    with openai_client().chat.completions.create(**asked) as stream:
        for chunk in stream:
            yield chunk.choices[0].delta.content or ""


def anthropic_words(name: str, text: str) -> Generator[str]:
    asked: dict[str, Any] = {"model": name, "max_tokens": 99, "messages": said(text)}
    with anthropic_client().messages.stream(**asked) as stream:
        yield from stream.text_stream


def langchain_words(name: str, text: str) -> Generator[str]:
    for chunk in chat(name).stream(text):
        yield chunk.content


def llm_words(name: str, text: str) -> Generator[str]:
    yield from llm.get_model(name).prompt(text, key=key)


WORDS: dict[str, Callable[[str, str], Generator[str]]] = {
    "openai": openai_words,
    "anthropic": anthropic_words,
    "langchain": langchain_words,
    "llm": llm_words,
}


def cold_alone() -> None:
    assert "".join(WORDS[which](cold, "[[say warm now]]")) == "warm now"


def cut() -> None:
    heard = ""
    error = anthropic.APIError if which == "anthropic" else openai.APIError
    try:
        for words in WORDS[which](broken[0], "[[tokens 9]]"):
            heard += words
    except error:
        assert heard
    else:
        raise AssertionError("a cut passed for an end")


def stopped() -> None:
    stream = WORDS[which](broken[1], "[[tokens 9]]")
    while not next(stream):
        pass
    stream.close()
    # Alive until its host was seen to stop: the end of this process would stop it as well. Of
    # ``llm`` that is all there is, since it keeps a connection open that nobody reads.
    if which != "llm":
        sys.stdin.read()


PLAYS = {
    "openai": (
        openai_chat,
        openai_stream_of_a_cold_model,
        openai_tools_and_schema,
        openai_vectors,
        openai_responses,
        openai_errors,
        openai_abort,
    ),
    "anthropic": (anthropic_messages, anthropic_stream, anthropic_tools, anthropic_errors),
    "langchain": (
        langchain_chat,
        langchain_stream_of_a_cold_model,
        langchain_tools,
        langchain_schema,
        langchain_vectors,
        langchain_responses,
        langchain_errors,
        langchain_abort,
    ),
    "llm": (
        llm_chat,
        llm_stream_of_a_cold_model,
        llm_tools,
        llm_schema,
        llm_conversation,
        llm_responses,
        llm_vectors,
        llm_errors,
        llm_abort,
    ),
}

for play in (cold_alone, cut, stopped) if broken else PLAYS[which]:
    error = None
    try:
        play()
    except Exception:
        error = traceback.format_exc()
    sys.stdout.write(json.dumps({"name": play.__name__, "error": error}) + "\n")
