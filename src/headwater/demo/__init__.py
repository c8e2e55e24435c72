"""A year of flights, and the pipeline that answers questions about it."""
