def document(x):
    return {}
