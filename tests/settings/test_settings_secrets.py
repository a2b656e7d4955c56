"""No secret is repeated, wherever somebody put it."""

import json
from pathlib import Path

import pytest
from histories import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from settings_files import LM_TOKEN, faults, load

from bot.settings import masked

SECRETS = st.one_of(
    st.from_regex(r"sk-lm-[A-Za-z0-9]{8}:[A-Za-z0-9]{20}", fullmatch=True),
    st.from_regex(r"sk-ant-api03-[A-Za-z0-9]{24}", fullmatch=True),
    st.from_regex(r"[a-f0-9]{32}\.[A-Za-z0-9]{16}", fullmatch=True),
    st.from_regex(r"[A-Z][A-Z0-9]{15,30}", fullmatch=True),
    st.from_regex(r"[!-~]{12,40}", fullmatch=True).filter(
        # What is a name is repeated where a name belongs.
        lambda s: not s.startswith(("[", "{")) and not s.isidentifier()
    ),
)

PLACES = [
    "token: {}",
    "discord: {{token: {}}}",
    "hosts: [{{address: a, token: {}}}]",
    "hosts: [{{address: a, token_env: {}}}]",
    "providers: {{zai: {{api_key: {}}}}}",
    "providers: {{zai: {{api_key_env: {}}}}}",
    "providers: {{zai: {{apikey: {}}}}}",
    "providers: {{zai: {{secret_key: {}}}}}",
    "providers: {{zai: {{model: [{}]}}}}",
    "log: {{levl: {}}}",
]


@pytest.mark.slow
@given(secret=SECRETS, place=st.sampled_from(PLACES))
@examples(20)
def test_no_secret_written_into_the_file_is_ever_repeated(
    tmp_path_factory: pytest.TempPathFactory, secret: str, place: str
) -> None:
    here = tmp_path_factory.mktemp("secret")
    found = faults(here, place.format(json.dumps(secret)))
    assert not any(secret in fault for fault in found)


@pytest.mark.slow
@given(
    secret=SECRETS,
    name=st.sampled_from(
        [
            "LANTERN_DISCORD__TOKN",
            "LANTERN_PROVIDERS__ZAI__API_KEYS",
            "LANTERN_PROVIDERS__ZAI__API_KEY_ENV",
            "LANTERN_SECRET",
        ]
    ),
)
@examples(20)
def test_no_secret_of_a_wrong_variable_is_ever_repeated(
    tmp_path_factory: pytest.TempPathFactory, secret: str, name: str
) -> None:
    here = tmp_path_factory.mktemp("secret")
    found = faults(
        here, environ={name: secret, "DISCORD_TOKEN": secret, "LANTERN_LOG__LEVEL": secret}
    )
    assert not any(secret in fault for fault in found)


@pytest.mark.parametrize(
    ("told", "is_repeated"), [("A" * 13 + "22", True), ("A" * 14, False), ("A" * 12 + "222", False)]
)
def test_only_what_reads_as_a_name_is_repeated_where_one_belongs(
    tmp_path: Path, told: str, *, is_repeated: bool
) -> None:
    (fault,) = faults(tmp_path, environ={"LANTERN_PROVIDERS__ZAI__API_KEY_ENV": told})
    assert (f"names {told}," if is_repeated else "names a variable,") in fault
    assert (told in fault) is is_repeated


@pytest.mark.slow
@given(secret=SECRETS)
@examples(20)
def test_no_secret_is_ever_shown(tmp_path_factory: pytest.TempPathFactory, secret: str) -> None:
    assume(secret.strip() == secret)
    here = tmp_path_factory.mktemp("secret")
    environ = {name: secret for name in ("DISCORD_TOKEN", "Z_AI_API_KEY", "STUDIO_TOKEN")}
    loaded = load(here, "hosts: [{address: a, token_env: STUDIO_TOKEN}]", environ)
    assert loaded.secrets == (secret, secret, secret)
    shown = "\n".join(" ".join(line.values()) for line in masked(loaded))
    assert secret not in shown
    assert secret not in repr(loaded)
    assert secret not in repr(loaded.host_configs)


def test_a_secret_in_the_file_is_told_where_it_belongs(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "hosts:\n- address: a\n  token: " + LM_TOKEN)
    assert fault == (
        "config.yaml line 3: hosts.0.token holds a secret, which may not stand in this file;"
        " put it in the environment, .env or secrets_dir and name its variable by token_env"
    )
    (fault,) = faults(tmp_path, "discord: {token: abc}")
    assert fault.endswith("a Discord token as DISCORD_TOKEN")
