"""What usually causes a departure: a table of known differences, each tested by numbers."""
