"""The same work in several engines: a process for each, which does tasks, and their folder."""
