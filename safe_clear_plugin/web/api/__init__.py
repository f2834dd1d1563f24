"""What requests may say and what is answered: the models, how a request is read, the OpenAPI document."""
