"""Every listing's shape as a table row; and what no listing may do: bring a host's tasks down."""

from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from histories import examples
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.hosts import Instance, Model
from bot.domain.ids import InstanceId, InstanceRef, ModelKey
from bot.fleet import inventory
from bot.fleet.inventory import Garbled

SOCKET_LLM = {
    "type": "llm",
    "modelKey": "qwen/qwen3-4b",
    "displayName": "Qwen3 4B",
    "sizeBytes": 2_500_000_000,
    "vision": False,
    "trainedForToolUse": True,
    "maxContextLength": 32768,
    "architecture": "qwen3",
    "quantization": {"name": "Q4_K_M", "bits": 4},
}
QWEN = Model(
    ModelKey("qwen/qwen3-4b"),
    display_name="Qwen3 4B",
    size_bytes=2_500_000_000,
    max_context_length=32768,
    tool_use=True,
    architecture="qwen3",
    quantization="Q4_K_M",
)


def test_the_sockets_disk_listing() -> None:
    vision = {"type": "llm", "modelKey": "gemma", "vision": True, "quantization": "Q8_0"}
    embed = {"type": "embedding", "modelKey": "nomic"}
    models = inventory.socket_models([SOCKET_LLM, vision, embed])
    assert models[QWEN.key] == QWEN
    assert models[ModelKey("gemma")] == Model(
        ModelKey("gemma"), kind="vlm", vision=True, quantization="Q8_0"
    )
    assert models[ModelKey("nomic")].kind == "embedding"


def test_the_sockets_list_of_what_is_loaded() -> None:
    wire = SOCKET_LLM | {
        "identifier": "chat",
        "instanceReference": "abc",
        "contextLength": 8192,
        "ttlMs": None,
        "lastUsedTime": 1_767_225_600_000,
    }
    (seen,) = inventory.socket_instances([wire])
    assert seen == Instance(
        InstanceId("chat"),
        QWEN.key,
        InstanceRef("abc"),
        context_length=8192,
        size_bytes=2_500_000_000,
        last_used=1_767_225_600_000,
    )


def test_slots_and_reasoning_come_from_the_native_listing() -> None:
    native = {
        "models": [
            {
                "key": "qwen/qwen3-4b",
                "type": "llm",
                "capabilities": {"vision": False, "reasoning": {"default": "on"}},
                "loaded_instances": [{"id": "chat", "config": {"parallel": 4}}],
            }
        ]
    }
    wire = SOCKET_LLM | {"identifier": "chat", "instanceReference": "abc"}
    seen = inventory.socket_instances([wire])
    models, (seen,) = inventory.with_native({QWEN.key: QWEN}, seen, native)
    assert seen.parallel == 4
    assert models[QWEN.key].reasoning


def test_a_host_without_the_native_listing_answers_one_at_a_time() -> None:
    wire = SOCKET_LLM | {"identifier": "chat", "instanceReference": "abc"}
    unknown = {"error": "Unexpected endpoint or method. (GET /api/v1/models)"}
    seen = inventory.socket_instances([wire])
    models, (seen,) = inventory.with_native({QWEN.key: QWEN}, seen, unknown)
    assert (models, seen.parallel) == ({QWEN.key: QWEN}, 1)


def test_the_native_listing_of_0_4() -> None:
    payload: dict[str, Any] = {
        "models": [
            {
                "type": "llm",
                "key": "qwen/qwen3-4b",
                "display_name": "Qwen3 4B",
                "architecture": "qwen3",
                "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
                "size_bytes": 2_500_000_000,
                "max_context_length": 32768,
                "capabilities": {"vision": False, "trained_for_tool_use": True},
                "loaded_instances": [
                    {"id": "qwen/qwen3-4b", "config": {"context_length": 4096, "parallel": 2}},
                    {"id": "qwen/qwen3-4b:2", "config": {}},
                ],
            },
            {"type": "embedding", "key": "nomic", "loaded_instances": []},
        ]
    }
    assert inventory.has_list(payload, "models")
    models, (first, second) = inventory.v1_listing(payload)
    assert models[QWEN.key] == QWEN
    assert (first.context_length, first.parallel) == (4096, 2)
    assert second.identifier == "qwen/qwen3-4b:2"
    assert second.model_key == QWEN.key
    assert second.reference is None


def test_the_listing_of_0_3_names_a_loaded_model_by_its_identifier() -> None:
    payload = {
        "data": [
            {"id": "qwen", "type": "llm", "state": "loaded", "loaded_context_length": 4096},
            {"id": "qwen:2", "type": "llm", "state": "loaded"},
            {"id": "chat", "type": "vlm", "state": "loaded", "capabilities": ["tool_use"]},
            {"id": "nomic", "type": "embeddings", "state": "not-loaded", "arch": "bert"},
        ]
    }
    assert inventory.has_v0_shape(payload)
    models, residents = inventory.v0_listing(payload)
    assert set(models) == {"qwen", "chat", "nomic"}
    assert models[ModelKey("chat")].tool_use
    assert models[ModelKey("nomic")].kind == "embedding"
    seen = [(s.identifier, s.model_key) for s in residents]
    assert seen == [("qwen", "qwen"), ("qwen:2", "qwen"), ("chat", "chat")]


@pytest.mark.parametrize(
    ("payload", "v1", "v0", "plain"),
    [
        ({"models": []}, True, False, False),
        ({"data": [{"id": "a", "state": "loaded"}]}, False, True, True),
        ({"data": [{"id": "a"}]}, False, False, True),
        ({"data": []}, False, True, True),
        ({"error": "Unexpected endpoint or method. (GET /api/v1/models)"}, False, False, False),
        ([], False, False, False),
        (None, False, False, False),
        ("models", False, False, False),
        ({"models": "many"}, False, False, False),
    ],
)
def test_a_listing_is_known_by_its_keys(payload: object, v1: bool, v0: bool, plain: bool) -> None:
    assert inventory.has_list(payload, "models") is v1
    assert inventory.has_v0_shape(payload) is v0
    assert inventory.has_list(payload, "data") is plain


@pytest.mark.parametrize(
    ("listed", "disk", "loaded", "expected"),
    [
        (["a", "b"], ["a", "b"], [], False),
        (["a", "b"], ["a", "b"], [("a", "a")], False),
        ([], ["a", "b"], [], True),
        (["a"], ["a", "b"], [("a", "a")], True),
        (["chat"], ["a", "b"], [("chat", "a")], True),
        (["a", "a:2"], ["a", "b"], [("a", "a"), ("a:2", "a")], True),
        (["a"], ["a"], [("a", "a")], None),
        ([], [], [], None),
        (["other"], ["a"], [], None),
    ],
)
def test_the_listing_mode_follows_from_facts(
    listed: list[str], disk: list[str], loaded: list[tuple[str, str]], expected: bool | None
) -> None:
    models = {ModelKey(key): Model(ModelKey(key)) for key in disk}
    residents = [Instance(InstanceId(name), ModelKey(key)) for name, key in loaded]
    plain = {"data": [{"id": name} for name in listed]}
    assert inventory.lists_only_loaded(plain, models, residents) is expected
    assert inventory.lists_only_loaded({"error": "unknown path"}, models, residents) is None


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "a:2", "llm", "loaded", "Q4"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "models",
                    "data",
                    "id",
                    "key",
                    "modelKey",
                    "identifier",
                    "instanceReference",
                    "state",
                    "type",
                    "config",
                    "loaded_instances",
                    "capabilities",
                    "quantization",
                    "contextLength",
                    "sizeBytes",
                    "parallel",
                    "max_context_length",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)
READERS: list[Any] = [
    inventory.socket_models,
    inventory.socket_instances,
    inventory.v1_listing,
    inventory.v0_listing,
    inventory.plain_listing,
    inventory.has_v0_shape,
    partial(inventory.has_list, name="models"),
    partial(inventory.has_list, name="data"),
    partial(inventory.with_native, {QWEN.key: QWEN}, ()),
]


@pytest.mark.slow
@examples(60)
@given(json, st.sampled_from(READERS))
def test_nonsense_is_called_garbled_and_nothing_else(payload: object, read: Any) -> None:
    with suppress(Garbled):
        read(payload)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1, 0, True, "7", None, [7]])
def test_a_size_that_is_none_is_unknown(value: object) -> None:
    assert inventory.number({"size": value}, "size") is None
