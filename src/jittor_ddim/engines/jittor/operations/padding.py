"""What both forms of the operations agree on."""

NORM_EPSILON = 1e-6

#: Rows and columns of zeros around an image: above, left, below, right.
Padding = tuple[int, int, int, int]
