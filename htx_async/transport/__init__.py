"""The path of a request, one layer a module; `client.py` puts them in order."""
