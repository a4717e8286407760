"""The made-up store is one that every question of the benchmark finds rows in."""

from pathlib import Path

from benchmarks import big_store
from store import queries
from store.connection import reading

SIZE = big_store.Size(runs=4, checkpoints=3, cuts=3, sets=2)
# Nothing is wrong with it.
WITHOUT_ROWS = ("integrity_flags",)


def test_a_store_has_the_rows_that_its_size_says_and_every_question_finds_some(
    tmp_path: Path,
) -> None:
    big_store.generate(tmp_path, SIZE)
    with reading(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM splices").fetchall() == [(SIZE.rows,)]
        for turn in (0, 1):
            for name, arguments in big_store._questions(SIZE, turn).items():
                found = getattr(queries, name)(connection, *arguments)
                assert (len(found) == 0) == (name in WITHOUT_ROWS), name


def test_the_95th_percentile_is_near_the_top() -> None:
    assert big_store.percentile_95([float(i) for i in range(21)]) == 19.0
