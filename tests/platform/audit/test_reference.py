"""The program of docs/reference/audit-log.md verifies exports as it says."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.platform.audit.conftest import ORGANISATION, Log

from mainstay.platform.audit.export import Export
from mainstay.platform.audit.signing import write_public_key

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "audit-log.md"


def _run(program: Path, export: Path, key: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", program, export, key]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_program_of_the_reference_page_accepts_an_export_and_no_changed_one(log: Log, tmp_path: Path) -> None:
    program, export = tmp_path / "verify.py", tmp_path / "audit.jsonl"
    program.write_text(PAGE.read_text().split("```python\n")[1].split("```")[0])
    text = b"".join([piece async for piece in Export(log.database, log.clock, log.signer).lines(ORGANISATION)])
    key = write_public_key(log.signer.public_key)
    export.write_bytes(text)
    done = _run(program, export, key)
    assert done.stdout == "60 events are intact\n", done.stderr
    lines = text.splitlines(keepends=True)
    for changed in (text.replace(b"user_2", b"user_1", 1), b"".join(lines[:9] + lines[10:]), b"".join(lines[:-1])):
        export.write_bytes(changed)
        assert _run(program, export, key).returncode == 1
