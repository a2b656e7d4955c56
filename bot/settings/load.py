"""Merges every place settings come from into one tree, or lists everything that is wrong."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bot.documents.faults import explain, unknown_key
from bot.documents.yaml import Document, dotted
from bot.documents.yaml import Path as KeyPath
from bot.domain.errors import ConfigError
from bot.process.redaction import Redactor
from bot.settings.checks import cross_faults
from bot.settings.layers import (
    DEFAULT_ORIGIN,
    PREFIX,
    Layer,
    LayerSource,
    Variables,
    origin_of,
    variable_name,
)
from bot.settings.leaves import leaves
from bot.settings.loaded import Loaded
from bot.settings.places import (
    CONFIG_NAME,
    ENV_NAME,
    Found,
    read_config,
    read_dotenv,
    read_environ,
    read_secrets,
)
from bot.settings.sources import (
    CONFIG_VARIABLE,
    DISCORD_VARIABLE,
    file_layer,
    follow_pointers,
    preset_layer,
    variables_layer,
)
from bot.settings.tree import Settings

SECRETS_VARIABLE = "LANTERN_SECRETS_DIR"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""systemd's own variable for ``LoadCredential=``."""

_TELLING = re.compile("token|key|secret|pass", re.IGNORECASE)
"""Names of variables that hold secrets."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Everything that was read, before it is merged."""

    environ: Found
    dotenv: Found
    secrets: Found
    document: Document
    config_path: Path | None
    source: str
    """The config file as faults name it."""

    @property
    def variables(self) -> Variables:
        return {**self.secrets.variables, **self.dotenv.variables, **self.environ.variables}


def load_settings(config: Path | None, environ: Mapping[str, str], cwd: Path) -> Loaded:
    """The settings; environment beats ``.env``, secret files, the config file and defaults.

    Args:
        config: the file given by ``--config``, if any.
        environ: the process's environment.
        cwd: the working directory.

    Raises:
        ConfigError: something is wrong; lists every fault with its place.
    """
    places = _read_places(config, environ, cwd)
    layers, faults = _layers(places)
    redactor = _redactor(places.variables)
    settings, wrong = _validated(layers, redactor)
    faults += [*wrong, *cross_faults(layers, redactor)]
    if settings is None or faults:
        raise ConfigError(tuple(dict.fromkeys(faults)))
    return Loaded(
        settings=settings,
        origins={
            dotted(leaf.path): origin_of(layers, leaf.path) if leaf.is_set else DEFAULT_ORIGIN
            for leaf in leaves(settings)
        },
        config_path=places.config_path,
        base_dir=places.config_path.parent if places.config_path else cwd,
        cwd=cwd,
        warnings=(
            *places.dotenv.warnings,
            *_small_letters(places),
            *_silent_providers(settings, layers),
        ),
    )


def _read_places(config: Path | None, environ: Mapping[str, str], cwd: Path) -> _Places:
    from_environ = read_environ(environ)
    dotenv = read_dotenv(cwd / ENV_NAME)
    path, named_by = _config_path(config, {**dotenv.variables, **from_environ.variables}, cwd)
    if path is not None and not (cwd / ENV_NAME).exists():
        dotenv = read_dotenv(path.parent / ENV_NAME)
    source = _shown_path(path or cwd / CONFIG_NAME, cwd)
    document = read_config(path, source, named_by) if path else Document()
    variables = {**dotenv.variables, **from_environ.variables}
    directories = _secrets_directories(variables, document, path.parent if path else cwd)
    return _Places(from_environ, dotenv, read_secrets(directories), document, path, source)


def _config_path(config: Path | None, variables: Variables, cwd: Path) -> tuple[Path | None, str]:
    """The file that was named, which must be there, and by what; else the usual one, if there."""
    if config is not None:
        return cwd / config, "--config"
    if named := variables.get(CONFIG_VARIABLE):
        return cwd / named.value, named.origin
    usual = cwd / CONFIG_NAME
    return (usual if usual.exists() else None), ""


def _shown_path(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd) if path.is_relative_to(cwd) else path)


def _secrets_directories(variables: Variables, document: Document, base: Path) -> list[Path]:
    """The one that was named, then systemd's."""
    named = variables.get(SECRETS_VARIABLE)
    chosen = named.value if named else document.values.get("secrets_dir")
    credentials = variables.get(CREDENTIALS_VARIABLE)
    paths = [base / chosen] if isinstance(chosen, str) else []
    return paths + ([Path(credentials.value)] if credentials else [])


def _layers(places: _Places) -> tuple[tuple[Layer, ...], list[str]]:
    """The layers, nearest first, and what was found wrong while reading them."""
    from_file, faults = file_layer(places.document, places.source)
    faults = [*places.dotenv.faults, *places.secrets.faults, *places.document.faults, *faults]
    said = (
        variables_layer(places.environ.variables),
        variables_layer(places.dotenv.variables),
        variables_layer(places.secrets.variables),
        from_file,
        preset_layer(places.variables),
    )
    layers: list[Layer] = []
    for layer in said:
        followed, dead = follow_pointers(layer, places.variables)
        # What a nearer layer replaces is not asked for.
        hidden = {path for path in dead if any(nearer.decides(path) for nearer in layers)}
        faults += [fault for path, fault in dead.items() if path not in hidden]
        layers.append(followed)
    return tuple(layers), faults


def _validated(layers: Sequence[Layer], redactor: Redactor) -> tuple[Settings | None, list[str]]:
    sources = tuple(LayerSource(Settings, layer) for layer in layers)
    try:
        return Settings(_build_sources=(sources, {})), []  # pyright: ignore[reportCallIssue]  # hidden behind the fields
    except ValidationError as error:
        faults: list[str] = []
        for fault in explain(error, Settings, redactor):
            if fault.kind == "extra_forbidden":
                faults += _unknown(fault.path, layers)
            else:
                faults.append(f"{origin_of(layers, fault.path)}: {fault.words}")
        return None, faults


def _unknown(path: KeyPath, layers: Sequence[Layer]) -> list[str]:
    """A fault for each place that says an unknown key."""
    faults: list[str] = []
    for layer in layers:
        if layer.is_variables:
            words = unknown_key(path, Settings, variable_name)
            faults += [f"{origin}: {words}" for origin in layer.origins_below(path)]
        elif path in layer.origins:
            faults.append(f"{layer.origins[path]}: {unknown_key(path, Settings)}")
    return faults or [f"{origin_of(layers, path)}: {unknown_key(path, Settings)}"]


def _redactor(variables: Variables) -> Redactor:
    """Hides whatever a variable with a telling name holds, wherever else it was written."""
    return Redactor(v.value for name, v in variables.items() if _TELLING.search(name))


def _small_letters(places: _Places) -> list[str]:
    """Words for each variable that would be a setting, were it written in capitals."""
    said = {**places.dotenv.variables, **places.environ.variables}
    return [
        f"{variable.origin}: {name} is not read; write {name.upper()}"
        for name, variable in sorted(said.items())
        if name != name.upper() and name.upper().startswith((PREFIX, DISCORD_VARIABLE))
    ]


def _silent_providers(settings: Settings, layers: Sequence[Layer]) -> list[str]:
    """Words for each provider that somebody configured and that stays off."""
    asked = {name for layer in layers if not layer.is_preset for name in layer.providers}
    return [
        f"provider {name} stays off: {provider.api_key_env} is set nowhere"
        for name, provider in settings.providers.items()
        if name in asked and not provider.is_on
    ]
