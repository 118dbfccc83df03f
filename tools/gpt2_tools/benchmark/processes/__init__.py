"""Whole processes, from the command line to exit: demo, converter and downloader, their time and peak memory."""
