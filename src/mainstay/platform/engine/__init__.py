"""Models that run on this machine, each in a supervised child process."""
