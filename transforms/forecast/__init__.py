"""Next-session return and volatility: targets, baselines, models, intervals, and how each of them scored."""
