"""Reports about raw rows and bars: which are missing, and which are probably wrong. Nothing here repairs."""
