"""The server's processes: BentoML's service, start, drain, guard."""
