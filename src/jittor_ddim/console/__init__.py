"""What a person at a terminal sees: log lines, progress, text that any terminal can show."""
