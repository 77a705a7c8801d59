"""Reads a provider's table, strictly: an unknown key, a misspelt slug, two rules that can't be told apart are problems, all of
them told in one run."""

import difflib
import re
from datetime import date

from ..catalogue import ROWS
from .evidence import WAYS
from .provider import Own, Provider
from .rules import BASES, Rule, plain_code
from .verdict import PROVENANCES, SCOPES

# The most rules of one provider: a table for people, not a database.
MOST_RULES = 1000

_RETRIES = ("never", "fix", "now", "backoff", "rotate", "abort")
_DIALECTS = tuple(next(iter(ROWS.values())).dialects)


def provider(table, known):
    """The provider in a table. `known` are those that it may have as its `base`. Raises ValueError with every problem."""
    problems = []
    root = _Table(table, "", problems)
    name = root.required("name", _name)
    title = root.text("title", _line)
    source = root.required("source", _line)
    verified_on = root.required("verified_on", _day)
    thin = root.flag("thin")
    hosts = root.list("hosts", _host)
    dialect = root.text("dialect", _one_of(_DIALECTS))
    check_url = root.text("check_url", _line)
    base = root.text("base", _one_of([provider.name for provider in known]))
    base = known.named(base) if base else None
    own = _own(root.table("own"))
    if base and own.is_empty:
        own = base.own
    rules = _rules(root, own)
    root.finish()
    if problems:
        raise ValueError("\n".join(problems))
    if base:
        dialect = dialect or base.dialect
        ours = {rule.looks_at for rule in rules}
        rules += [rule for rule in base.rules if rule.looks_at not in ours]
    return Provider(name, title or name, source, verified_on, thin, hosts, dialect, own, check_url, tuple(rules))


def _own(table):
    if table is None:
        return Own()
    codes, texts = table.list("codes", _field), table.list("texts", _field)
    own = Own(
        headers=(*table.list("headers", _field), *codes, *texts),
        codes=codes,
        texts=texts,
        servers=table.list("servers", lambda text: _line(text).lower()),
        proxy_status=table.list("proxy_status", _line),
        absent=table.text("absent", _one_of(("origin", "unknown"))) or "unknown",
        tunnel=table.text("tunnel", _one_of(("opened", "carried"))) or "carried",
    )
    table.finish()
    return own


def _rules(root, own):
    tables = root.tables("rule")
    if len(tables) > MOST_RULES:
        root.wrong("rule", f"more than {MOST_RULES} rules")
    rules, seen = [], {}
    for number, table in enumerate(tables[:MOST_RULES], 1):
        rule = _rule(table)
        if rule.codes and not (own.codes or own.proxy_status):
            table.wrong("code", "[own] names no `codes` and no `proxy_status` to read a code from")
        if not (rule.codes or rule.texts or rule.statuses):
            table.wrong("", "looks at nothing: give it a code, a text or a status")
        elif rule.looks_at in seen:
            table.wrong("", f"looks at the same as rule {seen[rule.looks_at]} ({rule.sign()})")
        seen.setdefault(rule.looks_at, number)
        rules.append(rule)
    return rules


def _rule(table):
    rule = Rule(
        slug=table.required("slug", _one_of(ROWS)),
        basis=table.required("basis", _one_of(BASES)),
        means=table.required("means", _line),
        codes=table.list("code", lambda text: plain_code(_line(text))),
        texts=table.list("text", lambda text: _line(text).lower()),
        statuses=table.list("status", _status),
        at=table.list("at", _host),
        ways=table.list("way", _one_of(WAYS)),
        others=table.list("or", _one_of(ROWS)),
        retry=table.text("retry", _one_of(_RETRIES)),
        scope=table.text("scope", _one_of(SCOPES)),
        provenance=table.text("said_by", _one_of(PROVENANCES)),
        wait=table.text("wait", _seconds),
        source=table.text("source", _line),
    )
    table.finish()
    return rule


class _Table:
    """A table, taken apart key by key: whatever is wrong is noted, and reading goes on."""

    def __init__(self, table, path, problems):
        self._left, self._path, self._problems, self._known = dict(table), path, problems, []

    def wrong(self, key, what):
        """Notes what is wrong with a key."""
        self._problems.append(f"{f'{self._path}{key}'.rstrip('.')}: {what}")

    def text(self, key, parse):
        """A text, read by `parse`, or None."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, str):
            return self.wrong(key, "is text in quotes")
        return self._parsed(key, parse, value)

    def required(self, key, parse):
        """A text that must be there."""
        if key not in self._left:
            self._known.append(key)
            return self.wrong(key, "is missing")
        return self.text(key, parse)

    def flag(self, key):
        """True or False."""
        value = self._take(key)
        if value not in (None, True, False):
            self.wrong(key, "is true or false")
        return value is True

    def list(self, key, parse):
        """One value or a list of them, each as text."""
        value = self._take(key)
        if value is None:
            return ()
        values = value if isinstance(value, (list, tuple)) else [value]
        if not values:
            self.wrong(key, "is an empty list")
        read = []
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                self.wrong(key, "is text or a number, or a list of those")
            elif (parsed := self._parsed(key, parse, str(value))) is not None:
                read.append(parsed)
        return tuple(read)

    def table(self, key):
        """A table inside, or None."""
        value = self._take(key)
        if value is None or isinstance(value, dict):
            return None if value is None else _Table(value, f"{self._path}{key}.", self._problems)
        return self.wrong(key, f"is a table: [{key}]")

    def tables(self, key):
        """An array of tables, each under its number."""
        value = self._take(key)
        value = [] if value is None else value
        if not isinstance(value, list) or not all(isinstance(inner, dict) for inner in value):
            self.wrong(key, f"is an array of tables: [[{key}]]")
            return []
        return [_Table(inner, f"{key} {number}.", self._problems) for number, inner in enumerate(value, 1)]

    def finish(self):
        """Notes what nobody asked for."""
        for key in self._left:
            self.wrong(key, f"no such key{_nearest(str(key), self._known)}")

    def _parsed(self, key, parse, value):
        try:
            return parse(value)
        except ValueError as what:
            return self.wrong(key, what)

    def _take(self, key):
        self._known.append(key)
        return self._left.pop(key, None)


def _one_of(words):
    """Reads one of a closed set of words."""

    def parse(word):
        if word not in words:
            raise ValueError(f"{word[:40]!r} is none{_nearest(word, words)}")
        return word

    return parse


def _nearest(word, known):
    near = difflib.get_close_matches(word, list(known), 1, 0.75)
    return f"; did you mean {near[0]}?" if near else ""


def _shaped(pattern, what, then=str):
    """Reads text of one form."""
    form = re.compile(pattern, re.ASCII)

    def parse(text):
        if not form.fullmatch(text):
            raise ValueError(what)
        return then(text)

    return parse


_name = _shaped("[a-z0-9._-]{1,40}", "is 1 to 40 lower-case letters, digits, '.', '_' and '-'")
_host = _shaped(r"(?!\.)[A-Za-z0-9._-]{1,253}(?<!\.)", "is a host name without scheme, port and wildcard", str.lower)
_field = _shaped(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "is the name of a header field", str.lower)
_status = _shaped("[1-9][0-9]{2}", "is a status from 100 to 999", int)


def _line(text):
    text = text.strip()
    if not text or len(text.encode()) > 300 or re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        raise ValueError("is one line of 1 to 300 bytes")
    return text


def _seconds(text):
    found = re.fullmatch("([0-9]{1,5})s", text)
    if not found or not 1 <= int(found[1]) <= 86_400:
        raise ValueError('is seconds from "1s" to "86400s"')
    return int(found[1])


def _day(text):
    try:
        return str(date.fromisoformat(text))
    except ValueError:
        raise ValueError("is a day such as 2026-03-01") from None
