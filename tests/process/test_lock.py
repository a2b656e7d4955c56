import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import GUARD_S

from bot.domain.errors import ConfigError
from bot.domain.hosts import LoadHolder
from bot.process.lock import AlreadyRunning, instance_lock, sole_load

HOLD = """
import sys
from pathlib import Path
from bot.process.lock import instance_lock
with instance_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_stands_beside_the_database(tmp_path: Path) -> None:
    with instance_lock(tmp_path / "new" / "lantern.db") as lock_file:
        assert lock_file == (tmp_path / "new" / "lantern.db.lock").resolve()
        assert lock_file.exists()


def test_of_a_place_where_nothing_is_no_tree_of_folders_is_made(tmp_path: Path) -> None:
    missing = tmp_path / "mistyped"
    with (
        pytest.raises(ConfigError, match=f"there is no folder {missing}. Make it"),
        instance_lock(missing / "lantern" / "lantern.db"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such owners")
def test_the_lock_is_its_databases_owners_whoever_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root's look at the database of a service that stood still made the lock root's, and the
    # service did not start any more.
    path, given = tmp_path / "lantern.db", list[tuple[int, int, int]]()
    path.touch()
    owner = path.stat()

    def fchown(file: int, user: int, group: int) -> None:
        given.append((os.fstat(file).st_ino, user, group))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", fchown)
    for _ in range(2):
        with instance_lock(path):
            pass
    lock = path.with_name("lantern.db.lock").stat()
    assert given == [(lock.st_ino, owner.st_uid, owner.st_gid)]
    with instance_lock(tmp_path / "new.db"):
        assert len(given) == 1


def test_a_second_lantern_is_refused_by_name_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lantern.db"
    with instance_lock(path) as lock_file:
        with pytest.raises(AlreadyRunning, match="Another Lantern") as refused, instance_lock(path):
            pass
        assert str(lock_file) in refused.value.user_message
        with pytest.raises(AlreadyRunning), instance_lock(path):
            pass


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_locks_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "lantern.db"
    with instance_lock(path), sole_load(path, "10.0.0.1:1234"):
        assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("*.lock")} == {0o600}


def test_who_loads_at_a_host_is_known_by_its_number_and_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.process.lock.SIGN_EVERY_S", 0.001)
    path = tmp_path / "lantern.db"
    with sole_load(path, "10.0.0.1:1234") as mine, sole_load(path, "10.0.0.2:1234") as other:
        assert (mine, other) == (None, None)
        signs = set[int | None]()
        deadline = time.monotonic() + GUARD_S
        while len(signs) < 3 and time.monotonic() < deadline:
            with sole_load(path, "10.0.0.1:1234") as holder:
                assert holder is not None
                assert holder.pid == os.getpid()
                signs.add(holder.sign)
        assert len(signs) >= 3
        assert None not in signs
        # An older Lantern leaves no word, and is never taken for stopped.
        (lock_file,) = tmp_path.glob("*10.0.0.2*.lock")
        lock_file.write_text("", encoding="utf-8")
        with sole_load(path, "10.0.0.2:1234") as holder:
            assert holder == LoadHolder(None, None)
    with sole_load(path, "10.0.0.1:1234") as free:
        assert free is None


def test_a_holder_is_known_for_a_guest_and_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "lantern.db"
    for is_guest, told in ((True, os.getpid()), (False, None), (True, os.getpid())):
        with instance_lock(path, is_guest=is_guest):
            assert _holder(path) == told
    # An older Lantern leaves whatever is there.
    for left in (b"", b"guest", b"guest x", b"\xff", b"serve 7"):
        with instance_lock(path) as lock_file:
            lock_file.write_bytes(left)
            assert _holder(path) is None, left


def _holder(path: Path) -> int | None:
    with pytest.raises(AlreadyRunning) as refused, instance_lock(path):
        pass
    return refused.value.guest


def test_a_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    path = tmp_path / "lantern.db"
    # What was raised keeps the block's frame: nothing is let go by being forgotten.
    with pytest.raises(KeyError) as kept, instance_lock(path):
        raise KeyError

    with instance_lock(path):
        pass
    assert kept.tb is not None


def test_two_databases_have_two_locks(tmp_path: Path) -> None:
    with instance_lock(tmp_path / "a.db"), instance_lock(tmp_path / "b.db"):
        pass


def test_one_database_by_two_names_has_one_lock(tmp_path: Path) -> None:
    path = tmp_path / "lantern.db"
    path.touch()
    other = tmp_path / "other.db"
    try:
        other.symlink_to(path)
    except OSError:
        pytest.skip("no right to make symbolic links here")

    with instance_lock(path), pytest.raises(AlreadyRunning), instance_lock(other):
        pass


def test_a_place_where_no_lock_can_be_made_is_a_fault_of_the_configuration(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(ConfigError, match=r"cannot be made.*storage\.url"),
        instance_lock(tmp_path / "file" / "lantern.db"),
    ):
        pass


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has file systems without locks")
def test_where_the_file_system_knows_no_locks_none_is_feigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)

    with (
        pytest.raises(ConfigError, match="Function not implemented"),
        instance_lock(tmp_path / "lantern.db"),
    ):
        pass


@pytest.mark.slow
@pytest.mark.ops
def test_the_lock_of_a_killed_lantern_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lantern.db"
    command = [sys.executable, "-c", HOLD, str(path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning), instance_lock(path):
            pass
        holder.kill()
        holder.wait(10)
        with instance_lock(path):
            pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux has a folder that takes no file")
def test_a_folder_that_takes_no_lock_is_no_other_lantern() -> None:
    with pytest.raises(ConfigError, match="cannot be made"), instance_lock(Path("/proc/l.db")):
        pass
