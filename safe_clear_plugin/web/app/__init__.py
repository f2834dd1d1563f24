"""The parts that all pages share: routes, request hooks, templates, authorization."""
