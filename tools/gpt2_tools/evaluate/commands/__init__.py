"""The subcommands of gpt2_evaluate, a module each: options, what they run, what they print."""
