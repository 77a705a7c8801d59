"""What an upstream's URL says, and how each provider is asked for a session."""

import base64
import re
import unittest
from pathlib import Path

from outgate import Upstream
from outgate.grammar import KNOWN, Grammar


def asked(grammar, session):
    return grammar.apply("user", "pass", session)


class Grammars(unittest.TestCase):
    def test_each_provider_is_asked_in_its_own_words(self):
        for provider, session, user, password in [
            ("outgate", "ab12", "user-session-ab12", "pass"),
            ("brightdata", "ab12", "user-session-ab12", "pass"),
            ("oxylabs", "ab12", "user-sessid-ab12", "pass"),
            ("iproyal", "k3v9x2ab", "user", "pass_session-k3v9x2ab"),
            ("netnut", "1234567", "user-sid-1234567", "pass"),
            ("webshare", "17", "user-17", "pass"),
            ("apify", "ab12", "user,session-ab12", "pass"),
            ("dataimpulse", "ab12", "user;sessid.ab12", "pass"),
        ]:
            self.assertEqual(asked(Grammar.of(provider), session), (user, password), provider)
        self.assertIsNone(Grammar.of("nobody"))

    def test_what_does_not_fit_becomes_a_word_that_does_and_stays_the_same(self):
        for provider, grammar in KNOWN.items():
            for session in ("k3v9x2ab", "a name with spaces and much too long to be any provider's session id, really", "", "ü"):
                word = grammar.word(session)
                self.assertTrue(grammar.shortest <= len(word) <= grammar.longest, (provider, session, word))
                self.assertRegex(word, r"\A[0-9a-zA-Z]+\Z")
                self.assertEqual(word, grammar.word(session))
            self.assertNotEqual(grammar.word("a b"), grammar.word("a c"))
        self.assertGreaterEqual(int(KNOWN["netnut"].word("k3v9x2ab")), 10_000)
        # A line break at the end fits nowhere.
        self.assertNotIn("\n", KNOWN["outgate"].word("abc\n"))

    def test_the_crate_knows_the_same_providers(self):
        source = Path(__file__).resolve().parents[2].joinpath("crates/client/src/sessions.rs").read_text()
        rows = re.findall(r'\("([a-z.]+)", known\((User|Password), "([^"]+)", (Alphanumeric|Digits), (\d+), (\d+)\)\)', source)
        known = {
            name: Grammar(place.lower(), template, letters == "Digits", int(shortest), int(longest))
            for name, place, template, letters, shortest, longest in rows
        }
        self.assertEqual(known, KNOWN)

    def test_grammars_of_ones_own(self):
        self.assertEqual(asked(Grammar.parse("user-stick-{}-end"), "ab"), ("user-stick-ab-end", "pass"))
        self.assertEqual(asked(Grammar.parse("password;s={}"), "ab"), ("user", "pass;s=ab"))
        for bad in ("-session-{}", "user-session", "user{}{}", "user:{}", "user {}", "user-{}\n"):
            with self.assertRaises(ValueError, msg=bad):
                Grammar.parse(bad)


class Upstreams(unittest.TestCase):
    def test_credentials_are_decoded_and_sent(self):
        login = Upstream("http://key:p%40ss%3A%2F%23@gw.example:8080").login()
        self.assertEqual(base64.b64decode(login.removeprefix("Basic ")), b"key:p@ss:/#")
        self.assertIsNone(Upstream("http://gw.example").login("s"))
        self.assertEqual(Upstream("https://gw.example").authority, "gw.example:443")
        self.assertEqual(Upstream("http://[::1]:3128").url, "http://[::1]:3128")

    def test_an_unencoded_password_is_an_error_that_does_not_repeat_it(self):
        for url in ("http://key:hunter2/x@gw:80", "http://key:hunter2#@gw:80", "hunter2", "socks5://k:hunter2@gw:1", "http://k:h@:80"):
            with self.assertRaises(ValueError) as caught:
                Upstream(url)
            self.assertNotIn("hunter2", str(caught.exception))

    def test_two_logins_are_two_accounts_and_neither_shows(self):
        one, two = Upstream("http://key:hunter2@gw:80"), Upstream("http://key:hunter3@gw:80")
        self.assertNotEqual(one.proxy.drawn_on, two.proxy.drawn_on)
        self.assertEqual(one.proxy.drawn_on, Upstream("http://key:hunter2@gw:80", tier=1).proxy.drawn_on)
        for shown in (repr(one), one.proxy.name, one.proxy.drawn_on, one.url):
            self.assertNotIn("hunter2", shown)
            self.assertNotIn("key", shown)

    def test_exits(self):
        self.assertEqual(Upstream("http://u:p@gw:80").proxy.exits, "one")
        self.assertEqual(Upstream("http://u:p@gw:80", rotating=True).proxy.exits, "rotating")
        self.assertEqual(Upstream("http://u:p@gw:80", provider="soax", sessions=5).proxy.exits, 5)
        # Without a user name there is nothing that a session could be put behind.
        self.assertEqual(Upstream("http://gw:80", provider="soax").proxy.exits, "one")


if __name__ == "__main__":
    unittest.main()
