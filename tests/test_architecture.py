"""The shape of the house, held by reading its source: who imports whom, what stays light, how long things may be."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "medn2n"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS = sorted((ROOT / "pipelines").rglob("*.py"))

# Each layer and what it may import besides itself. "top": modules of medn2n/ itself that put stages together.
SHARED = {"errors", "log", "config", "medn2n"}
ALLOWED = {
    "core": SHARED,
    "formats": SHARED | {"core"},
    "engines": SHARED | {"core"},
    "stages": SHARED | {"core", "formats", "engines"},
    "hospital": SHARED | {"core", "formats", "engines", "stages", "top"},
    "top": SHARED | {"core", "formats", "engines", "stages", "hospital"},
    "errors": set(),
    "log": set(),
    "config": {"errors"},
    # The package's own names are loaded lazily, and for type checkers.
    "medn2n": {"core", "formats", "stages", "top"},
}


def layer_of(module: str) -> str:
    """medn2n.formats.nifti → formats; medn2n.batch → top; medn2n.errors → errors; medn2n → medn2n."""
    parts = module.split(".")
    if len(parts) == 1:
        return "medn2n"
    if parts[1] in ALLOWED:
        return parts[1]
    return "top"


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, at the top or inside a function, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                is_module = (ROOT / Path(*inner.split("."))).with_suffix(".py").is_file() or (
                    ROOT / Path(*inner.split("."))
                ).is_dir()
                yield (inner if is_module else module), node.lineno


def test_imports_go_one_way() -> None:
    wrong = []
    for path in MODULES:
        here = layer_of(name_of(path))
        for module, line in imports(path):
            if module.split(".")[0] != "medn2n":
                continue
            there = layer_of(module)
            if there != here and there not in ALLOWED[here]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} ({here}) imports {module} ({there})")
    assert wrong == []


def test_stages_never_import_one_another() -> None:
    wrong = [
        f"{path.name}:{line} imports {module}"
        for path in (PACKAGE / "stages").glob("*.py")
        for module, line in imports(path)
        if module.startswith("medn2n.stages.")
    ]
    assert wrong == []


def test_the_package_never_imports_what_is_around_it() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in MODULES
        for module, line in imports(path)
        if module.split(".")[0] in ("pipelines", "configs", "tests", "data_manifests")
    ]
    assert wrong == []


OPENS_FILES = {
    "nibabel", "pydicom", "SimpleITK", "highdicom", "safetensors", "openvino", "PIL", "imageio", "json", "yaml", "os",
    "shutil", "tempfile", "gzip", "time", "datetime", "subprocess", "socket", "requests",
}  # fmt: skip


def test_core_opens_no_files_and_reads_no_clock() -> None:
    wrong = [
        f"{path.name}:{line} imports {module}"
        for path in (PACKAGE / "core").glob("*.py")
        for module, line in imports(path)
        if module.split(".")[0] in OPENS_FILES - {"json"}  # json: text made canonical, no file
    ]
    for path in (PACKAGE / "core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
                wrong.append(f"{path.name}:{node.lineno} opens a file")
    assert wrong == []


IMAGE_LIBRARIES = {"nibabel", "pydicom", "SimpleITK", "highdicom", "safetensors"}


def test_only_formats_open_image_and_model_files() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in MODULES
        if "formats" not in path.parts
        for module, line in imports(path)
        if module.split(".")[0] in IMAGE_LIBRARIES
    ]
    # The demo copies the example scans out of nibabel's and pydicom's own packages.
    assert [line for line in wrong if not line.startswith("medn2n/demo")] == []


def test_journeys_use_public_names_only() -> None:
    wrong = [
        f"{path.name}:{line} imports {module}"
        for path in SCRIPTS
        for module, line in imports(path)
        if module.split(".")[0] == "medn2n" and module not in ("medn2n", "medn2n.errors", "medn2n.config")
    ]
    assert wrong == []
    assert SCRIPTS


def global_draws(path: Path) -> Iterator[str]:
    """np.random.<function> of the global state, and torch's global seed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text.startswith("np.random.") and text not in (
                "np.random.default_rng", "np.random.Generator", "np.random.RandomState", "np.random.SeedSequence",
            ):  # fmt: skip
                yield f"{path.name}:{node.lineno} {text}"
            if text in ("torch.manual_seed", "random.seed", "random.random"):
                yield f"{path.name}:{node.lineno} {text}"


def test_core_has_no_global_random_state() -> None:
    assert [found for path in (PACKAGE / "core").glob("*.py") for found in global_draws(path)] == []


# Light where it must be


def modules_after(code: str) -> set[str]:
    """Names in sys.modules after `code` ran in a process of its own."""
    report = "import sys; import json; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"try:\n{code}\nexcept SystemExit as e:\n    assert not e.code, e.code\n{report}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


def run_command(*arguments: object) -> str:
    return (
        f"    import sys\n    sys.argv = {['medn2n', *map(str, arguments)]!r}\n"
        "    from medn2n.cli import main\n    main()"
    )


HEAVY = {"torch", "monai", "lightning"}


def test_help_loads_nothing_heavy() -> None:
    assert not modules_after(run_command("--help")) & (HEAVY | {"numpy", "pydicom", "nibabel", "matplotlib"})


def test_catalogue_loads_neither_torch_nor_monai(tmp_path: Path) -> None:
    from tests import build

    build.dicom_series(tmp_path / "ct", slices=2)
    (tmp_path / "mr").mkdir()
    build.nifti(tmp_path / "mr" / "a.nii.gz")
    assert not modules_after(run_command("catalogue", tmp_path)) & (HEAVY | {"matplotlib"})


def test_denoise_with_openvino_loads_neither_torch_nor_monai(tmp_path: Path, ct_bundle: Path) -> None:
    from tests import build

    build.dicom_series(tmp_path / "in", slices=2, rows=40, columns=40)
    loaded = modules_after(
        run_command("denoise", tmp_path / "in", tmp_path / "out", "--model", ct_bundle, "--device", "cpu")
    )
    assert "openvino" in loaded
    assert not loaded & HEAVY
    assert (tmp_path / "out" / "report.html").is_file()


# Short enough to read


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path))
def test_files_and_functions_are_short_and_documented(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 40, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
    for node, parent in public(tree):
        assert ast.get_docstring(node), f"{parent}{node.name} has no docstring"


def test_test_files_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in TESTS}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def public(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, str]]:
    """Public functions and classes of a module, and public methods of its public classes that are not overrides of a
    documented protocol (forward) or have no body of their own (…)."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node, ""
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    known = inner.name in ("forward", "sha256") if isinstance(inner, ast.FunctionDef) else True
                    if not known and not inner.name.startswith("_"):
                        yield inner, f"{node.name}."


def test_no_folder_is_empty_and_names_are_plain() -> None:
    for folder in ("core", "formats", "engines", "stages", "hospital"):
        assert [path for path in (PACKAGE / folder).glob("*.py") if path.name != "__init__.py"]
    vague = ("util", "helper", "base", "manager", "common", "misc")
    assert [path for path in MODULES if any(word in path.stem for word in vague)] == []


# Nothing that belongs elsewhere

FORBIDDEN = ("../sha" + "red", ".libr" + "ary", "far" + "m-")
TEXT = (".py", ".md", ".yaml", ".json", ".toml", ".html", ".sh", ".txt", ".css", "")


def test_no_path_of_a_workplace_is_left_in_the_project() -> None:
    folders = ["medn2n", "configs", "data_manifests", "pipelines", "tests"]
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in TEXT]
    paths += [ROOT / name for name in ("README.md", "CHANGELOG.md", "NOTICE", "pyproject.toml")]
    for path in paths:
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace").lower()
            assert [word for word in FORBIDDEN if word in text] == [], path


def test_recipes_and_manifests_parse_and_ship() -> None:
    from medn2n.formats.manifest import read_manifest
    from medn2n.recipes import read_recipe

    recipes = sorted((ROOT / "configs").glob("*.yaml"))
    assert recipes
    names = [read_recipe(path).name for path in recipes]
    assert len(set(names)) == len(names)
    for path in recipes:
        assert path.read_text(encoding="utf-8").startswith("# "), f"{path.name} does not say what it is for"
    manifests = sorted((ROOT / "data_manifests").glob("*.json"))
    assert manifests
    for path in manifests:
        manifest = read_manifest(path)
        for group in [*manifest.training, *manifest.validation, *manifest.test]:
            assert group.sha256, f"{path.name}: {group.group} has no sha256"
            assert group.source, f"{path.name}: {group.group} names no source"
            assert group.licence, f"{path.name}: {group.group} names no licence"
