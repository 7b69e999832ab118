"""`python -m mainstay.cli` is the program `mainstay`."""

from mainstay.cli.entry import run

run()
