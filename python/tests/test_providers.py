"""Other makers' answers, each with what its documentation says that it means; and the providers' data."""

import json
import sys
import unittest
from pathlib import Path

import cases
from outgate.classify import Evidence, Providers, classify
from outgate.classify.rules import BASES

ROOT = Path(__file__).resolve().parents[2]

MINE = {
    "name": "mine",
    "source": "our own wiki",
    "verified_on": "2026-03-01",
    "hosts": ["proxy.corp.example"],
    "own": {"codes": ["X-Corp-Error"], "absent": "origin"},
    "rule": [
        {
            "code": "quota-gone",
            "slug": "bandwidth_exhausted",
            "basis": "documented",
            "means": "the month's volume is used up",
            "wait": "60s",
        }
    ],
}


class Foreign(unittest.TestCase):
    ANSWERS = cases.read("foreign.json")["answers"]

    def test_with_the_provider_known_every_documented_answer_is_named_right(self):
        self.assertGreater(len(self.ANSWERS), 200)
        for answer in self.ANSWERS:
            verdict = classify(cases.evidence_of(answer["evidence"], provider=answer["provider"]))
            with self.subTest(provider=answer["provider"], name=answer["name"], why=verdict.why):
                self.assertIn(verdict.slug, answer["truth"])
                self.assertEqual(verdict.provenance, answer["provenance"])
                self.assertEqual(verdict.retry, answer.get("retry", verdict.retry))

    def views(self, answer):
        """The same answer from a proxy that nobody knows: all of it, with the provider's rules taken away, its status."""
        given = answer["evidence"]
        at_nobodys = cases.evidence_of(given, proxy=cases.NOBODYS)
        yield "shown", classify(at_nobodys)
        yield "generic", classify(at_nobodys, Providers.builtin().without(answer["provider"]))
        status = cases.evidence_of(given, proxy=cases.NOBODYS, reason=None, headers=(), body=None)
        yield "status", classify(status)

    def test_how_often_it_is_named_right_with_less_known(self):
        """What docs/classify.md says in its last row, in percent: the first named, and among what fits."""
        named, among = {}, {}
        for answer in self.ANSWERS:
            for view, verdict in self.views(answer):
                named[view] = named.get(view, 0) + (verdict.slug in answer["truth"])
                among[view] = among.get(view, 0) + any(slug in answer["truth"] for slug in verdict.fits)

        def percent(count):
            return (count * 100 + len(self.ANSWERS) // 2) // len(self.ANSWERS)

        cells = [f"{percent(named[view])} % ({percent(among[view])} %)" for view in ("shown", "generic", "status")]
        row = next(line for line in (ROOT / "docs/classify.md").read_text().splitlines() if line.startswith("| **all** |"))
        self.assertEqual(row, f"| **all** | {len(self.ANSWERS)} | 100 % | {' | '.join(cells)} |")

    def test_doubt_is_told(self):
        """However little is known, nothing wrong is told with sureness."""
        for answer in self.ANSWERS:
            for view, verdict in self.views(answer):
                # That somebody opens TLS in a tunnel can't be seen without his mark.
                if answer["evidence"]["way"] == "tunnelled" and view != "shown":
                    continue
                if verdict.confidence in ("certain", "documented"):
                    with self.subTest(provider=answer["provider"], name=answer["name"], view=view, why=verdict.why):
                        self.assertTrue(set(verdict.fits) & set(answer["truth"]))


class Data(unittest.TestCase):
    def test_every_provider_can_be_read(self):
        self.assertGreater(len(Providers.builtin()), 30)
        for provider in Providers.builtin():
            self.assertTrue(provider.source and provider.verified_on and provider.title)
            for rule in provider.rules:
                self.assertIn(rule.basis, BASES)
        self.assertIsNotNone(Providers.builtin().generic())

    @unittest.skipIf(sys.version_info < (3, 11), "reads TOML, which came with Python 3.11")
    def test_they_are_what_the_crate_has(self):
        sys.path.insert(0, str(ROOT / "python"))
        try:
            import generate
        finally:
            sys.path.pop(0)
        files = list((ROOT / "crates/client/providers").glob("*.toml"))
        written = json.loads((ROOT / "python/src/outgate/providers.json").read_text(encoding="utf-8"))
        self.assertEqual(len(written), len(files))
        self.assertEqual(written, generate.providers(), "python3 python/generate.py writes it anew")

    def test_hosts(self):
        builtin = Providers.builtin()
        self.assertEqual(builtin.at_host("PR.Oxylabs.io.").name, "oxylabs")
        self.assertIsNone(builtin.at_host("notoxylabs.io"))


class Own(unittest.TestCase):
    """Users' own providers."""

    def test_a_good_one(self):
        providers = Providers.builtin().with_provider(MINE)
        evidence = Evidence("connect", "eu.proxy.corp.example:80", status=403, headers={"X-Corp-Error": "Quota-Gone 17"})
        verdict = classify(evidence, providers)
        self.assertEqual((verdict.slug, verdict.provider, verdict.confidence), ("bandwidth_exhausted", "mine", "documented"))
        self.assertEqual((verdict.provider_code, verdict.wait.seconds), ("Quota-Gone 17", 60))
        evidence = Evidence("forwarded", "proxy.corp.example:80", "a.example:80", status=503)
        self.assertEqual(classify(evidence, providers).slug, "target_unavailable")
        # Who promises that the target said what has no mark can't mean a proxy's login.
        evidence = Evidence("forwarded", "proxy.corp.example:80", "a.example:80", status=407)
        self.assertEqual(classify(evidence, providers).slug, "credentials_wrong")

    def test_one_builds_on_another_and_replaces_its_namesake(self):
        more = {
            "name": "more",
            "source": "x",
            "verified_on": "2026-03-01",
            "base": "mine",
            "rule": [
                {"code": "quota_gone", "slug": "no_exit", "basis": "seen", "means": "x"},
                {"status": 429, "slug": "rate_limited", "basis": "seen", "means": "x"},
            ],
        }
        providers = Providers().with_provider(MINE).with_provider(more)
        rules = providers.named("more").rules
        # Its own stands in the place of the base's.
        self.assertEqual([rule.slug for rule in rules], ["no_exit", "rate_limited"])
        self.assertTrue(providers.named("more").promises_marks)
        self.assertEqual([provider.name for provider in providers.with_provider(MINE)], ["mine", "more"])

    def test_every_problem_in_one_run(self):
        good = {"slug": "no_exit", "basis": "documented", "means": "x"}
        bad = {
            "name": "Mine",
            "sorce": "x",
            "verified_on": "yesterday",
            "hosts": ["https://x"],
            "thin": "yes",
            "own": {"abscent": "origin"},
            "rule": [
                {**good, "status": 99, "slug": "bandwith_exhausted"},
                {**good, "basis": "rumour", "retry": "sometimes", "wait": "1 h"},
                {**good, "code": "a"},
                {**good, "code": "A", "slug": "rate_limited", "or": []},
            ],
        }
        with self.assertRaises(ValueError) as raised:
            Providers().with_provider(bad)
        problems = str(raised.exception).splitlines()
        for line in (
            "source: is missing",
            "name: is 1 to 40 lower-case letters, digits, '.', '_' and '-'",
            "sorce: no such key; did you mean source?",
            "verified_on: is a day such as 2026-03-01",
            "hosts: is a host name without scheme, port and wildcard",
            "thin: is true or false",
            "own.abscent: no such key; did you mean absent?",
            "rule 1.status: is a status from 100 to 999",
            "rule 1.slug: 'bandwith_exhausted' is none; did you mean bandwidth_exhausted?",
            "rule 2: looks at nothing: give it a code, a text or a status",
            "rule 2.basis: 'rumour' is none",
            "rule 2.retry: 'sometimes' is none",
            'rule 2.wait: is seconds from "1s" to "86400s"',
            "rule 3.code: [own] names no `codes` and no `proxy_status` to read a code from",
            "rule 4: looks at the same as rule 3 (code a)",
            "rule 4.or: is an empty list",
        ):
            self.assertIn(line, problems)


if __name__ == "__main__":
    unittest.main()
