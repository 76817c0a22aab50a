"""Kedro sentences: typed values in, one call into the domain, values out. Nothing heavy is imported here."""
