"""What is said on top where little was measured: no limit that is open counts as held."""

from __future__ import annotations

from math import nan
from pathlib import Path

import numpy as np
import pytest

from medn2n.core.limits import GATES, TOO_LITTLE_TISSUE, TOO_UNCERTAIN, Gate, unmeasured
from medn2n.core.scores import Evaluation, Score, summarise
from medn2n.formats.denoise_page import DenoisedSeries, write_denoise_page
from medn2n.formats.evaluation_page import write_evaluation_page
from medn2n.formats.gate_words import not_measured, verdict

STRUCTURE = ("spots", "weakening", "invention")


def gate(name: str, passed: bool | None = True, why: str = "") -> Gate:
    if why == TOO_UNCERTAIN:
        return Gate(name=name, passed=None, value=0.2, limit=0.12, excess=0.5, unit="", words="Open.", why=why)
    if passed is None:
        return unmeasured(name, "", "Open.", why)
    excess = 0.5 if passed else 2.0
    return Gate(name=name, passed=passed, value=excess, limit=1.0, excess=excess, unit="", words="Told.")


def scan(**open_: str) -> tuple[Gate, ...]:
    """All gates; `open_`: name → why it is open."""
    return tuple(gate(name, None, open_[name]) if name in open_ else gate(name) for name in GATES)


def without(names: tuple[str, ...], why: str = TOO_LITTLE_TISSUE) -> tuple[Gate, ...]:
    return scan(**dict.fromkeys(names, why))


def evaluated(*scans: tuple[Gate, ...], figures: dict[str, float] | None = None, modality: str = "CT") -> Evaluation:
    """One method ("vendor") on scans with these gates; figures: those of the first scan."""
    usual = {"noise_left": 0.5, "ct_number_shift/fat": 0.4, "ct_number_shift_error/fat": 0.1}
    scores = [
        Score(group=f"g-{n}", subject=f"p-{n}", modality=modality, question="single", method=method, gates=gates,
              figures=figures if n == 0 and figures is not None else usual)
        for n, gates in enumerate(scans)
        for method in ("noisy", "vendor")
    ]  # fmt: skip
    return Evaluation(
        manifest_sha256="0" * 64, split="test", seed=0, models=("vendor",), scores=tuple(scores),
        summaries=summarise(scores, np.random.default_rng(0)), tuning={},
    )  # fmt: skip


def page_of(result: Evaluation, tmp_path: Path) -> str:
    write_evaluation_page(tmp_path / "r.html", result, [])
    return (tmp_path / "r.html").read_text(encoding="utf-8")


def test_open_limits_are_named_with_why_and_in_how_many_scans() -> None:
    assert not_measured([scan(), scan()]) == ""
    alone = not_measured([without(STRUCTURE)])
    assert alone == "Not measured: spots, weakening, invention (too little even tissue)."
    some = not_measured([scan(sharpness=TOO_UNCERTAIN), scan(), scan()])
    assert some == "Not measured: sharpness (too uncertain, 1 of 3 scans)."
    # A limit that nobody set is not asked for.
    assert not_measured([(gate("numbers", None, ""), gate("noise"))]) == ""


@pytest.mark.parametrize(
    ("gates", "text", "tone"),
    [
        (scan(), "passed", "good"),
        (scan(weakening="too little structure"), "passed", "good"),
        (scan(sharpness=TOO_UNCERTAIN), "partly measured", "check"),
        (without(STRUCTURE), "partly measured", "check"),
        (without(GATES), "not measured", "check"),
        ((*without(STRUCTURE)[:-1], gate("noise", False)), "failed", "bad"),
        ((gate("numbers", None, ""), *scan()[1:]), "passed", "good"),
    ],
)
def test_the_chip_is_green_only_where_numbers_sharpness_and_spots_were_measured(
    gates: tuple[Gate, ...], text: str, tone: str
) -> None:
    chip = verdict([scan(), gates]) if text != "not measured" else verdict([gates])
    assert (chip.text, chip.tone) == (text, tone)


def test_a_phrase_says_in_how_many_scans_it_was_measured(tmp_path: Path) -> None:
    uncertain = scan(sharpness=TOO_UNCERTAIN)
    page = page_of(evaluated(uncertain, scan(), scan(), figures={}), tmp_path)
    assert "noise down 50 % (measured in 2 of 3 scans)" in page
    assert "CT numbers of fat (measured in 2 of 3 scans) within 0.4 HU" in page
    assert "edges as sharp as before, within the limit (measured in 2 of 3 scans)" in page
    assert "leaves 50 % of the noise (measured in 2 of 3 scans)" in page
    assert "no limit that was measured failed in 3 scans (20 of 21 were measured)." in page
    assert "Not measured: sharpness (too uncertain, 1 of 3 scans)." in page
    assert 'class="chip check">partly measured' in page
    assert 'class="chip good">passed' not in page
    whole = page_of(evaluated(scan(), scan(), scan()), tmp_path)
    assert "(measured in" not in whole
    assert "all limits hold in 3 scans." in whole
    assert 'class="chip good">passed' in whole


def test_numbers_and_edges_that_were_not_measured_are_said_to_be(tmp_path: Path) -> None:
    nothing = without(("numbers", "sharpness", *STRUCTURE))
    words = "edges not measured."
    assert f"CT numbers of fat and soft tissue not measured; {words}" in page_of(
        evaluated(nothing, figures={"noise_left": 0.5}), tmp_path
    )
    assert f"signal not measured; {words}" in page_of(
        evaluated(nothing, figures={"noise_left": 0.5}, modality="MR"), tmp_path
    )


def test_means_that_are_too_uncertain_are_not_counted(tmp_path: Path) -> None:
    moved = {"ct_number_shift/fat": 5.0, "ct_number_shift_error/fat": 4.0}
    page = page_of(evaluated(scan(numbers=TOO_UNCERTAIN), scan(), figures=moved), tmp_path)
    assert "CT numbers of fat (measured in 1 of 2 scans) within 0.4 HU" in page
    single = {"ct_number_shift/fat": 5.0, "ct_number_shift_error/fat": nan}
    page = page_of(evaluated(scan(), scan(), figures=single), tmp_path)
    assert "CT numbers of fat (measured in 1 of 2 scans) within 0.4 HU" in page
    share = {"signal_share/bright": 1.01}
    page = page_of(evaluated(scan(), scan(numbers=TOO_UNCERTAIN), figures=share, modality="MR"), tmp_path)
    assert "signal within 1.0 % (measured in 1 of 2 scans)" in page


def test_the_page_of_a_run_names_open_limits_on_top(tmp_path: Path) -> None:
    open_ = without(STRUCTURE)
    for entries, words in (
        ([open_], "Not measured: spots, weakening, invention (too little even tissue)."),
        ([open_, scan()], "Not measured: spots, weakening, invention (too little even tissue, 1 of 2 series)."),
    ):
        series = [DenoisedSeries(id=f"s-{n}", status="done", gates=gates) for n, gates in enumerate(entries)]
        write_denoise_page(tmp_path / "r.html", [*series, DenoisedSeries(id="s-9", status="passed")])
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert words in page
        assert 'class="chip check">partly measured' in page
        assert page.index(words) < page.index("<table")
