"""What the tools share: the user's problems, progress, versions and settings of a run, processes that answer JSON."""
