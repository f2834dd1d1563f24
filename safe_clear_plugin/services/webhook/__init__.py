"""Sends messages about plans to the webhook."""
