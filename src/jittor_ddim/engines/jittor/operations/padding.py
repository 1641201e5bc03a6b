"""How an image is padded."""

#: Rows and columns of zeros around it: above, left, below, right.
Padding = tuple[int, int, int, int]
