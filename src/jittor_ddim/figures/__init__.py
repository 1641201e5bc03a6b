"""How pictures are made: the style of plots, grids, animations, the diagram of a U-Net."""
