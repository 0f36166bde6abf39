"""Banzuke: rated tournaments for game-playing agents. This package is the core: no Prefect, no Parquet."""

__version__ = "0.1.0"
