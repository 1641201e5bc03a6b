"""One process an engine, which does a task a line, and the folder that it works in."""
