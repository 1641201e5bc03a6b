"""The S x eta table of all engines: seconds per image and distance from the data, by cell."""
