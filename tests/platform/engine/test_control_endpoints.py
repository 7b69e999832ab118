"""A worker's view of engines that another process owns."""

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mainstay.kit import control
from mainstay.kit.errors import ConfigurationError, MainstayError, NotFoundError, UnavailableError
from mainstay.platform.engine.control_endpoints import ControlEndpoints, endpoint_from_wire, endpoint_to_wire
from mainstay.platform.engine.endpoint import Endpoint, EngineKind


def endpoint(generation=1):
    return Endpoint(
        socket_path=Path("/run/e.sock"), slots=4, generation=generation, context_tokens=512, kind=EngineKind.LLAMA_CPP
    )


class Supervisor:
    """Answers `ensure` and notes what it is told."""

    def __init__(self):
        self.asked = []
        self.told = asyncio.Queue()
        self.failure = None

    async def ensure(self, connection, params):
        self.asked.append(params["model"])
        if self.failure is not None:
            raise self.failure
        return endpoint_to_wire(endpoint())

    async def note(self, connection, params):
        await self.told.put(dict(params))


@asynccontextmanager
async def endpoints_of(supervisor):
    with tempfile.TemporaryDirectory(prefix="ms-", dir="/tmp") as folder:
        path = Path(folder) / "c.sock"
        handlers = {"ensure": supervisor.ensure, "busy": supervisor.note, "broken": supervisor.note}
        server = await control.listen(path, handlers)
        connection = await control.connect(path, {})
        reading = asyncio.create_task(connection.run())
        yield ControlEndpoints(lambda: connection)
        await connection.aclose()
        await reading
        server.close()


def test_an_endpoint_survives_the_wire():
    assert endpoint_from_wire(endpoint_to_wire(endpoint(7))) == endpoint(7)


async def test_a_known_endpoint_is_not_asked_for_again():
    supervisor = Supervisor()
    async with endpoints_of(supervisor) as endpoints:
        assert await endpoints.ensure("m") == await endpoints.ensure("m") == endpoint()
        assert endpoints.is_ready("m")
    assert supervisor.asked == ["m"]


async def test_a_broken_endpoint_is_forgotten_unless_it_is_its_successor():
    supervisor = Supervisor()
    async with endpoints_of(supervisor) as endpoints:
        endpoints.changed("m", endpoint(2))
        endpoints.report_broken("m", 1)
        assert endpoints.is_ready("m")
        endpoints.report_broken("m", 2)
        assert not endpoints.is_ready("m")
        assert (await supervisor.told.get())["generation"] == 1
        assert (await supervisor.told.get())["generation"] == 2


async def test_only_idle_and_busy_are_told_and_not_every_call():
    supervisor = Supervisor()
    async with endpoints_of(supervisor) as endpoints:
        for delta in (1, 1, -1, 1, -1, -1):
            endpoints.busy("m", delta)
        await endpoints.ensure("m")  # behind the notices
    told = [supervisor.told.get_nowait()["delta"] for _ in range(supervisor.told.qsize())]
    assert told == [1, -1]


async def test_callers_do_not_learn_the_files_of_a_model_that_does_not_load():
    supervisor = Supervisor()
    supervisor.failure = ConfigurationError("/secret/place/model.gguf is truncated", status=503)
    async with endpoints_of(supervisor) as endpoints:
        with pytest.raises(UnavailableError) as raised:
            await endpoints.ensure("m")
    assert "/secret" not in raised.value.message
    assert "log" in raised.value.message


async def test_a_model_that_is_not_installed_says_how_to_install_it():
    supervisor = Supervisor()
    supervisor.failure = NotFoundError("run 'mainstay models pull m'", code="model_not_installed")
    async with endpoints_of(supervisor) as endpoints:
        with pytest.raises(MainstayError, match="models pull m") as raised:
            await endpoints.ensure("m")
    assert raised.value.status == 404


async def test_without_a_supervisor_local_models_cannot_be_reached():
    with pytest.raises(UnavailableError, match="not connected"):
        await ControlEndpoints(lambda: None).ensure("m")


def test_a_broken_engine_is_known_as_broken_until_it_is_back_and_a_stopped_one_never():
    endpoints = ControlEndpoints(lambda: None)
    endpoints.changed("m", None)
    assert not endpoints.is_broken("m")
    endpoints.changed("m", None, is_broken=True)
    endpoints.changed("m", None)  # loading again
    assert endpoints.is_broken("m")
    endpoints.changed("m", endpoint(2))
    assert not endpoints.is_broken("m")
