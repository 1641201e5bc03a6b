"""How fast the engines are, beside what people would use instead: ``make bench``.

Every entrant is a process of its own; on a CPU they work in turns, so that what else happens on
the machine hits all alike. Every second is saved (``raw.json``); the table has medians, and ratios
with 95 % bootstrap intervals.
"""
