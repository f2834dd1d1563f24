"""The views: each of their methods reads a request, calls a service and answers with a page or JSON."""
