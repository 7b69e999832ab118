"""The command line: `mainstay <command>`."""
