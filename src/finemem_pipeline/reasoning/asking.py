"""A question, and how its answer is wanted.

Every question of a benchmark's task comes with the same words on how to reply. The reader needs them; a retriever that
is given them ranks by those words. Both stand in one text, a mark between them:

    Which country is Ada a citizen of?

    How to answer: Of two facts that disagree, the one with the larger serial number holds.
"""

from __future__ import annotations

_MARK = "\n\nHow to answer: "


def instructed(question: str, instruction: str) -> str:
    """The question with words on how to answer it, which the reader sees and the retriever does not."""
    return f"{question}{_MARK}{instruction}"


def bare(question: str) -> str:
    """The question without the words on how to answer it."""
    return question.partition(_MARK)[0]
