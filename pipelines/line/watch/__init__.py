"""Retrain when an alert fires: from Alertmanager's webhook to a run on the Prefect server."""
