"""What an incremental refresh costs: stores of simulated minutes, changes to them, and scripts that replay a pass."""
