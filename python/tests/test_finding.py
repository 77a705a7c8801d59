"""What a verdict says to the engine."""

import unittest
from datetime import datetime, timezone

from outgate.classify import Evidence, Providers, classify
from outgate.engine import Finding
from outgate.engine.outcome import date_of, may_be_domain
from outgate.engine.rules import SECOND

WALL = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def finding(status, headers=(), provider=None, date=None):
    known = None if provider is None else Providers.builtin().named(provider)
    evidence = Evidence("connect", "gw:8080", "x.example:443", status=status, headers=headers, provider=known)
    return Finding.of(classify(evidence), WALL, date)


class Findings(unittest.TestCase):
    def wait(self, after, date=None):
        return finding(429, [("X-Proxy-Error", "rate_limited"), ("Retry-After", after)], date=date_of(date)).wait

    def test_a_date_is_counted_from_the_clock_that_wrote_it(self):
        self.assertEqual(self.wait("7"), 7 * SECOND)
        self.assertEqual(self.wait("Sun, 01 Mar 2026 12:00:30 GMT"), 30 * SECOND)
        # The other clock is five minutes ahead: thirty seconds are thirty seconds.
        self.assertEqual(self.wait("Sun, 01 Mar 2026 12:05:30 GMT", "Sun, 01 Mar 2026 12:05:00 GMT"), 30 * SECOND)
        self.assertEqual(self.wait("Sunday, 01-Mar-26 12:00:30 GMT"), 30 * SECOND)
        self.assertEqual(self.wait("Sun Mar  1 12:00:30 2026"), 30 * SECOND)
        # One that has passed is no wait; nonsense is none at all.
        self.assertEqual(self.wait("Sun, 01 Mar 2026 11:00:00 GMT"), 0)
        self.assertIsNone(self.wait("in a while"))

    def test_nonsense_is_no_date(self):
        for text in (None, "", "yesterday", "Sun, 99 Mar 2026 12:00:30 GMT", "0", "\xb2"):
            self.assertIsNone(date_of(text), text)
        self.assertEqual(date_of("Sun Mar  1 12:00:00 2026"), WALL)

    def test_a_vague_502_holds_only_its_own_request(self):
        vague = finding(502, provider="atlasvpn")
        self.assertEqual((vague.slug, vague.scope, may_be_domain(vague)), ("no_exit", "request", True))
        ours = finding(502, [("X-Proxy-Error", "no_exit"), ("X-Outgate-Request-Id", "r-1"), ("Retry-After", "5")])
        self.assertEqual((ours.slug, ours.scope, may_be_domain(ours)), ("no_exit", "account", False))

    def test_nothing_wrong_is_no_finding(self):
        self.assertIsNone(finding(200))


if __name__ == "__main__":
    unittest.main()
