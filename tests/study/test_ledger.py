from __future__ import annotations

from finemem_pipeline.study.ledger import Ledger


def test_a_finished_cell_is_there_for_the_next_one_who_asks(tmp_path):
    place = tmp_path / "deep" / "rows.jsonl"
    Ledger(place).put({"seed": 1}, [{"value": 0.1}, {"value": None}])
    again = Ledger(place)
    assert again.get({"seed": 1}) == [{"value": 0.1}, {"value": None}]
    assert again.get({"seed": 2}) is None


def test_a_line_that_a_kill_cut_off_is_dropped_and_the_next_one_begins_afresh(tmp_path):
    place = tmp_path / "rows.jsonl"
    Ledger(place).put({"seed": 1}, [{"value": 1}])
    with place.open("a") as file:
        file.write('{"cell": {"seed": 2}, "rows": [{"val')
    again = Ledger(place)
    assert again.get({"seed": 2}) is None
    again.put({"seed": 2}, [{"value": 2}])
    last = Ledger(place)
    assert [last.get({"seed": seed}) for seed in (1, 2)] == [[{"value": 1}], [{"value": 2}]]


def test_a_damaged_line_in_the_middle_costs_its_own_cell_alone_and_is_told(tmp_path, caplog):
    place = tmp_path / "rows.jsonl"
    book = Ledger(place)
    for seed in (1, 2, 3):
        book.put({"seed": seed}, [{"value": seed}])
    first, _, third = place.read_text().splitlines(keepends=True)
    place.write_text(first + '{"cell": {"seed":\n' + '{"rows": []}\n' + third)
    again = Ledger(place)
    assert [again.get({"seed": seed}) for seed in (1, 2, 3)] == [[{"value": 1}], None, [{"value": 3}]]
    assert [record.args[1] for record in caplog.records] == [2, 3]
    again.put({"seed": 2}, [{"value": 2}])
    assert Ledger(place).get({"seed": 2}) == [{"value": 2}]
