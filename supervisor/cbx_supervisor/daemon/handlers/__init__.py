"""The verbs of the HTTP socket, a file per noun."""
