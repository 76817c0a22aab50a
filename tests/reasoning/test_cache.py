from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from finemem_pipeline.reasoning import Asked, ReasonerError, Reply
from finemem_pipeline.reasoning.cache import AnswerCache

ASKED = Asked("Who?", ("a", "b"))
KEY = AnswerCache.key("x", ASKED)
GOOD = Reply("Ann, née Bó \ud800", (0, 1))


@pytest.mark.parametrize(
    "other",
    [
        AnswerCache.key("y", ASKED),
        AnswerCache.key("x", Asked("Whom?", ("a", "b"))),
        AnswerCache.key("x", Asked("Who?", ("b", "a"))),
        AnswerCache.key("x", Asked("Who?", ("a",))),
        AnswerCache.key("x", Asked("Who?", ("a", "b", ""))),
        AnswerCache.key("x", Asked("Who?", ("ab",))),
    ],
)
def test_the_key_tells_reasoners_questions_and_ordered_texts_apart(other: bytes):
    assert other != KEY
    assert AnswerCache.key("x", Asked("Who?", ("a", "b"))) == KEY


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_was_put_is_got_and_lookups_are_counted(tmp_path: Path, on_disk: bool):
    cache = AnswerCache(tmp_path / "deep" / "answers.sqlite" if on_disk else None)
    assert cache.get([KEY]) == {}
    cache.put({KEY: GOOD})
    assert cache.get([KEY, b"other", KEY]) == {KEY: GOOD}
    assert (cache.hits, cache.misses) == (1, 2)


def test_a_file_outlives_its_cache(tmp_path: Path):
    keys = [AnswerCache.key("x", Asked(str(i), ())) for i in range(1200)]
    AnswerCache(tmp_path / "a").put({key: Reply(str(i), (i % 2,)) for i, key in enumerate(keys)})
    found = AnswerCache(tmp_path / "a").get(keys)
    assert [found[key] for key in keys] == [Reply(str(i), (i % 2,)) for i in range(1200)]


def test_failures_are_not_kept(tmp_path: Path):
    cache = AnswerCache(tmp_path / "a")
    cache.put({KEY: Reply("", failure="the server was down")})
    assert cache.get([KEY]) == {}
    assert not (tmp_path / "a").exists()


def test_two_caches_share_a_file(tmp_path: Path):
    one, two = AnswerCache(tmp_path / "a"), AnswerCache(tmp_path / "a")
    one.put({b"1": Reply("one")})
    two.put({b"2": Reply("two")})
    assert one.get([b"1", b"2"]) == two.get([b"1", b"2"]) == {b"1": Reply("one"), b"2": Reply("two")}


WRITER = textwrap.dedent("""
    import sys
    from finemem_pipeline.reasoning import Asked, Reply
    from finemem_pipeline.reasoning.cache import AnswerCache
    cache, me = AnswerCache(sys.argv[1]), sys.argv[2]
    for i in range(int(sys.argv[3])):
        cache.put({AnswerCache.key(me, Asked(str(i), ())): Reply(f"{me} {i}")})
        print(i, flush=True)
""")


def writer(path: Path, name: str, times: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(times)], stdout=subprocess.PIPE, text=True
    )


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path):
    names = ["a", "b", "c"]
    assert [process.wait() for process in [writer(tmp_path / "a", name, 20) for name in names]] == [0, 0, 0]
    keys = {AnswerCache.key(name, Asked(str(i), ())): Reply(f"{name} {i}") for name in names for i in range(20)}
    assert AnswerCache(tmp_path / "a").get(list(keys)) == keys


def test_a_killed_writer_leaves_all_that_it_finished(tmp_path: Path):
    process = writer(tmp_path / "a", "a", 1_000_000)
    assert process.stdout is not None
    done = [int(process.stdout.readline()) for _ in range(30)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    keys = {AnswerCache.key("a", Asked(str(i), ())): Reply(f"a {i}") for i in done}
    assert AnswerCache(tmp_path / "a").get(list(keys)) == keys


@pytest.mark.parametrize("damage", [b"this is not a database", b"\0" * 8192])
def test_a_file_that_is_no_database_is_set_aside_with_a_warning(tmp_path: Path, damage: bytes):
    (tmp_path / "a").write_bytes(damage)
    cache = AnswerCache(tmp_path / "a")
    with pytest.warns(UserWarning, match="is damaged .*set aside as a.damaged-"):
        assert cache.get([KEY]) == {}
    cache.put({KEY: GOOD})
    assert AnswerCache(tmp_path / "a").get([KEY]) == {KEY: GOOD}
    assert [path.read_bytes() for path in tmp_path.glob("a.damaged-*")] == [damage]


def test_a_damaged_file_met_while_writing_costs_no_reply(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"this is not a database")
    with pytest.warns(UserWarning, match="is damaged"):
        AnswerCache(tmp_path / "a").put({KEY: GOOD})
    assert AnswerCache(tmp_path / "a").get([KEY]) == {KEY: GOOD}


def test_a_reply_that_was_changed_behind_our_back_is_not_given_out(tmp_path: Path):
    AnswerCache(tmp_path / "a").put({KEY: Reply("Paris")})
    whole = (tmp_path / "a").read_bytes()
    assert whole.count(b"Paris") == 1
    (tmp_path / "a").write_bytes(whole.replace(b"Paris", b"Parys"))
    with pytest.warns(UserWarning, match="does not match its checksum"):
        assert AnswerCache(tmp_path / "a").get([KEY]) == {}


def test_a_torn_file_gives_the_right_replies_or_none(tmp_path: Path):
    keys = {AnswerCache.key("x", Asked(str(i), ())): Reply(f"reply {i} " + "x" * 200) for i in range(200)}
    AnswerCache(tmp_path / "whole").put(keys)
    whole = (tmp_path / "whole").read_bytes()
    for cut in range(0, len(whole), 4096):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(whole[:cut] + b"\xff" * 1000 + whole[cut + 1000 :])
        with pytest.warns(UserWarning, match="is damaged") if cut == 0 else _any_warning():
            found = AnswerCache(path).get(list(keys))
        assert all(keys[key] == reply for key, reply in found.items())


def _any_warning() -> object:
    import warnings

    return warnings.catch_warnings(action="ignore")


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReasonerError, match=r"answer cache .*file/a.*Give it a place that can be written"):
        AnswerCache(tmp_path / "file" / "a").put({KEY: GOOD})


def test_a_database_of_another_kind_is_refused_and_left_alone(tmp_path: Path):
    with sqlite3.connect(tmp_path / "a") as connection:
        connection.execute("CREATE TABLE replies (text TEXT)")
    with pytest.raises(ReasonerError, match="answer cache"):
        AnswerCache(tmp_path / "a").put({KEY: GOOD})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
