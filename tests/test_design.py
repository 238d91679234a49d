"""The house rules: public names, layers, and what no module may touch. Read from the syntax trees, not by importing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import thinwire

SOURCE = Path(thinwire.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

PUBLIC = [
    "AdaComp", "AdaQuantFL", "Ans", "ByEnergy", "ByImportance", "ByVolume", "ByteBudget", "Cast", "ChunkTopK", "Clip",
    "Codec", "Compressor", "DGCSampling", "Deadline", "Eden", "Encoded", "ErrorBound", "ErrorFeedback", "Fixed",
    "Gaussian", "HggTopK", "Huffman", "Indices", "LowRank", "MSTopK", "Message", "MomentumCorrection", "NF4", "Natural",
    "NoFeedback", "NonFiniteError", "OneBit", "Planes", "Plateau", "Qsgd", "RandomK", "Ranges", "Raw", "Rdoq",
    "RedSync", "Report", "ReusedThreshold", "SIDCo", "Sign", "Signals", "Smallest", "Sparse", "Spec", "Step", "Symbols",
    "Ternary", "Threshold", "TopK", "Uniform", "WarmUp", "WireError", "Zstd", "decode", "dumps", "encode", "inspect",
    "loads", "parse", "specs", "zoo",
]  # fmt: skip

LAYERS = {
    "errors": 0, "rates": 0, "switches": 0, "kernels": 1, "codec": 2, "registry": 2, "codecs": 3, "delta": 3,
    "feedback": 3, "policy": 3, "compressor": 4, "wire": 4, "compressors": 5, "exchange": 5, "zoo": 5,
    "collective": 6, "testing": 6, "checkpoint": 7, "ddp": 7, "flower": 7, "lab": 8, "cli": 9,
}  # fmt: skip
"""A module imports lower layers only. Names that share a layer stay apart, but for codec and registry."""
ENGINES = {"checkpoint", "collective", "ddp", "flower", "lab", "cli", "testing"}
IMPURE = {
    "asyncio", "builtins", "datetime", "glob", "http", "importlib", "io", "logging", "multiprocessing", "os",
    "pathlib", "random", "secrets", "shutil", "socket", "subprocess", "tempfile", "threading", "time", "urllib",
    "uuid", "warnings",
}  # fmt: skip
UNSAFE = {"cloudpickle", "ctypes", "dill", "joblib", "marshal", "pickle", "shelve"}
DRAWS = {"rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal", "rand_like", "randn_like"}


def part(path: Path) -> str:
    """Return the first name under ``thinwire`` that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["thinwire", *path.relative_to(SOURCE).parts[: -node.level]] if node.level else []
            yield from (".".join([*package, *filter(None, [node.module]), alias.name]) for alias in node.names)


def own(path: Path) -> Iterator[str]:
    """Yield what a file imports of thinwire, as dotted names without the first."""
    for name in imports(path):
        if name.split(".")[0] == "thinwire":
            yield name.partition(".")[2] or "__init__"


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call by its dotted name, as written."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def below_the_engines() -> list[Path]:
    """All but ``switches``, which asks the environment whether any of this can run."""
    return [path for path in MODULES if part(path) not in ENGINES | {"switches"}]


def test_public_names_change_on_purpose_only() -> None:
    assert sorted(thinwire.__all__) == PUBLIC
    assert all(hasattr(thinwire, name) for name in PUBLIC)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downwards(path: Path) -> None:
    mine = part(path)
    if mine == "__init__":
        return
    for name in own(path):
        other = name.split(".")[0]
        if mine not in ENGINES:
            assert other in LAYERS, f"{mine} imports {name}: import from the module, not from the package"
        if other in LAYERS and other != mine:
            related = {mine, other} == {"codec", "registry"}
            assert related or LAYERS[other] < LAYERS[mine], f"{mine} imports {name}"


def test_every_module_has_a_layer() -> None:
    assert {part(path) for path in MODULES} - {"__init__"} <= set(LAYERS)


def test_codecs_never_import_each_other() -> None:
    for path in (SOURCE / "codecs").rglob("*.py"):
        below = path.relative_to(SOURCE / "codecs").parts
        family = f"codecs.{below[0]}." if len(below) > 1 else "none"
        strangers = {name for name in own(path) if not name.startswith(family)}
        if below != ("__init__.py",):
            assert {name.split(".")[0] for name in strangers} <= {"codec", "registry", "errors", "kernels"}, path


@pytest.mark.parametrize("name", ["policy", "wire", "feedback", "compressor", "codec", "registry"])
def test_codecs_are_met_as_fields_only(name: str) -> None:
    paths = [path for path in MODULES if part(path) == name]
    assert paths
    assert not [other for path in paths for other in own(path) if other.split(".")[0] == "codecs"]


def test_kernels_know_nothing_of_codecs() -> None:
    for path in (SOURCE / "kernels").rglob("*.py"):
        assert {name.split(".")[0] for name in own(path)} <= {"errors", "kernels"}, path


def test_flower_is_imported_by_the_engine_and_the_lab_only() -> None:
    users = {part(path) for path in MODULES for name in imports(path) if name.split(".")[0] == "flwr"}
    assert users <= {"flower", "lab"}


def test_ranks_talk_in_the_collective_layer_only() -> None:
    users = {part(path) for path in MODULES for name in imports(path) if name.startswith("torch.distributed")}
    assert users <= {"collective", "ddp", "lab"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_runs_what_it_reads(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in UNSAFE}
    names = {name for name, _ in calls(path)}
    assert not names & {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "np.load"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_global_random_generator_is_used(path: Path) -> None:
    for name, call in calls(path):
        if (part(path), name) != ("flower", "random.seed"):  # put back afterwards: flwr samples with nothing else
            assert name not in {"torch.manual_seed", "torch.seed", "random.seed"}, f"{path}:{call.lineno}"
        if name.startswith(("np.random.", "numpy.random.")):
            assert name.rpartition(".")[2] in {"default_rng", "get_state"}, f"{path}:{call.lineno} {name}"
        if name.startswith("torch.") and name.removeprefix("torch.") in DRAWS:
            assert "generator" in {keyword.arg for keyword in call.keywords}, f"{path}:{call.lineno} {name}"


@pytest.mark.parametrize("path", below_the_engines(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_clock_environment_file_or_network_below_the_engines(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in IMPURE}
    assert not {name for name, _ in calls(path)} & {"open", "print", "input"}


def test_importing_thinwire_loads_nothing_heavy_or_optional() -> None:
    code = "import sys, thinwire; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    heavy = {"numba", "flwr", "sklearn", "matplotlib", "hypothesis", "pytest", "rich", "jinja2", "grpc", "pandas"}
    heavy.add("safetensors")
    assert not heavy & set(run.stdout.split())


@pytest.mark.parametrize("value", ["1", "0", ""])
def test_a_switched_off_compiler_is_refused_in_a_sentence(value: str) -> None:
    command = [sys.executable, "-c", "import thinwire"]
    run = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": value}, capture_output=True, text=True, timeout=120
    )
    assert (run.returncode != 0) == (value == "1")
    assert (value == "1") == run.stderr.strip().split("\n")[-1].startswith("ImportError: NUMBA_DISABLE_JIT is set")


def test_the_suite_for_plug_in_authors_needs_thinwire_only() -> None:
    code = "import sys; sys.modules['hypothesis'] = sys.modules['pytest'] = None; import thinwire.testing"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
