"""Prometheus rules, Grafana dashboards (generated as code), and a picture of them drawn without Grafana.

Nothing here is imported by the service: monitoring only reads what the service and the trainer expose.
"""
