"""The waves of a clear on its pages: form, words and progress."""
