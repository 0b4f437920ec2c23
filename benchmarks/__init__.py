"""How fast warmbars is, as ratios to what the machine can do in the same minute: `python -m benchmarks pipeline`."""
