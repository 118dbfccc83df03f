"""The command lines of the tools, one module a command; `commands` has the entry points."""
