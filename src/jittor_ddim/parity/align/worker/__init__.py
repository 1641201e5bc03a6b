"""What runs in a side's own process, under any Python: the standard library and NumPy alone."""
