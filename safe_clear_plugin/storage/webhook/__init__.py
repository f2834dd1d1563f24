"""Webhook messages: the outbox, and their delivery."""
