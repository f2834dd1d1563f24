"""What no page has for itself: routes, request hooks, templates, authorization."""
