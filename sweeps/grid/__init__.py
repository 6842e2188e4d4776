"""What is to be trained: config fields, grids over them, and the cells of a grid with their ids."""
