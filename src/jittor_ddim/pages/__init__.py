"""What all reports that are pages share: their words, their style, and drawings inside a page."""
