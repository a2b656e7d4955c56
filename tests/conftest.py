"""Options of the whole suite."""

import asyncio
import functools
import gc
import inspect
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import apscheduler.job
import pytest
import structlog
import typer.main
from _pytest.pathlib import import_path
from _pytest.runner import runtestprotocol
from clocks import LoopClock
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from rows import rows_as_one

# How long an example takes says nothing about it: a busy machine must not fail a test.
# A third of the usual hundred: each run draws others, and `make nightly` plays thousands.
settings.register_profile(
    "dev", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=30
)
# A change is judged by the same examples each time, or a rare one of an older day refuses it.
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
settings.register_profile("nightly", settings.get_profile("dev"), max_examples=2_000)
# Thousands of mutants, each with the same few examples. Nobody reads their smallest form, and
# looking for that of a play took longer than a mutant may, which then counted as late.
settings.register_profile(
    "mutants",
    settings.get_profile("dev"),
    max_examples=25,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


P = ParamSpec("P")
T = TypeVar("T")

LONGEST_S = 300.0
"""No test that awaits takes a tenth of it, also where the machine stands still for a while.

One that plays as long as it is told to names its own by the mark ``longest``.
"""

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 1_000_000_000
_MANY_TASKS = 200
_SDK_TESTS = (
    "tests/clients/test_python_clients.py",
    "tests/sim/test_sim_answer_shapes.py",
    "tests/sim_providers/test_provider_anthropic_client.py",
    "tests/sim_providers/test_provider_openai_client.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Spares the tests what costs time and proves nothing.

    No test speaks TLS, and reading the system's certificates takes an HTTP client some 40 ms. No
    test pulls the plug, and waiting for the disk at each commit took longer than all the rest.
    Nobody reads what passing tests log: drawing an exception in boxes took longer than raising it.
    Randomness is injected, never that of the module, which was seeded anew three times a test.
    """
    config.option.randomly_reset_seed = False
    *processors, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*processors, plain])
    # Each start of a Lantern had it look for what its ten jobs take: a millisecond.
    apscheduler.job.check_callable_args = _taken_as_it_is
    gc.disable()  # until all tests are collected
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)
    # A container may have 64 MB of it only.
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES:
        os.environ.setdefault("TMPDIR", str(_MEMORY))
        tempfile.tempdir = None  # as far as it was asked for before


def _taken_as_it_is(*_what: object) -> None:
    """Stands for a check of the timer's library, of jobs that are all of one function."""


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> list[pytest.Item] | None:
    """Makes one test of the rows of a table, where workers share the tests.

    Finding, sending and telling a test takes longer than most rows do: together an eighth of the
    whole time. Without workers each row is a test, for whoever looks for one.

    Rows that await have a loop each, as tests have.
    """
    tries = int(collector.config.getoption("tries") or 1)
    if not hasattr(collector.config, "workerinput") or tries > 1:
        return None
    together = rows_as_one(obj, on_a_loop) if name.startswith("test") else None
    if together is None or not isinstance(collector, pytest.Module):
        return None
    # Untyped in pytest.
    item: pytest.Function = cast("Any", pytest.Function).from_parent(
        collector, name=name, callobj=together
    )
    # What its module lays out anew for each test is so for each row.
    return None if set(item.fixturenames) - {"event_loop_policy"} else [item]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Ends each test that waits for what never comes: broken code hung the suite for hours."""
    # A test with the loop's time in its hands lets minutes pass at once, and is ended by its clock.
    if (
        isinstance(item, pytest.Function)
        and inspect.iscoroutinefunction(item.obj)
        and "loop_clock" not in item.fixturenames
    ):
        mark = item.get_closest_marker("longest")
        item.obj = bounded(item.obj, mark.args[0] if mark else LONGEST_S)


def bounded(
    test: Callable[..., Coroutine[Any, Any, None]], longest_s: float = LONGEST_S
) -> Callable[..., Coroutine[Any, Any, None]]:
    """The same test, which fails where it still waits after so long."""

    @functools.wraps(test)
    async def run(*args: object, **kwargs: object) -> None:
        async with asyncio.timeout(longest_s):
            await test(*args, **kwargs)

    return run


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]], **row: object) -> None:
    """Plays one row of a table on a loop of its own, as pytest-asyncio plays a test."""
    [new_loop] = pytest_asyncio_loop_factories().values()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(bounded(test)(**row))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop that ``lantern run`` takes, where there is one; it is quicker too."""
    try:
        import uvloop
    except ImportError:
        return {"asyncio": _new_loop(asyncio.new_event_loop)}

    class Loop(uvloop.Loop):
        """A loop with the threads of those before it."""

        async def shutdown_default_executor(self, timeout: float | None = None) -> None:
            del timeout  # of Python 3.12, five minutes
            await _threads().rest()

    def new_loop() -> asyncio.AbstractEventLoop:
        loop = Loop()
        loop.set_default_executor(_threads())
        return loop

    return {"uvloop": _new_loop(new_loop)}


class _Threads(ThreadPoolExecutor):
    """Threads for one loop after the other.

    Every other test has something done in one: to begin it, and another to wait for its end, took
    each of them a millisecond.
    """

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self._under_way = set[Future[Any]]()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        work = super().submit(fn, *args, **kwargs)
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return work

    async def rest(self) -> None:
        """Returns when all that was begun is done."""
        # They may end meanwhile.
        if under_way := list(self._under_way):
            await asyncio.wait([asyncio.wrap_future(work) for work in under_way])

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Asked of each loop's executor as the loop is closed; the next one goes on with these."""


_threads = cache(_Threads)
if hasattr(os, "register_at_fork"):
    # A process begun for each mutant has the executor, and none of its threads.
    os.register_at_fork(after_in_child=_threads.cache_clear)


def _new_loop(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> Callable[[], asyncio.AbstractEventLoop]:
    """The same factory, which first has asyncio forget the finished tasks of earlier loops.

    Collected as seldom as they are here, thousands lay about, and each loop that is closed looks
    at all there are: four hundredths of the whole time.
    """
    # Of Python 3.11; its successors keep another list.
    known: Collection[asyncio.Task[object]] = vars(asyncio.tasks).get("_all_tasks", ())

    def made() -> asyncio.AbstractEventLoop:
        if len(known) > _MANY_TASKS:
            # A loop in another thread may begin a task meanwhile: then the next test forgets them.
            with suppress(RuntimeError):
                for task in list(known):
                    if task.done():
                        asyncio.tasks._unregister_task(task)
        return factory()

    return made


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Has each worker compile its share of the tests, where nobody has before.

    All three compiled all of them, side by side: of a first run twenty seconds on two cores. Only
    then does each import the others' shares, which are written by that time.
    """
    worker: dict[str, str | int] = getattr(session.config, "workerinput", {})
    if not worker:
        return
    workers, number = int(worker["workercount"]), int(str(worker["workerid"]).removeprefix("gw"))
    if number == 0:
        # Writes down what Unicode has, for the others to read: two seconds, the first time.
        st.text().validate()
    folders = [Path(folder) for folder in session.config.args]
    files = sorted(file for folder in folders for file in folder.rglob("test_*.py"))
    for file in files[number % workers :: workers]:
        # Whatever is wrong with one of them is told when it is collected.
        with suppress(Exception, pytest.skip.Exception):
            import_path(
                file,
                mode=str(session.config.getoption("importmode")),
                root=session.config.rootpath,
                consider_namespace_packages=False,
            )


def pytest_collection_finish() -> None:
    """Leaves modules and tests out of every later garbage collection: they all stay anyway.

    And collects seldom: a collection for every 700 new objects was a tenth of the whole time.
    """
    # Each call of the command line made its commands anew of all their signatures: 10 ms.
    typer.main.get_command = cache(typer.main.get_command)
    gc.freeze()
    gc.set_threshold(100_000)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Lets a worker tell the one that prints what is printed, and nothing else.

    It sent five messages for each test, and three of them said that its fixtures were well; most
    of what the others held were keywords that nobody reads of a test that passed.
    """
    if not hasattr(item.config, "workerinput") or item.config.getoption("durations") is not None:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            if report.passed:
                report.keywords = {}
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture
async def loop_clock(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[LoopClock]:
    """The time of the test's loop, in the test's hands."""
    clock = LoopClock(monkeypatch)
    with clock.guarded():
        yield clock


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lantern")
    group.addoption(
        "--lan-host",
        metavar="ADDRESS:PORT",
        help="a real LM Studio for the tests marked lan; run them with -m lan",
    )
    group.addoption("--lan-token", metavar="TOKEN", help="its API token, when it wants one")
    group.addoption(
        "--lan-model", metavar="KEY", help="the model to load on it; the smallest by default"
    )
    group.addoption("--rewrite", action="store_true", help="take what is told now into words.txt")
    group.addoption("--tries", type=int, default=1, metavar="N", help="run every test N times")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test as often as ``--tries`` says: what fails once in ten times is found by ten."""
    tries = int(metafunc.config.getoption("tries") or 1)
    if tries > 1:
        metafunc.fixturenames.append("number_of_try")
        metafunc.parametrize("number_of_try", range(tries))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests marked lan out unless they are asked for by name.

    In random order, but the long ones first: one begun as the last leaves the other cores idle.
    """
    away = set[pytest.Item]()
    if "lan" not in str(config.getoption("markexpr")):
        away |= {item for item in items if item.get_closest_marker("lan") is not None}
        config.hook.pytest_deselected(items=list(away))
    here = [item for item in items if item not in away]
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = _dealt(here, workers)


def _dealt(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Each worker's part, as xdist cuts them, with its share of the slow tests at its beginning.

    Those that import the SDKs of providers are the first one's alone: it takes three seconds.
    """
    sdk = [item for item in items if item.nodeid.startswith(_SDK_TESTS)]
    others = [item for item in items if not item.nodeid.startswith(_SDK_TESTS)]
    slow = [item for item in others if item.get_closest_marker("slow") is not None]
    short = [item for item in others if item.get_closest_marker("slow") is None]
    dealt = list[pytest.Item]()
    for number in range(workers):
        end = len(items) * (number + 1) // workers
        dealt += sdk if number == 0 else []
        dealt += slow[number::workers]
        rest = max(0, end - len(dealt))
        dealt += short[:rest]
        short = short[rest:]
    return dealt + short
