r"""Small files in the schemas of the published benchmarks, with the oddities of the real ones.

python tests/benchmarks/make_parquet.py FOLDER  writes memalpha/, memoryagentbench/, converted/ and locomo/ there.

What is odd in the real files and therefore here: answers that are texts, lists, numbers or empty; keyword lists with
stray commas, blanks and repetitions; labels in a \boxed{} or in quotes; dates in headers of three forms; nested columns
that are null or empty for most sources; ids that repeat; turns without text; evidence that leads nowhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PUBMED = "\nWhat are the labels for the above medical abstract sentence? Put your final answer in <answer></answer>."
EVENTS = (
    "These are the events that have already occurred:\n\n1. Ada leaves for Peru.\n2. Bo weeps.\n\n"
    "Below is a list of possible subsequent events:\n\n- Ada returns with a parrot.\n- Bo sings.\n\n"
    "Your task is to choose from the above events which event happens next based on the book excerpt. "
    "In your response to me, only include the answer without anything else."
)


def dialogue(day: int, text: str) -> str:
    return (
        f"[Dialogue between User and Assistant on 2024-01-{day:02d} 00:00]\n<User>Some news:\n{text}\n<Assistant>Noted."
    )


def reading(day: int, text: str) -> str:
    return f"[Event happened on 2024-01-{day:02d} The user is reading a book]\n<User> {text}\n\n<System> Remember it."


def qa(question: Any, answer: Any, **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, **more}


def memalpha_row(
    number: int, source: str, chunks: Sequence[Any], asked: Sequence[Any], metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "instance_id": number,
        "prompt": "" if source == "lme_train" else "I will provide you with sequential chunks.",
        "chunks": json.dumps(chunks),
        "questions_and_answers": json.dumps(asked),
        "data_source": source,
        "metadata": json.dumps(metadata or {}),
        "num_chunks": len(chunks),
        "num_questions": len(asked),
    }


def memalpha_rows() -> list[dict[str, Any]]:
    """One row of each of the eight sources."""
    return [
        memalpha_row(
            0,
            "squad",
            [
                dialogue(1, "Beyoncé Knowles was born in Houston, Texas. 碧昂丝"),
                dialogue(2, "The Normans took Sicily in 1091."),
            ],
            [
                qa("Where was Beyoncé born?", "Houston, Texas", evidence=[0], evidence_idx=0),
                qa("When was Sicily taken?", ["1091", "in 1091", " "]),
                qa("How many?", 1091),
                qa("Who knows?", []),
                qa("Who else?", ""),
                qa("Which island?", {"text": "Sicily", "answer_start": 30}),
            ],
        ),
        memalpha_row(
            1,
            "hotpotqa",
            [dialogue(1, "A is older than B."), " \n"],
            [qa("Is A older than B?", "yes"), qa("Who?", ["A"])],
        ),
        memalpha_row(
            2,
            "perltqa",
            [dialogue(1, "Xiaohong was invited by Wang Wei and 表妹 to Tokyo.")],
            [
                qa("Who invited Xiaohong?", "Wang Wei; 表妹;Tokyo"),
                qa("Where?", "Tokyo"),
                qa("Both?", ["Wang Wei", "Tokyo"]),
            ],
        ),
        memalpha_row(
            3,
            "lme_train",
            ["[Dialogue at timestamp 2023/05/20 (Sat) 02:21]\n<User>I like tea.\n<Assistant>Fine."],
            [qa("What do I drink?", "The user would prefer tea."), qa("And now?", "Tea, since May.")],
            {"question_types": ["single-session-preference", "knowledge-update"]},
        ),
        memalpha_row(
            4,
            "pubmed-rct",
            [dialogue(1, "Sample: To assess pain.\nLabels: 3\n\nSample: Ten died.\nLabels: 4")],
            [
                qa("Sentence: Six died ( @ % ) .\u2009" + PUBMED, "4"),
                qa("Sentence: To assess sleep." + PUBMED, "\\boxed{3}"),
                qa("Sentence: Pain: a label." + PUBMED, ['"2"', "2"]),
                qa("Sentence: Sleep was short." + PUBMED, 0),
                qa("Sentence: Nobody knows." + PUBMED, "''"),
            ],
        ),
        memalpha_row(5, "icl_nlu_8296shot_balance", [dialogue(1, "wake me\nlabel: 7")], [qa("wake me at six", ["7"])]),
        memalpha_row(
            6,
            "icl_trec_coarse_6600shot_balance",
            [dialogue(1, "Who was Galileo?\nlabel: 2")],
            [qa("Question: Who was Kepler?\nlabel:", ["2"])],
        ),
        memalpha_row(
            7,
            "booksum",
            [reading(1, "Elizabeth walked to Netherfield."), reading(4, "Mr. Collins proposed.")],
            [
                qa(
                    "Summarize what the user has read from 2024-01-01 to 2024-01-04.",
                    "Elizabeth Bennet, Mr. Darcy,Netherfield, , “Pride”, mr. darcy, Mrs. Bennet's nerves,",
                ),
                qa("Summarize again.", ["Elizabeth", " Collins "]),
                qa("Summarize nothing.", ", ,"),
            ],
        ),
    ]


def converted_rows() -> list[dict[str, Any]]:
    """MemoryAgentBench as Mem-α converted it: a row of each of its nine sources."""
    plain = [dialogue(1, "Document 1: Ada is from Oslo."), dialogue(2, "lost\nlabel: 11")]
    rows = [
        ("icl_banking77_5900shot_balance", qa("i lost my card", ["11"])),
        ("icl_clinic150_7050shot_balance", qa("book a table", ["3"])),
        ("icl_nlu_8296shot_balance", qa("wake me", ["7"])),
        ("icl_trec_coarse_6600shot_balance", qa("Who was Kepler?", ["2"])),
        ("icl_trec_fine_6400shot_balance", qa("Who was Kepler?", ["29"])),
        ("infbench_sum_eng_shots2", qa("Summarize the book read from 2024-01-01 to 2024-01-02.", "Ada, Oslo")),
        ("longmemeval_s*", qa("How many cats do I have?", ["Two"])),
        ("ruler_qa1_197K", qa("Where is Ada from?", ["Oslo", "Oslo, Norway"])),
        ("ruler_qa2_421K", qa("Is Ada from where Bo is from?", ["no"])),
    ]
    return [memalpha_row(number, source, plain, [asked]) for number, (source, asked) in enumerate(rows)]


TURN = pa.struct([("content", pa.string()), ("has_answer", pa.bool_()), ("role", pa.string())])
HUB = pa.schema(
    [
        ("context", pa.string()),
        ("questions", pa.list_(pa.string())),
        ("answers", pa.list_(pa.list_(pa.string()))),
        (
            "metadata",
            pa.struct(
                [
                    ("demo", pa.string()),
                    ("haystack_sessions", pa.list_(pa.list_(pa.list_(TURN)))),
                    ("keypoints", pa.list_(pa.string())),
                    ("previous_events", pa.list_(pa.string())),
                    ("qa_pair_ids", pa.list_(pa.string())),
                    ("question_dates", pa.list_(pa.string())),
                    ("question_ids", pa.list_(pa.string())),
                    ("question_types", pa.list_(pa.string())),
                    ("source", pa.string()),
                ]
            ),
        ),
    ]
)


def hub_row(
    source: str, context: str, questions: Sequence[str], answers: Sequence[Sequence[str]], **metadata: Any
) -> dict[str, Any]:
    ids = {"qa_pair_ids": [f"{source}_no{place}" for place in range(len(questions))]}
    empty = {"demo": None, "haystack_sessions": [], "keypoints": [], "previous_events": None, "question_dates": []}
    return {
        "context": context,
        "questions": list(questions),
        "answers": [list(each) for each in answers],
        "metadata": {**empty, "question_ids": None, "question_types": [], **ids, **metadata, "source": source},
    }


def turn(role: str, content: str, has_answer: bool = False) -> dict[str, Any]:
    return {"role": role, "content": content, "has_answer": has_answer}


LABELLED = (
    "icl_banking77_5900shot",
    "icl_clinic150_7050shot",
    "icl_nlu_8296shot",
    "icl_trec_coarse_6600shot",
    "icl_trec_fine_6400shot",
)
CATS = turn("user", 'I\'ve got two cats: "Mia" and Tom.', True)
SESSIONS: list[Any] = [
    "Chat Time: 2022/11/17 (Thu) 12:04",
    [CATS, turn("assistant", "Lovely. " * 30)],
    "Chat Time: 2023/05/30 (Tue) 23:40",
    [turn("user", "Zoë moved to 東京.", True), turn("assistant", "Noted.")],
]


def hub_rows() -> dict[str, list[dict[str, Any]]]:
    """The four splits, with a row of each kind of source."""
    oslo = "\n\n".join(f"Document {n}:\nTown {n}\nTown {n} lies on river {n}. It is small." for n in range(1, 9))
    chat = {
        "haystack_sessions": [[SESSIONS[1], SESSIONS[3]], [[dict(turn("user", "gone", True))]], [SESSIONS[3]]],
        "question_ids": ["a1", "b2_abs", "c3"],
        "question_types": ["multi-session", "single-session-user", "temporal-reasoning"],
        "question_dates": ["2023/06/01 (Thu) 08:00"] * 3,
    }
    asked_on = "Current Date: 2023/06/01 (Thu) 08:00, \n Now Answer the Question: "
    labels = "".join(f"where is card {n}? tell me\nlabel: {n % 4}\n\n" for n in range(12))
    facts = "Here is a list of facts:\n" + "\n".join(
        f"{n}. The capital of land {n % 5} is town {n}." for n in range(20)
    )
    return {
        "Accurate_Retrieval": [
            hub_row("ruler_qa1_197K", oslo, ["Where does Town 2 lie?"], [["river 2", "on river 2"]]),
            hub_row("ruler_qa2_421K", oslo, ["Is Town 3 small?"], [["yes"]], qa_pair_ids=["same", "same"]),
            hub_row(
                "longmemeval_s*",
                repr(SESSIONS),
                [asked_on + "How many cats do I have?", asked_on + "Who is my dog?", "Where did Zoë move?"],
                [["Two"], ["You did not mention a dog."], ["東京"]],
                **chat,
            ),
            hub_row("eventqa_full", "Ada left. Bo wept. Ada returned.", [EVENTS], [["Ada returns with a parrot."]]),
        ],
        "Test_Time_Learning": [
            *(
                hub_row(f"{name}_balance", labels, ["where is my card", "cards?\nlabel:"], [["1"], ["\\boxed{2}"]])
                for name in LABELLED
            ),
            hub_row(
                "recsys_redial_full",
                "Dialogue 1:\nSystem: Hi.\nUser: I liked The Matrix.\nSystem: Try Alien.",
                ["User: I like Alien. What else?"],
                [["1", "3"]],
            ),
        ],
        "Long_Range_Understanding": [
            hub_row(
                "infbench_sum_eng_shots2",
                "Ada went to sea. She came back.",
                ["You are given a book above and you are tasked to summarize it."],
                [["Ada goes to sea and returns."]],
                keypoints=["Ada goes to sea.", "Ada returns."],
                demo="A demonstration.",
            ),
            hub_row("detective_qa", "1 The butler ran.", ["Who ran? A. Ada B. The butler"], [["B. The butler"]]),
        ],
        "Conflict_Resolution": [
            hub_row(f"factconsolidation_{hops}_{size}", facts, [CAPITAL, "And?"], [["town 18"], []])
            for hops in ("sh", "mh")
            for size in ("6k", "262k")
        ],
    }


CAPITAL = "What is the capital of land 3?"
FILMS = {
    "<http://dbpedia.org/resource/The_Matrix_(1999_film)>": 1,
    "<http://dbpedia.org/resource/Alien>": 2,
    "Léon: The Professional (1994)": 3,
}


def locomo_samples() -> list[dict[str, Any]]:
    """Two conversations."""

    def said(speaker: str, place: str, text: str, **more: Any) -> dict[str, Any]:
        return {"speaker": speaker, "dia_id": place, "text": text, **more}

    conversation = {
        "speaker_a": "Caroline",
        "speaker_b": "Zoë",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            said("Caroline", "D1:1", "Hey Zoë! I went to a group yesterday."),
            said(
                "Zoë", "D1:2", "Look at this.", img_url=["http://x/y.jpg"], blip_caption="a photo of a dog", query="dog"
            ),
        ],
        "session_10_date_time": "9:00 am on 2 June, 2023",
        "session_10": [said("Zoë", "D10:1", "My dog Rex came in 2022 ☕.")],
        "session_2_date_time": "1:00 pm on 9 May, 2023",
        "session_2": [said("Zoë", "D2:1", "", blip_caption="a photo of a bowl"), said("Caroline", "D2:2", "Nice!")],
        "session_3_date_time": "nobody spoke",
        "session_4": [],
    }
    asked = [
        qa("Where do they meet, and what is shown?", "a group, a dog", evidence=["D1:1; D1:2", "D2:1"], category=1),
        qa("When did Caroline go to the group?", "7 May 2023", evidence=["D1:1"], category=2),
        qa("Would Zoë like a cat?", "Likely no; she has a dog", evidence=["D:10:1", "D"], category=3),
        qa("When did Rex come?", 2022, evidence=["D10:01", "D99:3"], category=4),
        {
            "question": "What is the name of Caroline's dog?",
            "evidence": ["D10:1"],
            "category": 5,
            "adversarial_answer": "Rex",
        },
        qa("What is shown by Caroline?", "a bowl", evidence=["D2:1"], category=5, adversarial_answer="a bowl"),
        {"question": "What did she sell?", "evidence": [], "category": 5},
    ]
    more = {"observation": {}, "session_summary": {}, "event_summary": {}}
    other = {"session_1_date_time": "", "session_1": [said("Bo", "D1:1", "I sold my boat.")]}
    return [
        {"sample_id": "conv-26", "conversation": conversation, "qa": asked, **more},
        {
            "sample_id": "conv-30",
            "conversation": other,
            "qa": [qa("What did Bo sell?", "his boat", evidence=["D1:1"], category=4)],
            **more,
        },
    ]


def write(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), path)
    return path


def marked(chunks: str, copy: int) -> str:
    """Chunks with a first one that no other copy has: no stream of the test set may stand in the training set."""
    first, *others = json.loads(chunks)
    return json.dumps([f"{first}\nThis is copy {copy}.", *others])


def write_memalpha(folder: Path, copies: int = 5) -> Path:
    """train.parquet with each source several times, each time with a text of its own; test.parquet with each once."""
    rows = [{**row, "chunks": marked(row["chunks"], copy)} for copy in range(copies) for row in memalpha_rows()]
    write(folder / "train.parquet", [{**row, "instance_id": number} for number, row in enumerate(rows)])
    write(folder / "test.parquet", memalpha_rows())
    return folder


def write_memoryagentbench(folder: Path) -> Path:
    for split, rows in hub_rows().items():
        write(folder / "data" / f"{split}-00000-of-00001.parquet", rows, HUB)
    (folder / "entity2id.json").write_text(json.dumps(FILMS, ensure_ascii=False), encoding="utf-8")
    return folder


def write_converted(folder: Path) -> Path:
    write(folder / "test.parquet", converted_rows())
    return folder


def write_locomo(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "locomo10.json").write_text(json.dumps(locomo_samples(), ensure_ascii=False), encoding="utf-8")
    return folder


if __name__ == "__main__":
    root = Path(sys.argv[1])
    write_memalpha(root / "memalpha")
    write_memoryagentbench(root / "memoryagentbench")
    write_converted(root / "converted")
    write_locomo(root / "locomo")
    print(*sorted(str(file.relative_to(root)) for file in root.rglob("*.*")), sep="\n")
