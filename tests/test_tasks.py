"""The lab's tasks: data from real files and small made ones, models, local training, metrics and partitions."""

from __future__ import annotations

import copy
import csv
import dataclasses
import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from thinwire.lab.tasks import DataNotFound, Task, Training, adult, avazu, data_dir, find, images, partition, tasks
from thinwire.lab.tasks.base import Data
from thinwire.lab.tasks.idx import read_idx
from thinwire.lab.tasks.metrics import accuracy, auc

REAL = Path(os.environ.get("THINWIRE_DATA") or Path(__file__).parents[2] / "shared" / "data")
NAMES = ["digits", "adult", "fashion-mnist", "mnist", "avazu"]


def real(path: str) -> Path:
    if not (REAL / path).exists():
        pytest.skip(f"no {path} under THINWIRE_DATA or ../shared/data")
    return REAL


def federated(task: Task, data: Data, training: Training, seed: int = 0) -> torch.nn.Module:
    """Plain federated averaging, weighted by rows."""
    parts = partition(training.partition)(data.train[-1], training.clients, seed)
    model = task.model(seed)
    for round_ in range(training.rounds):
        states = []
        for client, part in enumerate(parts):
            local = copy.deepcopy(model)
            task.train(local, tuple(column[part] for column in data.train), training, seed=round_ * 100 + client)
            states.append((len(part) / len(data.train[-1]), local.state_dict()))
        model.load_state_dict({name: sum(share * state[name] for share, state in states) for name in states[0][1]})
    return model


# The registry


def test_tasks_are_found_by_name_and_a_wrong_name_gets_the_nearest() -> None:
    assert list(tasks()) == NAMES
    assert all(find(name).name == name and "\n" not in find(name).summary for name in NAMES)
    with pytest.raises(ValueError, match=r"'fashion-mnits'.*known: digits.*did you mean fashion-mnist\?"):
        find("fashion-mnits")


@pytest.mark.parametrize(
    "change",
    [{"optimizer": "sgd"}, {"lr": 0.0}, {"lr": float("nan")}, {"clients": 0}, {"momentum": 1.0}, {"rounds": -1}],
)
def test_training_refuses_numbers_out_of_range(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(Training(), **change)


# Models and local training


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_model_and_leaves_the_global_random_state_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, second, other = (find(name).model(seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
        assert value.isfinite().all()
        assert name in ("adult", "avazu") or not torch.equal(value, other.state_dict()[key])


def test_linear_layers_start_as_pytorch_starts_them() -> None:
    layer = find("digits").model(0)[2]
    assert layer.weight.abs().max() <= 1 / 16
    assert layer.weight.std().item() == pytest.approx(1 / 16 / 3**0.5, rel=0.02)


def test_local_training_is_deterministic_changes_only_its_model_and_lowers_the_loss() -> None:
    task = find("digits")
    data = task.load(None)
    rows = tuple(column[:200] for column in data.train)
    kept = [column.clone() for column in rows]
    first, second = task.model(0), task.model(0)
    before = torch.get_rng_state()
    losses = [task.train(model, rows, task.training, seed=5) for model in (first, second)]
    assert losses[0] == losses[1] < task.evaluate(task.model(0), rows)[1]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(rows, kept, strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    task.train(second, rows, task.training, seed=6)
    assert task.evaluate(second, rows)[1] < losses[0]


def test_digits_split_is_fixed_and_stratified() -> None:
    data = find("digits").load(None)
    (x, y), (x_test, y_test) = data.train, data.test
    assert (x.shape, x_test.shape, x.dtype, y.dtype) == ((1437, 64), (360, 64), torch.float32, torch.int64)
    assert (x.min(), x.max()) == (0, 1)
    assert (torch.bincount(y_test) - torch.bincount(y) / 4).abs().max() <= 1
    assert torch.equal(find("digits").load(None).test[0], x_test)


def test_digits_federates_to_a_high_accuracy() -> None:
    task = find("digits")
    data = task.load(None)
    model = federated(task, data, dataclasses.replace(task.training, rounds=10))
    assert task.evaluate(model, data.test)[0] > 0.93


# Metrics


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=60))
def test_auc_equals_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    scores, target = [score / 3 for score, _ in rows], [int(label) for _, label in rows]
    if len(set(target)) == 1:
        with pytest.raises(ValueError, match="0s and 1s"):
            auc(torch.tensor(scores), torch.tensor(target))
    else:
        expected = roc_auc_score(target, scores)
        assert auc(torch.tensor(scores), torch.tensor(target)) == pytest.approx(expected, abs=1e-12)


def test_auc_of_constant_scores_is_a_half_and_of_nan_scores_is_nan() -> None:
    target = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    assert auc(torch.zeros(5), target) == 0.5
    assert np.isnan(auc(torch.tensor([0.0, 1.0, float("nan"), 2.0, 3.0]), target))


def test_auc_is_exact_on_many_rows() -> None:
    rng = np.random.default_rng(0)
    scores, target = rng.normal(size=50_000).astype(np.float32), rng.integers(0, 2, 50_000)
    assert auc(torch.tensor(scores), torch.tensor(target)) == pytest.approx(roc_auc_score(target, scores), abs=1e-12)


def test_accuracy_counts_the_largest_logit() -> None:
    assert accuracy(torch.tensor([[0.0, 1.0], [2.0, 1.0], [3.0, 4.0]]), torch.tensor([1, 0, 0])) == pytest.approx(2 / 3)


# Partitions

SPECS = ["iid", "dirichlet(0.001)", "dirichlet(0.5)", "dirichlet(100)", "by-size(0)", "by-size(1.5)", "by-size(10)"]


@settings(deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    targets=st.lists(st.integers(0, 4), min_size=1, max_size=300),
    clients=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_every_row_goes_to_exactly_one_client_and_none_is_short(
    spec: str, targets: list[int], clients: int, seed: int
) -> None:
    rule = partition(spec)
    if len(targets) < clients:
        with pytest.raises(ValueError, match="each needs a row"):
            rule(targets, clients, seed)
        return
    parts = rule(np.array(targets), clients, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(targets)))
    assert len(parts) == clients
    assert min(map(len, parts)) >= min(8, len(targets) // clients) >= 1
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    again = rule(torch.tensor(targets), clients, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@settings(deadline=None)
@given(held=st.integers(1, 5), clients=st.integers(1, 12), seed=st.integers(0, 99))
def test_by_label_gives_each_client_at_most_its_number_of_classes(held: int, clients: int, seed: int) -> None:
    targets = np.arange(5 * 40) % 5
    rule = partition(f"by-label({held})")
    if held * clients < 5:
        with pytest.raises(ValueError, match="none is left"):
            rule(targets, clients, seed)
        return
    parts = rule(targets, clients, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert all(1 <= len(set(targets[part].tolist())) <= held for part in parts)


def test_by_label_says_when_a_client_would_stay_empty() -> None:
    with pytest.raises(ValueError, match=r"leaves clients \[.*\] without a row"):
        partition("by-label(1)")([0] * 10 + [1], clients=6, seed=0)


def test_a_smaller_alpha_makes_clients_less_alike_and_seeds_differ() -> None:
    targets = find("digits").load(None).train[1].numpy()

    def purity(alpha: float) -> float:
        parts = partition(f"dirichlet({alpha})")(targets, clients=10, seed=1)
        return float(np.mean([np.bincount(targets[part]).max() / len(part) for part in parts]))

    assert purity(0.05) > purity(0.5) > purity(50)
    rule = partition("dirichlet(0.5)")
    assert not np.array_equal(rule(targets, 10, seed=0)[0], rule(targets, 10, seed=1)[0])


@given(st.floats(0.001, 1e6))
def test_a_partition_reads_its_own_text(alpha: float) -> None:
    rule = partition(f" dirichlet({alpha!r}) ")
    assert rule.value == alpha
    assert partition(str(rule)) == rule


@pytest.mark.parametrize("spec", ["iid", "dirichlet(0.5)", "by-label(2)", "by-size(1.5)"])
def test_a_partition_prints_as_it_was_written(spec: str) -> None:
    assert str(partition(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dirchlet(0.5)", r"known: iid, dirichlet\(alpha\).*did you mean dirichlet\(alpha\)\?"),
        ("", "known: iid"),
        ("dirichlet(0.5", "known: iid"),
        ("dirichlet", r"dirichlet\(alpha\) takes a number from 0.001"),
        ("dirichlet(0)", "takes a number"),
        ("dirichlet(nan)", "takes a number"),
        ("dirichlet(a)", "takes a number"),
        ("iid(3)", "iid takes no number"),
        ("by-label(1.5)", "whole number"),
        ("by-label(inf)", "whole number"),
        ("by-size(-1)", "from 0 to 10"),
    ],
)
def test_a_wrong_partition_is_explained(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partition(spec)


# Folders


def test_the_folder_comes_from_the_argument_then_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THINWIRE_DATA", "elsewhere")
    assert data_dir(tmp_path) == tmp_path
    assert data_dir() == Path("elsewhere")
    monkeypatch.delenv("THINWIRE_DATA")
    assert data_dir() is None


@pytest.mark.parametrize("name", ["adult", "avazu"])
def test_missing_tables_are_explained(name: str, tmp_path: Path) -> None:
    for root in (tmp_path, None):
        with pytest.raises(DataNotFound, match=rf"{root or 'no data folder'}.*{name}/.*--data FOLDER or THINWIRE_DATA"):
            find(name).load(root)


# Images


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def image_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    sizes = {"train": 30, "t10k": 20}
    pictures = {f"{part}-images-idx3-ubyte": rng.integers(0, 256, (n, 28, 28)) for part, n in sizes.items()}
    labels = {f"{part}-labels-idx1-ubyte": rng.integers(0, 10, n) for part, n in sizes.items()}
    return {name: idx(array.astype(np.uint8)) for name, array in (pictures | labels).items()}


def write(folder: Path, files: dict[str, bytes], packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folder", ["FashionMNIST/raw", "fashion-mnist", "."])
def test_images_load_from_each_layout(tmp_path: Path, folder: str, packed: bool) -> None:
    write(tmp_path / folder, image_files(), packed)
    task = find("fashion-mnist")
    data = task.load(tmp_path)
    assert [tuple(column.shape) for column in data.train + data.test] == [
        (30, 1, 28, 28),
        (30,),
        (20, 1, 28, 28),
        (20,),
    ]
    pixels = np.frombuffer(image_files()["t10k-images-idx3-ubyte"], np.uint8, offset=16)
    expected = (torch.tensor(pixels / 255).float() - 0.2860) / 0.3530
    assert torch.allclose(data.test[0].flatten(), expected, atol=1e-5)
    model = task.model(0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 813_258
    task.train(model, data.train, task.training, seed=0)
    assert 0 <= task.evaluate(model, data.test)[0] <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\0\0\x08\x01\0\0\0\x02ab", "with 3 dimensions"),
        (b"\0\0\x0d\x03" + bytes(12), "unsigned bytes"),
        (b"\0\0\x08\x03\0\0\0\x02", "12 header bytes|8 header bytes"),
        (idx(np.zeros((2, 3, 3), np.uint8))[:-1], "only 17"),
        (idx(np.zeros((2, 3, 3), np.uint8)) + b"x", "holds more"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "over the limit"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_bad_idx_files_are_explained(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    write(tmp_path, {"file": content}, packed)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / ("file" + ".gz" * packed), rank=3)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab")[:-9]])
def test_a_damaged_gzip_file_is_explained(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"file\.gz: damaged gzip"):
        read_idx(tmp_path / "file.gz", rank=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"train-labels-idx1-ubyte": idx(np.zeros(29, np.uint8))},
        {"train-labels-idx1-ubyte": idx(np.full(30, 10, np.uint8))},
        {"t10k-images-idx3-ubyte": idx(np.zeros((20, 28, 27), np.uint8))},
        {
            "t10k-images-idx3-ubyte": idx(np.zeros((0, 28, 28), np.uint8)),
            "t10k-labels-idx1-ubyte": idx(np.zeros(0, "u1")),
        },
    ],
)
def test_images_and_labels_that_do_not_fit_are_explained(tmp_path: Path, wrong: dict[str, bytes]) -> None:
    write(tmp_path, image_files() | wrong)
    with pytest.raises(ValueError, match="as many 28x28 images as labels"):
        find("mnist").load(tmp_path)


def test_a_folder_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match="typo"):
        find("mnist").load(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_an_unreachable_address_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = dataclasses.replace(images.MNIST, base_url="http://127.0.0.1:9/")
    with pytest.raises(
        DataNotFound, match=r"http://127\.0\.0\.1:9/train-images.*offline, put .*MNIST/raw.*THINWIRE_DATA"
    ):
        source.load()
    assert not list((tmp_path / "thinwire/MNIST/raw").iterdir())


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[images.Source]:
    """MNIST's source, but on a server on this machine that has made-up images."""
    monkeypatch.setenv("no_proxy", "*")
    write(tmp_path / "server", image_files(), packed=True)
    handler = functools.partial(Quiet, directory=str(tmp_path / "server"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        md5_of = {
            name: hashlib.md5((tmp_path / "server" / name).read_bytes()).hexdigest() for name in images.MNIST.md5_of
        }
        yield dataclasses.replace(images.MNIST, base_url=f"http://127.0.0.1:{server.server_address[1]}/", md5_of=md5_of)
        server.shutdown()


def test_files_are_downloaded_once_and_then_read_from_the_folder(served: images.Source, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    first = served.load(tmp_path / "data")
    offline = dataclasses.replace(served, base_url="http://127.0.0.1:9/")
    assert torch.equal(first.train[0], offline.load(tmp_path / "data").train[0])
    assert {path.name for path in (tmp_path / "data/MNIST/raw").iterdir()} == set(served.md5_of)


def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(served: images.Source, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DataNotFound, match=r"MD5 is .* published is f68b3c2dcbeaaa9fbdd348bbdeb94873"):
        dataclasses.replace(served, md5_of=images.MNIST.md5_of).load(tmp_path / "data")
    assert not list((tmp_path / "data/MNIST/raw").iterdir())


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_the_real_images_load_with_their_published_checksums(name: str, folder: str) -> None:
    root = real(folder)
    source = images.MNIST if name == "mnist" else images.FASHION_MNIST
    for file, md5 in source.md5_of.items():
        assert hashlib.md5((root / source.folders[0] / file).read_bytes()).hexdigest() == md5
    data = find(name).load(root)
    assert (len(data.train[1]), len(data.test[1])) == (60_000, 10_000)
    assert data.train[0].mean().item() == pytest.approx(0, abs=1e-3)
    assert data.train[0].std().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_fashion_mnist_learns_in_one_round() -> None:
    task = find("fashion-mnist")
    data = task.load(real("FashionMNIST"))
    model = federated(task, data, dataclasses.replace(task.training, rounds=1, partition="iid"))
    assert task.evaluate(model, data.test)[0] > 0.75


# Adult

PERSON = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, {}, 0, 40, ?, {}"
)


def write_adult(folder: Path, rows: int = 40) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [PERSON.format(5000 * (row % 2), (">50K", "<=50K")[row % 2]) for row in range(rows)]
    (folder / "adult.data").write_text("\n".join(lines) + "\n\n")
    (folder / "adult.test").write_text("|1x3 Cross validator\n" + "".join(f"{line}.\n" for line in lines) + "\n")


@pytest.mark.parametrize("folder", ["adult", "."])
def test_adult_reads_both_files_alike(tmp_path: Path, folder: str) -> None:
    write_adult(tmp_path / folder)
    data = find("adult").load(tmp_path)
    assert [tuple(column.shape) for column in data.train] == [(40, 22), (40, 5), (40,)]
    assert all(torch.equal(a, b) for a, b in zip(data.train, data.test, strict=True))
    assert data.train[2][:4].tolist() == [1, 0, 1, 0]
    assert data.train[1][:2, 2].tolist() == pytest.approx([-1, 1])
    assert data.train[1][:, 0].abs().max() == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("39, State-gov", "line 41: expected 15 fields.*got 2"),
        (PERSON.format(0, "50K"), "line 41.*the last one '50K'"),
        (PERSON.format("many", ">50K"), "column capital-gain: could not convert"),
        (PERSON.format("-1", ">50K"), "column capital-gain: expected finite numbers from 0 up"),
        (PERSON.format("nan", ">50K"), "column capital-gain: expected finite"),
    ],
)
def test_bad_adult_lines_are_explained(tmp_path: Path, line: str, message: str) -> None:
    write_adult(tmp_path)
    text = (tmp_path / "adult.data").read_text().strip()
    (tmp_path / "adult.data").write_text(f"{text}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        find("adult").load(tmp_path)


def test_an_empty_adult_file_is_explained(tmp_path: Path) -> None:
    write_adult(tmp_path, rows=0)
    with pytest.raises(ValueError, match="no rows"):
        find("adult").load(tmp_path)


def test_real_adult_has_its_published_counts_and_learns() -> None:
    task = find("adult")
    data = task.load(real("adult"))
    assert [(len(rows[2]), int(rows[2].sum())) for rows in (data.train, data.test)] == [(32561, 7841), (16281, 3846)]
    model = task.model(0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 123_777
    task.train(model, data.train, dataclasses.replace(task.training, local_epochs=1), seed=0)
    assert task.evaluate(model, data.test)[0] > 0.90


@pytest.mark.slow
def test_real_adult_federates_close_to_central_training() -> None:
    task = find("adult")
    data = task.load(real("adult"))
    assert task.evaluate(federated(task, data, task.training), data.test)[0] > 0.911


def test_embedding_rows_that_a_client_never_looks_up_have_exactly_zero_update() -> None:
    task = find("adult")
    rows = tuple(column[:500] for column in task.load(real("adult")).train)
    before = task.model(0)
    after = copy.deepcopy(before)
    task.train(after, rows, task.training, seed=0)
    seen = torch.zeros(adult.BUCKETS, dtype=torch.bool)
    seen[rows[0].long().unique()] = True
    assert seen.float().mean() < 0.5
    for name in ("wide.weight", "embedding.weight"):
        update = after.state_dict()[name] - before.state_dict()[name]
        assert (update[~seen] == 0).all()
        assert (update[seen] != 0).any(dim=1).float().mean() > 0.99


# Avazu


def write_avazu(path: Path, rows: int, seed: int = 0) -> None:
    """A click log in Avazu's own format, in which clicks depend on the site and on the hour."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(avazu.HEADER)
        for row in range(rows):
            hour, site = row * 24 // rows, int(rng.integers(20))
            click = rng.random() < (0.6 if site < 6 else 0.1) * (1.2 if hour > 12 else 0.8)
            others = [f"{rng.integers(50):08x}" for _ in avazu.CATEGORIES[3:]]
            fields = [1000 + rng.integers(3), rng.integers(2), f"{site:08x}", *others]
            writer.writerow([10**18 + row, int(click), f"141021{hour:02}", *fields])


@pytest.mark.parametrize("file", ["avazu/train.csv", "avazu/train.gz", "train"])
def test_avazu_reads_each_layout_and_tests_on_the_last_tenth(tmp_path: Path, file: str) -> None:
    write_avazu(tmp_path / file, rows=100)
    data = find("avazu").load(tmp_path)
    assert [tuple(column.shape) for column in data.train] == [(90, 27), (90, 0), (90,)]
    ids, clicks = avazu.read(tmp_path / file)
    assert torch.equal(data.test[0], torch.tensor(ids[90:]))
    assert data.test[2].tolist() == clicks[90:].tolist()


@settings(deadline=None, max_examples=20)
@given(chunk_rows=st.integers(1, 60), row_limit=st.integers(2, 60))
def test_avazu_chunks_do_not_change_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, chunk_rows: int, row_limit: int
) -> None:
    path = tmp_path_factory.mktemp("avazu") / "train.csv"
    write_avazu(path, rows=50)
    ids, clicks = avazu.read(path, row_limit, chunk_rows)
    whole_ids, whole_clicks = avazu.read(path)
    assert len(clicks) == min(row_limit, 50)
    assert np.array_equal(ids, whole_ids[:row_limit])
    assert np.array_equal(clicks, whole_clicks[:row_limit])
    assert max(len(table) for _, table in avazu.chunks(path, row_limit, chunk_rows)) <= chunk_rows


def test_avazu_learns_and_leaves_unseen_rows_alone(tmp_path: Path) -> None:
    write_avazu(tmp_path / "train.csv", rows=4000)
    task = find("avazu")
    data = task.load(tmp_path)
    model = task.model(0)
    before = model.embedding.weight.clone()
    task.train(model, data.train, dataclasses.replace(task.training, batch_size=32, local_epochs=3), seed=0)
    assert task.evaluate(model, data.test)[0] > 0.65
    unseen = torch.ones(avazu.BUCKETS, dtype=torch.bool)
    unseen[data.train[0].long().unique()] = False
    assert torch.equal(model.embedding.weight[unseen], before[unseen])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: lines[1:], "expected the header id,click,hour"),
        (lambda lines: [], "expected the header"),
        (lambda lines: lines[:1], "two rows or more"),
        (lambda lines: [*lines, "1,0,14102100"], "line 12: expected 24 fields.*"),
        (lambda lines: [*lines, lines[1].replace(",0,", ",2,", 1).replace(",1,", ",2,", 1)], "line 12.*second 0 or 1"),
        (lambda lines: [line.replace("141021", "149921") for line in lines], "expected YYMMDDHH, got '149921"),
    ],
)
def test_bad_avazu_files_are_explained(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    write_avazu(tmp_path / "train.csv", rows=10)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("".join(f"{line}\n" for line in spoil(lines)))
    with pytest.raises(ValueError, match=message):
        find("avazu").load(tmp_path)


def test_a_cut_off_avazu_file_is_explained(tmp_path: Path) -> None:
    write_avazu(tmp_path / "train.gz", rows=100)
    (tmp_path / "train.gz").write_bytes((tmp_path / "train.gz").read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"train\.gz: damaged file"):
        find("avazu").load(tmp_path)
