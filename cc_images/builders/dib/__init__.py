"""diskimage-builder as a builder: elements, recipes, layers, commands."""
