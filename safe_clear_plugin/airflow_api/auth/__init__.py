"""The sender of a request, and their permissions in the auth manager."""
