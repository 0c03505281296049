"""Forecasting: the next steps of a series, with quantiles."""
