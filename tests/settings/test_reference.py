"""The reference page of the settings says what the code does."""

import re
from pathlib import Path

from tools.generate_settings_reference import PAGE, render

from mainstay.settings import Settings


def test_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == render(), "run: .venv/bin/python tools/generate_settings_reference.py"


def test_every_key_is_described():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", render(), re.MULTILINE)
    assert len(rows) > 40
    assert all(what and said for _, what, _, _, said in rows), rows


def test_example_of_the_page_loads(tmp_path: Path):
    example = re.search(r"```toml\n(.*?)```", render(), re.DOTALL)
    assert example is not None
    (tmp_path / "mainstay.toml").write_text(example[1])
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "azure-sweden").write_text("key")
    (tmp_path / "keys" / "azure-sweden").chmod(0o600)
    found = Settings.load(tmp_path, {"OPENAI_API_KEY": "key"})
    assert (len(found.providers), len(found.deployments), found.warnings) == (2, 2, ())
