from __future__ import annotations

import pytest

from finemem_pipeline.metrics.titles import listed, same_title


@pytest.mark.parametrize(
    ("reply", "titles"),
    [
        (
            "The recommendations are:\n1. The Matrix (1999)\n2. **Toy Story 2** - a sequel",
            ["The Matrix", "Toy Story 2"],
        ),
        ("1) Up\n\n2) Heat", ["Up", "Heat"]),
        ("- Up\n* Heat\n• Jaws", ["Up", "Heat", "Jaws"]),
        ("Up\nHeat", ["Up", "Heat"]),
        ("1. Up 2. Heat 3. Jaws", ["Up", "Heat", "Jaws"]),
        ("Up, 12 Angry Men, Jaws.", ["Up", "12 Angry Men", "Jaws"]),
        ('1. "2001: A Space Odyssey"', ["2001: A Space Odyssey"]),
        ("Up", ["Up"]),
        ("", []),
        ("\n , \n", []),
    ],
)
def test_titles_are_read_from_any_list(reply: str, titles: list[str]):
    assert listed(reply) == titles


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The Matrix", "matrix", True),
        ("WALL-E", "Wall E", False),
        ("The Shawshank Redemption", "Shawshank Redemtion", True),
        ("Toy Story 2", "Toy Story 3", False),
        ("The Godfather Part II", "The Godfather Part III", False),
        ("Up", "Us", False),
        ("It", "The It", True),
        ("The The", "A", False),
        ("Heat", "Heat and many other films that were made in that year", False),
    ],
)
def test_titles_are_the_same_up_to_small_slips(one: str, other: str, same: bool):
    assert same_title(one, other) is same_title(other, one) is same
