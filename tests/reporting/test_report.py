import re
from html.parser import HTMLParser

import pytest

from finemem_pipeline.reporting import write_report

SAMPLE = {
    "manager": "trained",
    "stream": "e1",
    "source": "squad",
    "task": "AR",
    "tokens_read": 500,
    "memory_tokens": 12,
    "steps": [
        {
            "step": 0,
            "chunk": "<script>alert('chunk')</script>",
            "timestamp": None,
            "operations": [{"kind": "insert", "item": "m1", "text": "<img src=x onerror=alert(1)>", "refused": None}],
            "malformed": ["</div><script>"],
            "memory_tokens": 12,
        }
    ],
    "memory": [{"id": "m1", "text": "kept & <b>bold</b>", "writes": [0]}],
    "questions": [
        {
            "question": "Where?",
            "references": ["Rome"],
            "metric": "sub_em",
            "prediction": "",
            "score": None,
            "failure": "the endpoint timed out",
            "evidence": [],
        }
    ],
}


class Page(HTMLParser):
    """Collects tags and attributes, and complains of tags that are not closed in order."""

    void = frozenset({"meta", "link", "br", "path", "use"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag


@pytest.fixture
def report(evaluation, curves, tmp_path):
    context = {"title": "fine_mem <0>", "run": {"variant": "fine_mem", "commit": "a1b2c3d"}, "samples": [SAMPLE]}
    return write_report(tmp_path / "08_reporting" / "report.html", evaluation, curves, context)


def test_the_page_says_what_was_run_and_what_came_of_it(report):
    text = report.read_text(encoding="utf-8")
    for said in (
        "fine_mem &lt;0&gt;",
        "a1b2c3d",
        "trained scores 0.625 with 12.3k memory tokens",
        "+0.125</span> [+0.020, +0.230]",
        "What steers",
        "Score against memory",
        "the endpoint timed out",
        "Questions with a score.",
        "2000 bootstrap resamples, seed 0.",
    ):
        assert said in text


def test_the_page_is_whole_html_and_asks_for_nothing_from_elsewhere(report):
    text = report.read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("svg") == 5
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert all(value.startswith(("#", "data:")) for value in links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "script" not in page.tags


def test_whatever_a_model_wrote_is_text(report):
    text = report.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(" in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "kept &amp; &lt;b&gt;bold&lt;/b&gt;" in text
    assert "img" not in Page(text).tags


def test_without_training_and_samples_there_is_still_a_page(evaluation, tmp_path):
    path = write_report(tmp_path / "report.html", evaluation, [], {})
    text = path.read_text(encoding="utf-8")
    Page(text)
    assert "Training" not in text
    assert "What a manager did" not in text


def test_a_lone_surrogate_does_not_stop_the_report(evaluation, tmp_path):
    path = write_report(tmp_path / "report.html", evaluation, [], {"title": "cut \ud83d here"})
    assert "cut ? here" in path.read_text(encoding="utf-8")


def test_a_report_that_fails_leaves_the_old_one_and_nothing_beside_it(evaluation, tmp_path):
    path = write_report(tmp_path / "report.html", evaluation, [], {"title": "old"})
    del evaluation["rows"][1]["conduct"]
    with pytest.raises(Exception, match="conduct"):
        write_report(path, evaluation, [], {"title": "new"})
    assert "old" in path.read_text(encoding="utf-8")
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]
