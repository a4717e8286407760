"""featdyn: how a network's features move while it trains, and what that movement is worth."""

__version__ = "0.1.0"
