from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from testbed.errors import RecordError
from testbed.record import figures, report, style
from testbed.record.folder import create_run
from testbed.record.read import read_run
from testbed.record.totals import energy_by_layer
from testbed.record.writer import RunWriter
from tests.unit.record import factory


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return factory.record_run(tmp_path_factory.mktemp("runs"), 7)


@pytest.fixture(scope="module")
def run(recorded):
    return read_run(recorded.path)


@pytest.fixture(scope="module")
def page(recorded):
    return report.write_report(recorded).read_text()


class Outline(HTMLParser):
    """Opened and closed elements, and every address outside of the page."""

    VOID = frozenset({"meta", "br", "link", "img", "path", "use", "image", "rect", "stop"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.outside: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        addresses = [v for k, v in attrs if k in ("src", "href", "xlink:href") and v]
        self.outside += [a for a in addresses if not a.startswith(("#", "data:"))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_report_is_one_small_file_that_needs_nothing_else(page):
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.outside == []
    assert "url(http" not in page
    assert outline.count["svg"] == 11
    assert "script" not in outline.count
    assert len(page.encode()) < 5e6


def test_the_report_carries_the_closing_figures(page, run):
    for name, value in report.closing_table(run):
        assert f"<td>{name}</td><td>{value}</td>" in page
    closing = dict(report.closing_table(run))
    assert closing["tokens × layers"] == str(run.summary.tokens)
    assert closing["energy spent"] == report.joule(run.summary.energy_spent_j)
    assert closing["retransmissions"] == str(run.summary.retransmissions)
    assert closing["block error rate"] == f"{100 * run.summary.block_error_rate:.2f} %"
    assert "node 2 dropped: no answer within 750 ms" in page


def test_a_report_made_again_is_the_same(tmp_path, seed):
    folder = factory.record_run(tmp_path, seed, of=factory.shape(K=2, L=1, U=20, pilots=2))
    first = report.write_report(folder).read_text()
    assert report.write_report(folder.path).read_text() == first


def test_text_of_a_campaign_or_an_event_cannot_become_markup(run):
    manifest = msgspec.structs.replace(run.manifest, events=("<script>alert(1)</script>",))
    page = report.render(replace(run, campaign="<b>&", rounds=(), predictions=(), manifest=manifest, unfinished=1))
    assert "1 round(s) were begun and are not in the record" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;&amp;" in page


def test_colours_follow_the_readers_setting(run):
    svg = style.inline_svg(style.draw(figures.energy, run))
    for colour, variable in style.THEME.items():
        assert colour not in svg
        assert variable in svg or variable == "var(--axis)"
    assert re.search(r"<svg[^>]*viewBox", svg)


def test_energy_bars_are_the_recorded_joules(run):
    axes = style.draw(figures.energy, run).axes[0]
    heights = np.array([bar.get_height() for bar in axes.patches]).reshape(2, 4, 4)  # kind, part, layer
    _, predicted, spent, _ = energy_by_layer(run)
    np.testing.assert_allclose(heights[0].T / 1e3, predicted)
    np.testing.assert_allclose(heights[1].T / 1e3, spent)


def test_channel_panels_show_the_estimates(run):
    figure = style.draw(figures.channel, run)
    panel = next(a for a in figure.axes if a.get_title(loc="left") == "1 → 2")
    gain = np.mean([np.abs(r.measured.h[1, 2].astype(complex)) ** 2 for r in run.rounds], axis=0)
    np.testing.assert_allclose(panel.lines[0].get_ydata(), 10 * np.log10(gain), rtol=1e-6)
    np.testing.assert_allclose(panel.lines[0].get_xdata(), run.shape.frequency_hz / 1e6)


def test_allocation_marks_each_served_subcarrier_once(run):
    record = run.rounds[1]
    figure = style.draw(figures.allocation, run, record)
    for axes, traffic in zip(figure.axes, (record.forward, record.back), strict=True):
        marks = sorted(
            (round(float(bar[0][0]), 6), round(float(bar[:, 1].mean())))
            for lines in axes.collections
            for bar in lines.get_segments()
        )
        labels = [text.get_text() for text in axes.get_yticklabels()]
        owner = traffic.subcarrier_link
        expected = sorted(
            (round(float(f) / 1e6, 6), labels.index(f"{o // 4} → {o % 4}"))
            for f, o in zip(run.shape.data_frequency_hz, owner, strict=True)
            if o >= 0
        )
        assert marks == expected


def test_expert_shares_are_written_in_per_cent(run):
    axes = style.draw(figures.experts, run).axes[2]
    written = np.array([int(text.get_text()) for text in axes.texts]).reshape(4, 4)
    record = run.rounds[2]
    for i in range(4):
        np.testing.assert_allclose(written[i], 100 * record.selected[record.source == i].mean(0), atol=0.5)


def test_figures_are_saved_as_png_and_svg(run, tmp_path):
    figure = style.draw(figures.constellation, run)
    style.save(figure, tmp_path / "c.png")
    style.save(figure, tmp_path / "c.svg")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "c.svg").read_text()


def test_an_interrupted_run_has_a_report_of_what_there_is(tmp_path, seed):
    shape = factory.shape(K=2, L=2, U=20, pilots=2)
    (record, _), *_ = factory.rounds(seed, shape)
    bare = replace(
        record, constellation=np.zeros(0, np.complex64), seconds={},
        measured=replace(record.measured, valid=np.zeros((2, 2), bool)),
    )  # fmt: skip
    folder = create_run(tmp_path, "cut", seed, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, shape) as writer:
        writer.append(bare)
    page = report.write_report(folder).read_text()
    assert "interrupted" in page
    assert "not measured" in page
    assert "no symbols recorded" in page


def test_a_run_without_rounds_has_a_report(tmp_path, seed):
    folder = create_run(tmp_path, "empty", seed, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, factory.shape()):
        pass
    assert "No round was completed" in report.write_report(folder).read_text()


def test_more_nodes_than_panels_become_a_map(seed):
    shape = factory.shape(K=8, L=2, U=40, pilots=4)
    made = tuple(r for r, _ in factory.rounds(seed, shape))
    axes = style.draw(figures.channel, SimpleNamespace(shape=shape, rounds=made)).axes[0]
    assert axes.images[0].get_array().shape == (56, 40)


def test_many_layers_show_a_choice_of_allocations():
    assert report.spread(range(4), 8) == [0, 1, 2, 3]
    assert report.spread(range(32), 8) == [0, 4, 9, 13, 18, 22, 27, 31]


def test_no_report_without_a_run(tmp_path):
    with pytest.raises(RecordError, match="not a run folder"):
        report.write_report(tmp_path)


@pytest.mark.parametrize(("value", "words"), [(0.0, "0 nJ"), (1.234, "1.23 J"), (4e-4, "400 µJ"), (0.99, "990 mJ")])
def test_joules_are_written_with_three_digits(value, words):
    assert report.joule(value) == words
