"""Merges every place settings come from into one tree, or lists everything that is wrong."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial, reduce
from operator import itemgetter
from pathlib import Path

from pydantic import ValidationError

from bot.documents.faults import explain, known_paths, shown, unknown_key
from bot.documents.values import split_list
from bot.documents.yaml import Document, Plain, dotted
from bot.documents.yaml import Path as KeyPath
from bot.domain.errors import ConfigError
from bot.policy.names import nearest
from bot.process.redaction import Redactor
from bot.settings.layers import (
    DEFAULT_ORIGIN,
    PREFIX,
    Layer,
    Variables,
    address_of,
    merge_hosts,
    variable_name,
)
from bot.settings.loaded import Loaded, leaves
from bot.settings.sources import (
    CONFIG_NAME,
    CONFIG_VARIABLE,
    DISCORD_VARIABLE,
    ENV_NAME,
    file_layer,
    follow_pointers,
    preset_layer,
    read_config,
    read_dotenv,
    read_environ,
    read_secrets,
    variables_layer,
)
from bot.settings.tree import Settings
from bot.settings.values import LOCAL, split_hosts

SECRETS_VARIABLE = "LANTERN_SECRETS_DIR"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""systemd's own variable for ``LoadCredential=``."""

_MISNAMED = ("config.yml", "lantern.yaml", "lantern.yml", "settings.yaml")

_TELLING = re.compile("token|key|secret|pass", re.IGNORECASE)
"""Names of variables that hold secrets."""

_AT_LINE = re.compile(r"([^:]*) line ([0-9]+)")
"""Begins a fault that stands in a file."""

_ALIKE = 0.8
"""From this share of matching characters on, a variable is taken for a misspelt setting."""

_NAMESAKE = 0.85
"""The same for variables that are no settings, `_` apart; OPENAI_API_BASE is OPENAI_API_KEY by 0.8.
"""


def load_settings(
    config: Path | None, environ: Mapping[str, str], cwd: Path, *, needs_secrets: bool = True
) -> Loaded:
    """The settings; environment beats ``.env``, secret files, the config file and defaults.

    Args:
        config: the file given by ``--config``, if any.
        environ: the process's environment.
        cwd: the working directory.
        needs_secrets: whether a variable that is named for a secret must be set.

    Raises:
        ConfigError: something is wrong; lists every fault with its place.
    """
    # The config file is looked for by what the environment and .env say, and then brings the .env
    # of its own folder: what starts a service stands in another one.
    env, dotenv = read_environ(environ), read_dotenv(cwd / ENV_NAME)
    path, named_by = _config_path(config, {**dotenv.variables, **env.variables}, cwd)
    base = path.parent if path else cwd
    if not (cwd / ENV_NAME).exists():
        dotenv = read_dotenv(base / ENV_NAME)
    file = path or cwd / CONFIG_NAME
    source = str(file.relative_to(cwd) if file.is_relative_to(cwd) else file)
    document = read_config(file, source, named_by) if path else Document()
    said = {**dotenv.variables, **env.variables}
    secrets = read_secrets(_secrets_directories(said, document, base))
    variables = {**secrets.variables, **said}

    strangers = _strangers(env.variables)
    from_file, written = file_layer(document, source)
    layers = (
        variables_layer(env.variables, but=strangers),
        variables_layer(dotenv.variables),
        variables_layer(secrets.variables),
        from_file,
        preset_layer(variables),
    )
    # Pointers are followed last: what a nearer layer has replaced is asked for by nobody.
    by_variables, hosts_merged = merge_hosts(reduce(Layer.over, layers[:3]), from_file)
    merged, dead = follow_pointers(reduce(Layer.over, (by_variables, *layers[3:])), variables)

    found = (
        *dotenv.faults,
        *secrets.faults,
        *document.faults,
        *written,
        *(dead if needs_secrets else ()),
    )
    settings = _faultless(merged, layers, variables, found, are_hosts_merged=bool(hosts_merged))
    return Loaded(
        settings=settings,
        origins={
            dotted(path): merged.origin(path) if is_set else DEFAULT_ORIGIN
            for path, _, is_set in leaves(settings)
        },
        config_path=path,
        base_dir=base,
        cwd=cwd,
        warnings=(
            *dotenv.warnings,
            *(words for words in strangers.values() if words),
            *([hosts_merged] if hosts_merged else []),
            *_namesakes(dotenv.variables, variables, settings),
            *_silent(None if path else cwd, said, settings, layers[:-1]),
        ),
    )


def _faultless(
    merged: Layer,
    layers: Sequence[Layer],
    variables: Variables,
    found: Iterable[str],
    *,
    are_hosts_merged: bool,
) -> Settings:
    """The settings, where nothing at all is wrong.

    Raises:
        ConfigError: every fault there is, those ``found`` as the sources were read among them.
    """
    # Hides whatever a variable with a telling name holds, wherever else it was written.
    redactor = Redactor(v.value for name, v in variables.items() if _TELLING.search(name))
    settings, wrong = _validated(merged, layers, redactor)
    # These look at unchecked values: whoever got several things wrong is told all of them at once.
    crossed = (*_twin_faults(merged, redactor), *_order_faults(merged, redactor))
    faults = (*found, *wrong, *crossed)
    if settings is not None and not faults:
        return settings
    # A host's number among those of two places is its number in neither of them.
    told = (_with_host(fault, merged) if are_hosts_merged else fault for fault in faults)
    # One line once, however many values it spoils.
    raise ConfigError(_by_line(dict.fromkeys(told)))


# --- places --------------------------------------------------------------------------------


def _config_path(config: Path | None, variables: Variables, cwd: Path) -> tuple[Path | None, str]:
    """The file that was named, which must be there, and by what; else the usual one, if there."""
    if config is not None:
        return cwd / config, "--config"
    if named := variables.get(CONFIG_VARIABLE):
        return cwd / named.value, named.origin
    # Only a file that somebody named must be there: two variables are a whole set-up.
    usual = cwd / CONFIG_NAME
    return (usual if usual.exists() else None), ""


def _secrets_directories(variables: Variables, document: Document, base: Path) -> list[Path]:
    """The one that was named, then systemd's."""
    named = variables.get(SECRETS_VARIABLE)
    chosen = named.value if named else document.values.get("secrets_dir")
    credentials = variables.get(CREDENTIALS_VARIABLE)
    paths = [base / chosen] if isinstance(chosen, str) else []
    return paths + ([Path(credentials.value)] if credentials else [])


# --- faults --------------------------------------------------------------------------------


def _validated(
    merged: Layer, layers: Sequence[Layer], redactor: Redactor
) -> tuple[Settings | None, list[str]]:
    """The tree, or every fault of a value with its place."""
    # pydantic-settings' own readers stop at the first value they cannot decode, name neither
    # variable nor line, and print the value; so it only checks what was merged here (ADR 2).
    try:
        return Settings(_build_sources=((partial(dict, merged.values),), {})), []  # pyright: ignore[reportCallIssue]  # hidden behind the fields
    except ValidationError as error:
        faults: list[str] = []
        for fault in explain(error, Settings, redactor):
            if fault.kind == "extra_forbidden":
                faults += _unknown(fault.path, merged, layers)
            else:
                faults.append(f"{merged.origin(fault.path)}: {fault.words}")
        return None, faults


def _with_host(fault: str, merged: Layer) -> str:
    """A fault that calls hosts by what they are called, instead of by number."""
    hosts = merged.values.get("hosts")

    def called(found: re.Match[str]) -> str:
        host = hosts[int(found[1])] if isinstance(hosts, list) else None
        name = host.get("name") or host.get("address") if isinstance(host, dict) else host
        return found[0] if name is None else f"hosts ({name})"

    return re.sub(r"\bhosts\.(\d+)\b", called, fault)


def _by_line(faults: Iterable[str]) -> tuple[str, ...]:
    """Each place's faults together, in the order of its lines: who mends a file goes down it."""
    places: dict[str, int] = {}
    told: list[tuple[int, int, str]] = []
    for fault in faults:
        at = _AT_LINE.match(fault)
        place, line = (at[1], int(at[2])) if at else (fault, 0)
        told.append((places.setdefault(place, len(places)), line, fault))
    return tuple(fault for *_, fault in sorted(told, key=itemgetter(0, 1)))


def _unknown(path: KeyPath, merged: Layer, layers: Sequence[Layer]) -> Iterator[str]:
    """A fault for each place that says an unknown key, spelt as it is spelt there."""
    # A host's number in one place is not its number among the merged ones.
    for layer in [merged] if path[0] == "hosts" else layers:
        if not layer.is_variables:
            if layer.decides(path):
                yield f"{layer.origin(path)}: {unknown_key(path, Settings)}"
            continue
        name = variable_name(path)
        likely = _likely(name)
        words = f"{name} is not known; nearest: {', '.join(likely)}"
        if not likely:
            words = unknown_key(path, Settings, variable_name)
        yield from (f"{origin}: {words}" for origin in layer.origins_below(path))


def _likely(name: str) -> list[str]:
    """The variables that are settings and that a variable of another name may have meant."""
    bare = name.removeprefix(PREFIX)
    settings = {variable_name(path).removeprefix(PREFIX): path for path in known_paths(Settings)}
    # Whoever writes LANTERN_STRATEGY knows the key and forgot its section.
    ends = [known for known, path in settings.items() if str(path[-1]).upper() == bare]
    # One "_" for two is the commonest slip.
    flat = {known.replace("__", "_"): known for known in settings}
    near = [flat[like] for like in get_close_matches(bare, flat, cutoff=_ALIKE)]
    if bare in flat:
        near = [flat[bare]]
    return [PREFIX + known for known in (ends or near)[:3]]


def _twin_faults(merged: Layer, redactor: Redactor) -> Iterator[str]:
    """A fault for each host with the address or the name of another."""
    try:
        hosts = split_hosts(merged.values.get("hosts"))
    except ValueError:
        return
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for at, host in enumerate(hosts if isinstance(hosts, list) else ()):
        address = address_of(host)
        if address is None:
            continue
        # Hosts without a name are called by their address: one whose name is the address of such
        # a host took its place, and nothing told of it.
        name = host.get("name") if isinstance(host, dict) else None
        called = (address, "address") if name is None else (str(name), "name")
        for kind, (value, key) in (("address", (address, "address")), ("name", called)):
            first, its = seen.setdefault((kind, value.casefold()), (at, key))
            if first != at:
                path: KeyPath = ("hosts", at, key)
                words = f"{dotted(path)} is {shown(value, redactor)}, and so is hosts.{first}.{its}"
                yield f"{merged.origin(path)}: {words}; expected another one for each host"


def _order_faults(merged: Layer, redactor: Redactor) -> Iterator[str]:
    """A fault for each name in an order that is no provider's."""
    routing, providers = merged.values.get("routing"), merged.values.get("providers")
    if not isinstance(routing, dict):
        return
    known = set(providers) if isinstance(providers, dict) else set[str]()
    types = routing.get("request_types")
    orders: list[tuple[KeyPath, Plain, set[str]]] = [
        (("routing", "cloud"), routing.get("cloud"), known)
    ]
    for name, order in sorted(types.items()) if isinstance(types, dict) else ():
        orders.append((("routing", "request_types", name), order, {LOCAL, *known}))
    for path, order, names in orders:
        items = split_list(order)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, str) and item not in names:
                words = f"{dotted(path)} names {shown(item, redactor)}, which is no provider"
                near = nearest(item, sorted(names), 1) or sorted(names)
                yield f"{merged.origin(path)}: {words}; nearest: {', '.join(near)}"


# --- warnings ------------------------------------------------------------------------------


def _strangers(environ: Variables) -> dict[str, str]:
    """The environment's variables that only look like settings, each with a warning or nothing."""
    # Docker links and Kubernetes put LANTERN_PORT=tcp://… and LANTERN_SERVICE_HOST into whatever
    # runs beside a service called lantern; as unknown settings they stopped the start.
    settings = {variable_name(path) for path in known_paths(Settings)}
    found: dict[str, str] = {}
    for name in sorted(environ):
        # A variable with `__` can hardly be anything but a setting: a wrong one stays a fault.
        bare = name.removeprefix(PREFIX)
        if bare == name or "__" in bare or name in (*settings, CONFIG_VARIABLE):
            continue
        words = f"{environ[name].origin}: {name} is no setting and is not read; nearest: "
        found[name] = words + ", ".join(likely) if (likely := _likely(name)) else ""
    return found


def _namesakes(dotenv: Variables, variables: Variables, settings: Settings) -> Iterator[str]:
    """A warning for each variable of ``.env`` that is called nearly as one that is set nowhere."""
    # Of the environment nothing is said: whatever runs on the machine puts names of its own there.
    named = [host.token_env for host in settings.hosts]
    named += [provider.api_key_env for provider in settings.providers.values()]
    read = {DISCORD_VARIABLE, *filter(None, named)}
    unset = {name.replace("_", ""): name for name in sorted(read - set(variables))}
    for name in sorted(set(dotenv) - read):
        # In small letters it has words of its own; and XAI_API_KEY is not Z_AI_API_KEY misspelt:
        # hardly anybody mistypes the first letter.
        if name.upper() == DISCORD_VARIABLE:
            continue
        bare = name.upper().replace("_", "")
        for near in get_close_matches(bare, unset, n=1, cutoff=_NAMESAKE):
            if near[0] == bare[0]:
                yield f"{dotenv[name].origin}: it is not read; nearest: {unset[near]}"


def _silent(
    folder: Path | None, said: Variables, settings: Settings, layers: Sequence[Layer]
) -> Iterator[str]:
    """Words for what was meant to be said and is not heard.

    A file of the folder taken for the config file, where there is none; a variable in small
    letters; a configured provider that stays off.
    """
    for name in _MISNAMED:
        if folder is not None and (folder / name).exists():
            yield f"{name} is not read; rename it to {CONFIG_NAME}, or name it by --config"
    for name, variable in sorted(said.items()):
        # Windows knows no small letters there; elsewhere `lantern_hosts` was silently nothing.
        if name != name.upper() and name.upper().startswith((PREFIX, DISCORD_VARIABLE)):
            yield f"{variable.origin}: {name} is not read; write {name.upper()}"
    for name, provider in settings.providers.items():
        # The presets are always there: of a provider nobody spoke of there is nothing to tell.
        is_asked = any(layer.decides(("providers", name)) for layer in layers)
        if is_asked and not provider.is_on:
            yield f"provider {name} stays off: {provider.api_key_env} is set nowhere"
