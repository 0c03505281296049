"""Rerankers: how well a document answers a query, judged on both together."""
