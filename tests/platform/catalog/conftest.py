from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.platform.catalog.fake_index import FakeIndex, running_index

from mainstay.platform.catalog.sources import Origins
from mainstay.platform.catalog.store import Store


@pytest.fixture
def fake() -> Iterator[FakeIndex]:
    with running_index() as index:
        yield index


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def origins(fake: FakeIndex) -> Origins:
    return Origins(index_url=fake.index, hugging_face_url=fake.url)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
