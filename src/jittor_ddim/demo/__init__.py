"""What ``ddim demo`` shows: a model that ships, then a network that it trains, on one page."""
