"""Values that everything else passes around: the catalogue, plans, recipes, checks. No effects."""
