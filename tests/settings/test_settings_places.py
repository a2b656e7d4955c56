"""Which place beats which, and where files are looked for."""

import os
from pathlib import Path

import pytest
from histories import examples
from hypothesis import given
from hypothesis import strategies as st
from settings_files import DISCORD_TOKEN, load

from bot.settings import load_settings


def test_environment_beats_dotenv_beats_secret_files_beats_the_file(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "lantern_log__level").write_text("warning\n")
    config, dotenv = "log: {level: debug, format: json}", "LANTERN_LOG__LEVEL=error\n"
    environ = {"CREDENTIALS_DIRECTORY": str(secrets)}
    assert load(tmp_path, config).settings.log.level == "debug"
    assert load(tmp_path, config, environ).settings.log.level == "warning"
    assert load(tmp_path, config, environ, dotenv).settings.log.level == "error"
    environ["LANTERN_LOG__LEVEL"] = "critical"
    loaded = load(tmp_path, config, environ, dotenv)
    assert loaded.settings.log.level == "critical"
    assert loaded.settings.log.format == "json"
    assert loaded.origins["log.format"] == "config.yaml line 1"


LAYERS = st.lists(st.sampled_from(["environ", "dotenv", "secrets", "config"]), unique=True)


@pytest.mark.slow
@given(said=LAYERS, values=st.lists(st.integers(1, 10**6), min_size=4, max_size=4, unique=True))
@examples(20)
def test_the_nearest_layer_that_says_a_key_wins(
    tmp_path_factory: pytest.TempPathFactory, said: list[str], values: list[int]
) -> None:
    here = tmp_path_factory.mktemp("layers")
    order = ["environ", "dotenv", "secrets", "config"]
    value = dict(zip(order, values, strict=True))
    name = "LANTERN_CACHE__MAX_ENTRIES"
    (here / "secrets").mkdir()
    if "secrets" in said:
        (here / "secrets" / name).write_text(str(value["secrets"]))
    environ = {"LANTERN_SECRETS_DIR": str(here / "secrets")}
    if "environ" in said:
        environ[name] = str(value["environ"])
    loaded = load(
        here,
        f"cache: {{max_entries: {value['config']}}}" if "config" in said else None,
        environ,
        f"{name}={value['dotenv']}\n" if "dotenv" in said else None,
    )
    nearest = next((layer for layer in order if layer in said), None)
    assert loaded.settings.cache.max_entries == (value[nearest] if nearest else 1000)
    begins = {
        "environ": "environment variable",
        "dotenv": ".env line 1",
        "secrets": "secrets file",
        "config": "config.yaml line 1",
        None: "default",
    }
    assert loaded.origins["cache.max_entries"].startswith(begins[nearest])


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    loaded = load(tmp_path, "log: {level: debug}", {"LANTERN_LOG__LEVEL": "", "DISCORD_TOKEN": " "})
    assert loaded.settings.log.level == "debug"
    assert loaded.settings.discord.token is None


def test_an_explicit_key_beats_a_named_one_beats_the_usual_one(tmp_path: Path) -> None:
    def key(config: str, **environ: str) -> str:
        (secret,) = load(tmp_path, config, environ).secrets
        return secret

    named = "providers: {zai: {api_key_env: OTHER_KEY}}"
    usual = {"Z_AI_API_KEY": "usual-key-1"}
    assert key("", **usual) == "usual-key-1"
    assert key(named, OTHER_KEY="other-key-1", **usual) == "other-key-1"
    explicit = {"LANTERN_PROVIDERS__ZAI__API_KEY": "explicit-key-1"}
    assert key(named, OTHER_KEY="other-key-1", **usual, **explicit) == "explicit-key-1"


def test_a_token_that_a_variable_replaces_needs_none_of_the_file(tmp_path: Path) -> None:
    config = "hosts: [{address: a, token_env: STUDIO_TOKEN}]"
    variable = '[{"address": "a", "token_env": "OTHER_TOKEN"}]'
    environ = {"LANTERN_HOSTS": variable, "OTHER_TOKEN": "sk-lm-other"}
    (host,) = load(tmp_path, config, environ).settings.hosts
    assert host.token is not None
    assert host.token.get_secret_value() == "sk-lm-other"


def test_secrets_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "discord_token").write_text(DISCORD_TOKEN + "\n")
    (tmp_path / "run" / "Z_AI_API_KEY").write_text("0123456789abcdef")
    (tmp_path / "run" / "unrelated").write_bytes(b"\xff")
    config = "secrets_dir: run"
    (tmp_path / "run" / "unrelated").unlink()
    loaded = load(tmp_path, config)
    assert loaded.secrets == (DISCORD_TOKEN, "0123456789abcdef")
    assert loaded.origins["discord.token"].startswith("secrets file ")


def test_a_named_config_file_brings_its_neighbours(tmp_path: Path) -> None:
    home, cwd = tmp_path / "etc", tmp_path / "work"
    (home / "personas").mkdir(parents=True)
    cwd.mkdir()
    (home / "lantern.yaml").write_text("log: {level: debug}")
    (home / ".env").write_text(f"DISCORD_TOKEN={DISCORD_TOKEN}")
    for config, environ in (
        (home / "lantern.yaml", {}),
        (None, {"LANTERN_CONFIG": str(home / "lantern.yaml")}),
        (None, {"LANTERN_CONFIG": "../etc/lantern.yaml"}),
    ):
        loaded = load_settings(config, environ, cwd)
        assert loaded.settings.log.level == "debug"
        assert loaded.personas_dir.resolve() == home / "personas"
        assert loaded.database_path.resolve() == home / "lantern.db"
        assert loaded.secrets == (DISCORD_TOKEN,)


def test_a_dotenv_of_the_working_directory_beats_that_of_the_config_file(tmp_path: Path) -> None:
    home = tmp_path / "etc"
    home.mkdir()
    (home / "lantern.yaml").write_text("")
    (home / ".env").write_text("LANTERN_LOG__LEVEL=error\nLANTERN_LOG__FORMAT=json\n")
    (tmp_path / ".env").write_text("LANTERN_LOG__LEVEL=debug\n")
    log = load_settings(home / "lantern.yaml", {}, tmp_path).settings.log
    assert (log.level, log.format) == ("debug", "auto")


def test_without_a_config_file_everything_is_in_the_working_directory(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.config_path is None
    assert loaded.personas_dir == tmp_path / "personas"
    assert loaded.database_path == tmp_path / "lantern.db"


def test_an_absolute_database_stays_where_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{(tmp_path / 'x.db').as_posix()}"
    assert load(tmp_path, environ={"LANTERN_STORAGE__URL": url}).database_path == tmp_path / "x.db"


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_dotenv_that_others_can_read_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DISCORD_TOKEN={DISCORD_TOKEN}")
    (tmp_path / ".env").chmod(0o644)
    (warning,) = load(tmp_path).warnings
    assert "chmod 600" in warning
