"""The demo's command line: flags, prompts, conversations, files of results; text on stdout, log on stderr."""
