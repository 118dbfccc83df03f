"""The commands omz_downloader, omz_converter, …: arguments in, exit code out; the work is done elsewhere."""
