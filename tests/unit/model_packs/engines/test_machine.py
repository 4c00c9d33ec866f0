"""A machine is told by its processor, instruction sets and cores, on x86 and on Arm."""

from pathlib import Path

import pytest

from model_packs.engines.machine import this_machine

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: sse avx2\n\nmodel name\t: other\nflags\t\t: none\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd dotprod\nCPU part\t: 0xd0b\n\n"


@pytest.mark.parametrize(
    ("text", "cpu", "features"), [(X86, "AMD EPYC", "avx2 sse"), (ARM, "0xd0b", "asimd dotprod fp")]
)
def test_the_first_processor_stands_for_all(tmp_path: Path, text: str, cpu: str, features: str) -> None:
    """Instruction sets in one order, however the kernel lists them."""
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    machine = this_machine(path)
    assert (machine.cpu, machine.features) == (cpu, features)
    assert machine.cores >= 1
    assert machine.key == f"{cpu} | {features} | {machine.cores}"


def test_where_the_kernel_tells_nothing_python_does(tmp_path: Path) -> None:
    """There is always a name."""
    assert this_machine(tmp_path / "none").cpu
