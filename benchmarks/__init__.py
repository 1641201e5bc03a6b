"""How fast the engines are, beside what people would use instead: ``make bench``.

Every contender is a process of its own; they work in turns, so that what else happens on the
machine hits all alike. What was measured is saved second by second (``raw.json``); the table has
medians, and ratios with 95 % bootstrap intervals.
"""
