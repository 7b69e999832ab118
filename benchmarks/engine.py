"""Claim: what serving a model through Mainstay costs against the same library called directly."""

from benchmarks.tables import Claim, Table


def run(*, is_quick: bool) -> tuple[list[Table], list[Claim], list[str]]:
    raise NotImplementedError(is_quick)
