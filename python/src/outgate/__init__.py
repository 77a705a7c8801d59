"""Requests through proxies that say what went wrong."""
