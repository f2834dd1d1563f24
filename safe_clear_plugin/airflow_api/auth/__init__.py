"""Who sends a request, and what the auth manager lets them do."""
