from finemem_pipeline.reporting.estimate import estimate_lines

ESTIMATE = {
    **{"streams": 112, "steps": 9_700, "tokens": 17_500_000, "questions": 1_100},
    "managers": [
        {"manager": "trained", "passes": 3, "hours": 40.25},
        {"manager": "no_memory", "passes": 1, "hours": 0.5},
    ],
    "total": {
        **{"manager_calls": 29_100, "reader_calls": 4_400, "tokens_in": 64_200_000.0, "tokens_out": 2_910_000.0},
        **{"hours": 40.75, "money": None},
    },
}


def test_there_is_a_line_each_for_calls_tokens_hours_and_money():
    assert estimate_lines(ESTIMATE) == [
        "streams: 112 with 9,700 chunks, 17.5M tokens and 1,100 questions; 2 managers, 4 passes",
        "manager calls: 29,100",
        "reader calls: 4,400 at most; equal questions about equal texts are asked once",
        "tokens: 64.2M in, 2.9M out",
        "hours: 40.75, of which trained 40.25",
        "money: not known, evaluation.rates has no prices",
    ]


def test_money_is_told_where_everything_has_a_price():
    assert estimate_lines({**ESTIMATE, "total": {**ESTIMATE["total"], "money": 1234.5}})[-1] == "money: 1,234.50"
