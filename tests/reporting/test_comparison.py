"""The page of a comparison: what it says, and what it does in a browser."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser

import pytest

from finemem_pipeline.reporting.comparison import credit_payload, write_comparison

RUN = {"recipe": "smollm2_135m", "code": "a1b2c3d"}


@pytest.fixture(scope="module")
def page(compared, tmp_path_factory):
    return write_comparison(tmp_path_factory.mktemp("page") / "compare.html", compared.document, RUN, compared.maps)


def test_the_table_has_scores_paired_differences_and_what_they_rest_on(compared, page):
    text = re.sub(r"<[^>]+>|\s+", " ", page.read_text("utf-8"))
    [first, second, *_] = compared.document["table"]["rows"]
    difference = next(
        d for d in compared.document["table"]["differences"] if d["scope"] == "mean" and d["manager"] == "fine_mem"
    )
    assert f"{first['mean']['score']:.3f}" in text
    assert f"+{difference['mean']:.3f}" in text
    assert "against outcome_only" in text
    assert "against warm_started" in text
    assert (first["mean"]["questions"], first["mean"]["unscored"], first["training_seeds"]) == (18, 0, 2)
    assert second["manager"] == "outcome_only"
    assert "fine_mem against outcome_only" in text
    assert "a1b2c3d" in text


def test_every_curve_says_how_many_answers_a_point_rests_on_and_how_many_are_missing(compared, page):
    text = page.read_text("utf-8")
    [point, *_] = compared.document["curves"]["fine_mem"]
    assert (point["n"], point["unscored"], point["rollouts"], point["streams"], point["seeds"]) == (48, 0, 8, 4, 2)
    assert "fine_mem: 48 answers a point and 0 unscored, of 8 rollouts of 4 streams, 2 seeds" in text
    assert "Per chunk, over 8 rollouts of 4 streams, 2 seeds" in text
    assert "(updates times seeds), with 0 answers unscored in them" in text


class Whole(HTMLParser):
    """Complains of tags that are not closed in order; collects what the page would fetch."""

    void = frozenset({"meta", "link", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.pictures = [], [], 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.pictures += tag == "figure"
        self.fetched += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag


def test_the_page_is_whole_html_and_asks_for_nothing_from_elsewhere(page):
    text = page.read_text("utf-8")
    whole = Whole(text)
    assert whole.pictures == 1 + 2 + 2 + 2  # against memory, learning, what steers, operations
    assert all(value.startswith(("#", "data:")) for value in whole.fetched)
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org)", text)


def test_the_same_comparison_gives_the_same_page(compared, page, tmp_path):
    again = write_comparison(tmp_path / "again.html", compared.document, RUN, compared.maps)
    assert again.read_bytes() == page.read_bytes()


def test_the_texts_of_a_stream_stand_in_the_page_once(compared):
    found = credit_payload(compared.maps)
    assert found["terms"] == ["total", "outcome", "chunk", "format", "compression", "advantage"]
    assert {play["played"] for play in found["plays"]} == {"held out", "update 1", "update 4"}
    chunk = compared.maps[0]["steps"][0]["chunk"]
    assert json.dumps(found).count(json.dumps(chunk)) == 1


def test_a_comparison_without_rollouts_has_a_page(compared, tmp_path):
    document = copy.deepcopy(compared.document)
    for points in document["curves"].values():
        points.clear()
    text = write_comparison(tmp_path / "compare.html", document, {}, []).read_text("utf-8")
    Whole(text)
    assert "Result on held-out streams" in text


WINDOWS = [
    pytest.param({"width": width, "height": 800}, scheme, id=f"{name}, {scheme}")
    for name, width in (("desktop", 1280), ("phone", 360))
    for scheme in ("light", "dark")
]


def opened(browser, page, window, scheme="light"):
    """The page in a new window without network, and what it complained of or asked for."""
    phone = window["width"] < 600
    context = browser.new_context(viewport=window, color_scheme=scheme, offline=True, is_mobile=phone, has_touch=phone)
    tab, heard = context.new_page(), []
    tab.on("console", lambda message: heard.append(message.text))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.on("request", lambda request: heard.append(request.url))
    tab.goto(page.as_uri())
    heard.remove(page.as_uri())
    return tab, heard


def used_step(play):
    """A step whose writing served an answer."""
    served = {item["writes"][-1] for asked in play["questions"] for item in asked["evidence"]}
    return min(served)


def square(tab, play, step, term="outcome"):
    return tab.get_by_label(f"{term}, {play['manager']} · seed {play['seed']}, chunk {step}:", exact=False).first


@pytest.mark.parametrize(("window", "scheme"), WINDOWS)
def test_a_square_tells_chunk_operations_and_answers(browser, page, compared, window, scheme):
    tab, heard = opened(browser, page, window, scheme)
    play = compared.maps[0]
    step = used_step(play)
    told = tab.locator("#why")
    chosen = square(tab, play, step)
    chosen.tap() if window["width"] < 600 else chosen.click()
    assert told.locator("h3").inner_text() == f"Chunk {step} of {play['stream']}"
    assert told.locator(".text").inner_text() == play["steps"][step]["chunk"]
    written = [operation["text"] for operation in play["steps"][step]["operations"] if operation["text"]]
    assert written
    assert all(text in told.inner_text() for text in written)
    using = [
        asked["question"] for asked in play["questions"] if any(step in item["writes"] for item in asked["evidence"])
    ]
    assert told.locator(".asked b").all_inner_texts() == using
    assert told.is_visible()
    if window["width"] < 600:  # it covers the lower half: it can be put away
        told.locator(".close").tap()
        assert not told.is_visible()
    assert heard == []


@pytest.mark.parametrize(("window", "scheme"), WINDOWS)
def test_the_page_fits_the_window_and_follows_its_colours(browser, page, window, scheme):
    tab, _ = opened(browser, page, window, scheme)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    [red, *_] = map(float, re.findall(r"[\d.]+", tab.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (red > 200) is (scheme == "light")
    small = tab.evaluate(
        """[...document.querySelectorAll("main *")]
        .filter((e) => !e.closest("svg, script, option"))
        .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
        .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 11.5).length"""
    )
    assert small == 0
    letters = tab.evaluate("document.querySelector('figure svg').getBoundingClientRect().width / 4.2 / 96 * 8.5 / 0.75")
    assert letters > 7.5  # pixels


def test_what_the_pointer_is_over_is_told_until_it_leaves(browser, page, compared):
    tab, _ = opened(browser, page, {"width": 1280, "height": 900})
    play, heading = compared.maps[0], tab.locator("#why h3")
    square(tab, play, 1).click()
    square(tab, play, 2).hover()
    assert heading.inner_text().startswith("Chunk 2 of")
    tab.locator("h1").hover()
    assert heading.inner_text().startswith("Chunk 1 of")
    tab.keyboard.press("Escape")
    assert tab.locator("#why").inner_text() == "Point at a square."


def test_the_keyboard_goes_from_square_to_square(browser, page):
    tab, _ = opened(browser, page, {"width": 1280, "height": 900})
    tab.locator(".cell").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Enter"):
        tab.keyboard.press(key)
    assert tab.locator("#why h3").inner_text().startswith("Chunk 2 of")
    assert tab.locator("#why p").first.inner_text().startswith("fine_mem · seed 1")


def test_rows_are_variants_on_a_stream_or_streams_of_a_variant(browser, page):
    tab, _ = opened(browser, page, {"width": 1280, "height": 900})

    def names(heads):
        return tab.locator(f".map >> nth=0 >> {heads}").all_inner_texts()

    assert names(".of th") == ["fine_mem", "outcome_only"]
    assert names("tbody tr:not(.of) th") == ["seed 0", "seed 1", "seed 0", "seed 1"]
    tab.select_option("#pick-rows", "streams")
    tab.select_option("#pick-who", "outcome_only · seed 1")
    assert names("tbody th") == ["planted-0-test-0000", "planted-0-test-0001", "planted-0-test-0002"]
    tab.select_option("#pick-played", "update 4")
    assert tab.locator(".map h3").all_inner_texts()[-1].startswith("advantage")
    tab.select_option("#pick-rows", "variants")
    chunk = tab.locator(".map", has_text="chunk").first
    assert chunk.locator(".of th").all_inner_texts() == ["fine_mem × 0.5", "outcome_only × 0"]


def test_what_a_model_wrote_stays_text_and_what_is_not_scored_says_so(browser, compared, tmp_path):
    credit = copy.deepcopy(compared.maps[:1])
    evil = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    credit[0]["steps"][0]["chunk"] = evil
    credit[0]["steps"][0]["operations"] = [{"kind": "insert", "item": "m1", "text": evil, "refused": "no text"}]
    credit[0]["terms"]["outcome"][0] = None
    failed = {"score": None, "failure": "the endpoint timed out", "prediction": ""}
    item = {"id": "m1", "text": evil, "writes": [0, 2]}
    credit[0]["questions"] = [{**credit[0]["questions"][0], **failed, "evidence": [item]}]
    path = write_comparison(tmp_path / "compare.html", compared.document, RUN, credit)
    tab, heard = opened(browser, path, {"width": 1280, "height": 900})
    square(tab, credit[0], 0).click()
    told = tab.locator("#why").inner_text()
    assert told.count(evil) == 3
    assert "refused: no text" in told
    assert "not scored: the endpoint timed out" in told
    assert "(rewritten at chunk 2)" in told
    assert square(tab, credit[0], 0).inner_text() == "·"
    assert tab.evaluate("window.hacked") is None
    assert heard == []
