"""The documents that ship say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import medn2n
from medn2n.core.lesion_trial import ROSE
from medn2n.core.limits import Limits
from medn2n.core.noise_texture import FAR_SLICES_MM, SHARED_SLICES, WHITE_LAG1
from medn2n.core.objectives import OBJECTIVES
from medn2n.core.scores import FIGURES, PHYSICS
from medn2n.core.second_views import STRATEGIES
from medn2n.formats.dicom_header import CT_CLASSES, MR_CLASSES
from medn2n.formats.dicom_syntax import SYNTAX_UIDS
from medn2n.formats.dicom_uid import IMPLEMENTATION_CLASS_UID
from tests.conformance import NEW, REMOVED

PACKAGE = Path(medn2n.__file__).parent
CASES = (PACKAGE / "docs" / "input_cases.md").read_text(encoding="utf-8")
STATEMENT = (PACKAGE / "docs" / "dicom_conformance_statement.md").read_text(encoding="utf-8")
# Codes that are no verdict on a scan of a denoise run: wrong references, manifests, models, declarations.
ELSEWHERE = {
    "CHECKPOINT", "COPY_DIFFERS", "COPY_MISSING", "DAMAGED_CACHE", "DAMAGED_MODEL", "DIFFERENT_GRIDS",
    "GRADIENT_TABLE", "MISSING_FILE", "NEEDS_A_FRAME", "NO_SUCH_FRAME", "NO_SUCH_SERIES", "NO_VOXELS", "OTHER_GRID",
    "OTHER_NETWORK", "SAME_DATA", "SEVERAL_SERIES", "SHAPES_DIFFER", "TOO_LITTLE", "UNKNOWN_MODEL",
}  # fmt: skip


def _raised() -> set[str]:
    """Codes in InputError and ModelError calls, and in verdicts, of what a denoise run goes through."""
    codes: set[str] = set()
    stages = [PACKAGE / "stages" / "volume_to_denoised.py", PACKAGE / "core" / "geometry.py"]
    stages.append(PACKAGE / "core" / "kspace_keeping.py")
    for path in [*(PACKAGE / "formats").glob("*.py"), *stages, PACKAGE / "core" / "scaling.py", PACKAGE / "batch.py"]:
        text = path.read_text(encoding="utf-8")
        codes |= set(re.findall(r'(?:Input|Model)Error\(\s*"([A-Z0-9_]+)"', text))
        codes |= set(re.findall(r'"(?:passed|refused)",\s*"([A-Z0-9_]+)"', text))
        codes |= set(re.findall(r'(?:code=|base, |root, )"([A-Z0-9_]+)"', text))
        codes |= set(re.findall(r'return "([A-Z0-9_]+)", "a ', text))
    return codes


def test_every_code_of_a_scan_is_in_the_table_of_input_cases() -> None:
    listed = {code for row in re.findall(r"\| ([A-Z0-9_, ]+) \|$", CASES, re.MULTILINE) for code in row.split(", ")}
    listed = {code.strip() for code in listed} - {""}
    raised = _raised() - ELSEWHERE
    assert raised - listed == set()
    everything = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert {code for code in listed if f'"{code}"' not in everything} == set()


def test_conformance_statement_names_what_the_code_reads_and_writes() -> None:
    for uid in (*CT_CLASSES, *MR_CLASSES, *SYNTAX_UIDS.values(), IMPLEMENTATION_CLASS_UID):
        assert uid in STATEMENT
    table = STATEMENT.split("| Attribute |")[1].split("\n\n")[0]
    for keyword in NEW | REMOVED:
        stem = re.sub(r"(Date|Time)$", "", keyword)
        assert keyword in table or f"{stem}Date/Time" in table, keyword


def test_the_table_of_second_views_is_the_code_s() -> None:
    text = (PACKAGE / "docs" / "second_views.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [
        (name, strategy.second_view, strategy.asks, strategy.source) for name, strategy in STRATEGIES.items()
    ]
    for name in OBJECTIVES:
        assert f"`{name}`" in text
    limits = (FAR_SLICES_MM, SHARED_SLICES, WHITE_LAG1)
    assert all(f"{limit:g}" in text for limit in limits)


def test_every_figure_and_limit_of_an_evaluation_is_explained() -> None:
    text = (PACKAGE / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert [name for name in (*FIGURES, *PHYSICS) if f"`{name}`" not in text] == []
    assert f"visibility {ROSE:g} and more" in text
    assert f"−{Limits().auc_loss:g} or more (`auc_loss`)" in text
    assert Limits().lesion_contrast == 0.5
    assert "at least half of its contrast" in text
