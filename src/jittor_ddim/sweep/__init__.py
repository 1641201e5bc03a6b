"""The S x eta table of both engines: seconds an image and distance from the data, cell by cell."""
