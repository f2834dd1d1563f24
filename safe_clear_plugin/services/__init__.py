"""Use cases: preview, confirm, clear, undo, each as a short sequence of calls to the layers below."""
