"""Requests and answers: the models, how a request is read, the OpenAPI document."""
