"""What the makers of other proxies say their answers mean, as data: providers.json, and users' own."""

import json
from functools import cache
from importlib.resources import files

from . import reading

# The name of the rules for a proxy that nobody knows.
GENERIC = "any"


class Providers:
    """All providers that are known, in the order in which they are asked who shows himself in an answer."""

    def __init__(self, listed=()):
        self._list = tuple(listed)

    @staticmethod
    @cache
    def builtin():
        """Those that come along."""
        providers = Providers()
        for table in json.loads(files("outgate").joinpath("providers.json").read_text(encoding="utf-8")):
            providers = Providers((*providers, reading.provider(table, providers)))
        return providers

    def with_provider(self, table):
        """These and a user's own, which comes first; one of the same name is replaced.

        `table` is a dict as docs/classify.md describes the file, or what `tomllib.load` makes of one. Raises ValueError with
        every problem, one line each: `KEY: WHAT`.
        """
        provider = reading.provider(table, self)
        return Providers((provider, *self.without(provider.name)))

    def without(self, name):
        """All but the one with this name."""
        return Providers(provider for provider in self if provider.name != name)

    def named(self, name):
        """The one with this name, or None."""
        return next((provider for provider in self if provider.name == name), None)

    def at_host(self, host):
        """The one whose proxy has this host name, or None."""
        host = host.rstrip(".").lower()
        return next((provider for provider in self if provider.has_host(host)), None)

    def marked_in(self, headers):
        """The one whose own fields the answer has, or None."""
        return next((provider for provider in self if provider.is_marked(headers)), None)

    def generic(self):
        """The rules for a proxy that nobody knows."""
        return self.named(GENERIC)

    def __iter__(self):
        return iter(self._list)

    def __len__(self):
        return len(self._list)
