"""numpy sorts with AVX2 where that is quicker, and where nobody has said anything else."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from headwater import simd

ZEN4 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9354 32-Core Processor
flags\t\t: fpu vme avx2 avx512f avx512dq avx512vl

processor\t: 1
vendor_id\t: AuthenticAMD
"""


def test_zen_4_is_known_by_its_family_and_avx512() -> None:
    assert simd.is_zen4(ZEN4)
    # Zen 3, Zen 5 and Sapphire Rapids.
    assert not simd.is_zen4(ZEN4.replace("avx512f", "fsgsbase"))
    assert not simd.is_zen4(ZEN4.replace(": 25", ": 26"))
    assert not simd.is_zen4(ZEN4.replace("AuthenticAMD", "GenuineIntel"))
    assert not simd.is_zen4("")
    assert not simd.is_zen4("Processor\t: AArch64 Processor rev 4 (aarch64)\n\n")


def test_a_cut_list_of_processors_is_enough() -> None:
    assert simd.is_zen4(ZEN4[: ZEN4.index("processor\t: 1") + 5])


def test_the_version_of_numpy_is_read_without_loading_it() -> None:
    assert simd.numpy_version() == tuple(map(int, np.__version__.split(".")[:2]))


def test_nothing_is_said_when_numpy_is_there_already() -> None:
    environment: dict[str, str] = {}
    simd.settle(environment)
    assert not environment


_PRELUDE = (
    "import headwater, numpy; from numpy._core._multiarray_umath import __cpu_features__ as f"
)
needs_zen4 = pytest.mark.skipif(
    not simd.is_zen4(simd.beginning("/proc/cpuinfo")) or simd.numpy_version() < (2, 4),
    reason="this is no Zen 4, or numpy has other names",
)


def printed(environment: dict[str, str]) -> str:
    rest = {name: value for name, value in os.environ.items() if not name.startswith("NPY_")}
    code = f"{_PRELUDE}; print(f['X86_V4'], f['X86_V3'])"
    command = [sys.executable, "-W", "error", "-c", code]
    found = subprocess.run(
        command, env=rest | environment, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


@needs_zen4
def test_numpy_leaves_avx512_alone_on_zen_4() -> None:
    assert printed({}) == "False True"


@needs_zen4
def test_what_the_environment_says_counts() -> None:
    assert printed({simd.DISABLED: ""}) == "True True"
