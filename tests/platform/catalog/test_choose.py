from pathlib import Path

import pytest

from mainstay.kit.errors import NotFoundError
from mainstay.platform.catalog import Catalog
from mainstay.platform.catalog.choose import choose_default
from mainstay.platform.catalog.machine import this_machine

GIB = 1 << 30
CATALOG = Catalog.load()


@pytest.mark.parametrize(
    ("cores", "memory_bytes", "expected", "reason"),
    [
        (
            2,
            24 * GIB,
            "qwen2.5-coder-0.5b-instruct",
            (
                "qwen2.5-coder-0.5b-instruct: a 500-token prompt is answered after about 3.7 s on 2 cores; "
                "qwen2.5-coder-1.5b-instruct would take 7.6 s (limit 5 s)."
            ),
        ),
        (4, 24 * GIB, "qwen2.5-coder-1.5b-instruct", "answered after about 3.8 s on 4 cores."),
        (1, 24 * GIB, "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct would take 7.4 s"),
        (8, 2 * GIB, "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct needs 1.7 GB of memory."),
        (0, 24 * GIB, "smollm2-135m-instruct", "on 1 core;"),
        (8, GIB // 4, "smollm2-135m-instruct", "the smallest; it wants 0.6 GB of memory, and 0.3 GB is little"),
    ],
)
def test_the_best_model_that_answers_in_time_is_chosen_with_its_reason(
    cores: int, memory_bytes: int, expected: str, reason: str
):
    choice = choose_default(CATALOG, cores, memory_bytes)
    assert choice.weights.id == expected
    assert reason in choice.reason


def test_if_none_is_quick_enough_the_quickest_is_chosen():
    slow_only = Catalog(entry for entry in CATALOG.list() if entry.id != "smollm2-135m-instruct")
    choice = choose_default(slow_only, 1, 24 * GIB)
    assert choice.weights.id == "qwen2.5-coder-0.5b-instruct"
    assert "the quickest here" in choice.reason


def test_a_catalog_without_chat_models_has_no_default():
    with pytest.raises(NotFoundError, match="--model"):
        choose_default(Catalog([CATALOG.get("all-minilm-l6-v2")]), 2, GIB)


def machine_root(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, content in {"proc/meminfo": "MemFree: 5 kB\nMemTotal:  1048576 kB\n", **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_quotas_of_the_group_and_of_those_above_it_hold(tmp_path: Path):
    root = machine_root(
        tmp_path,
        {
            "proc/self/cgroup": "0::/outer/inner\n",
            "sys/fs/cgroup/outer/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/outer/memory.max": "1000000\n",
            "sys/fs/cgroup/outer/inner/cpu.max": "max 100000\n",
            "sys/fs/cgroup/outer/inner/memory.max": "max\n",
        },
    )
    assert this_machine(root).cores == 1
    assert this_machine(root).memory_bytes == 1_000_000


@pytest.mark.parametrize("files", [{}, {"proc/self/cgroup": "4:cpu:/x\n"}, {"proc/self/cgroup": "0::/../x\n"}])
def test_without_groups_the_whole_machine_is_counted(tmp_path: Path, files: dict[str, str]):
    machine = this_machine(machine_root(tmp_path, files))
    assert machine.memory_bytes == GIB
    assert machine.cores >= 1


def test_this_machine_has_cores_and_memory():
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_bytes > GIB // 8
