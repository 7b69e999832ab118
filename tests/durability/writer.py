"""A process that acts without end, and says on standard output what it has done: `writer.py URL PREFIX`."""

import asyncio
import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.durability.acts import perform

from mainstay.kit.database import open_database

WRITERS = 4


async def main(url: str, prefix: str) -> None:
    numbers = itertools.count()
    database = open_database(url)

    async def write() -> None:
        while True:
            name = f"{prefix}_{next(numbers)}"
            await perform(database, name)
            sys.stdout.write(name + "\n")
            sys.stdout.flush()

    await asyncio.gather(*(write() for _ in range(WRITERS)))


asyncio.run(main(sys.argv[1], sys.argv[2]))
