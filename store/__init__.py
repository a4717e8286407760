"""The DuckDB store: an index over Parquet parts and checkpoint records. Imports no torch."""
