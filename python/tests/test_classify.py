"""The classifier against the cases of crates/client/vectors, every dialect of the catalogue, and input meant to harm."""

import random
import unittest
from datetime import datetime, timedelta, timezone

import cases
from outgate.catalogue import ROWS
from outgate.classify import Breakage, Evidence, Fields, Providers, SocksSaid, Wait, classify
from outgate.classify import challenge, error_types, proxy_status, sentence
from outgate.classify.breakage import FOREIGN, MANNERS, PHASES
from outgate.classify.evidence import BODY, WAYS, host_of
from outgate.classify.fault import Fault, render, seconds
from outgate.classify.retry_after import LONGEST, retry_after
from outgate.classify.verdict import CONFIDENCES, PROVENANCES, SCOPES


def seen(verdict):
    """A verdict as the cases write it."""
    wait = verdict.wait
    if wait is not None:
        wait = wait.seconds if wait.until is None else wait.until.strftime("%Y-%m-%dT%H:%M:%SZ")
    same = ("slug", "provenance", "confidence", "scope", "retry", "provider", "provider_code", "said", "exit", "request_id")
    return {
        **{name: getattr(verdict, name) for name in same},
        "fits": list(verdict.fits),
        "fault": verdict.fault and verdict.fault.sentence(),
        "wait": wait,
    }


class Vectors(unittest.TestCase):
    def test_every_case_of_the_file(self):
        listed = cases.read("classify.json")["cases"]
        self.assertGreaterEqual(len(listed), 80)
        for case in listed:
            verdict = classify(cases.evidence_of(case["evidence"]))
            with self.subTest(case["name"], why=verdict.why):
                self.assertEqual({key: seen(verdict)[key] for key in case["verdict"]}, case["verdict"])


class Corners(unittest.TestCase):
    """What the cases of the file leave open."""

    def verdict(self, way, status, *headers, **more):
        return classify(Evidence(way, cases.NOBODYS, "a.example:80", status, headers=headers, **more))

    def test_a_targets_statuses(self):
        for status, slug in (
            (451, "target_forbidden"),
            (420, "target_rate_limited"),
            (430, "target_rate_limited"),
            (407, "target_unauthorized"),
            (504, "target_gateway_error"),
            (530, "target_gateway_error"),
            (599, "target_error"),
            (410, None),
        ):
            self.assertEqual(self.verdict("tunnelled", status).slug, slug)
            self.assertEqual(self.verdict("direct", status).slug, slug)

    def test_our_field_behind_a_via_of_nobody_known_is_less_sure(self):
        ours = ("X-Proxy-Error", "port_denied"), ("X-Outgate-Request-Id", "r-1")
        self.assertEqual(self.verdict("forwarded", 403, *ours).confidence, "certain")
        self.assertEqual(self.verdict("forwarded", 403, *ours, ("Via", "1.1 x")).confidence, "likely")
        self.assertEqual(self.verdict("connect", 403, *ours, ("Via", "1.1 x")).confidence, "certain")

    def test_a_407_without_a_mark_is_the_providers_own(self):
        verdict = self.verdict("forwarded", 407, provider=Providers.builtin().named("outgate"))
        self.assertEqual((verdict.slug, verdict.provider), ("credentials_wrong", "outgate"))

    def test_a_web_server_that_answers_a_forwarded_request_may_be_a_proxy(self):
        served = ("Server", "nginx/1.22.1"), ("Proxy-Agent", "x")
        self.assertEqual(self.verdict("forwarded", 405, *served).provenance, "proxy")
        self.assertEqual(self.verdict("connect", 405, *served).slug, "proxy_not_a_proxy")

    def test_a_member_without_an_error_is_no_mark(self):
        passed_on = ("Proxy-Status", 'brd.superproxy.io; received-status=200; details="client_10000: x"')
        self.assertTrue(self.verdict("forwarded", 200, passed_on).is_fine)
        refused = ("Proxy-Status", 'brd.superproxy.io; error=x; details="client_10100: x"')
        self.assertEqual(self.verdict("forwarded", 200, refused).provider_code, "client_10100")

    def test_a_socks_login_may_be_right_and_its_key_blocked(self):
        verdict = self.verdict("socks", None, socks=SocksSaid("login", 1))
        self.assertEqual(verdict.fits[0], "credentials_wrong")
        self.assertIn("key_blocked", verdict.fits)
        self.assertEqual(self.verdict("socks", None, socks=SocksSaid("too_long")).provenance, "transport")

    def test_nothing_known_is_nothing_wrong(self):
        self.assertTrue(self.verdict("connect", None).is_fine)


class Dialects(unittest.TestCase):
    """Every fault that a gateway tells, in every dialect, as much of it as clients of each kind show."""

    TOLD = [row for row in ROWS.values() if row.seen == "gateway"]

    def sees(self, row, dialect, view):
        """What a client shows of an answer, and what makes it the same as another fault's."""
        said = row.dialects[dialect]
        body = said["body"] or row.sentence
        reason, example = said["reason"], said["body"] or row.example
        return {
            "reason": ({"reason": reason}, reason),
            "body": ({"body": example.encode()}, body),
            "status": ({}, ""),
        }[view]

    def test_what_a_view_does_not_tell_apart_is_among_what_fits(self):
        for dialect in ("outgate", "atlasvpn", "proxies.fo", "rfc"):
            for view in ("reason", "body", "status"):
                classes = {}
                for row in self.TOLD:
                    sign = row.dialects[dialect]["status"], self.sees(row, dialect, view)[1]
                    classes.setdefault(sign, []).append(row)
                for (status, sign), rows in classes.items():
                    for row in rows:
                        shown, _ = self.sees(row, dialect, view)
                        provider = Providers.builtin().named(dialect)
                        evidence = Evidence("connect", cases.NOBODYS, "a.example:443", status, provider=provider, **shown)
                        verdict = classify(evidence)
                        with self.subTest(dialect=dialect, view=view, slug=row.slug, why=verdict.why):
                            slugs = {row.slug for row in rows}
                            self.assertIn(verdict.slug, slugs)
                            self.assertLessEqual(slugs, set(verdict.fits))
                            self.assertEqual(verdict.provenance, "proxy")

    def test_its_fields_tell_everything(self):
        for row in self.TOLD:
            headers = [
                ("X-Proxy-Error", row.slug),
                ("X-Outgate-Request-Id", "r-1"),
                ("Proxy-Status", f'exit-7; error={row.rfc9209}; details="{row.slug}", gw'),
            ]
            for way in ("connect", "forwarded"):
                verdict = classify(Evidence(way, cases.NOBODYS, "a.example:443", row.status, headers=headers))
                told = verdict.slug, verdict.confidence, verdict.fits, verdict.provenance, verdict.exit, verdict.request_id
                self.assertEqual(told, (row.slug, "certain", (row.slug,), "exit", "exit-7", "r-1"))
            verdict = classify(Evidence("tunnelled", cases.NOBODYS, "a.example:443", row.status, headers=headers))
            self.assertEqual(verdict.provenance, "origin", f"a target that forges {row.slug} through a tunnel")

    def test_every_fault_by_its_socks_reply(self):
        for row in self.TOLD:
            evidence = Evidence("socks", cases.NOBODYS, "a.example:443", socks=SocksSaid("reply", row.socks5))
            self.assertIn(row.slug, classify(evidence).fits)


class RetryAfter(unittest.TestCase):
    NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def read(self, *values):
        return retry_after(Fields([("Retry-After", value) for value in values]))

    def test_every_form(self):
        then = Wait(until=datetime(1994, 11, 6, 8, 49, 37, tzinfo=timezone.utc))
        for values, expected in (
            (["120"], Wait(120)),
            ([" 0 "], Wait(0)),
            (["1.2"], Wait(2)),
            (["1.0"], Wait(1)),
            (['"30"'], Wait(30)),
            (["30s"], Wait(30)),
            (["30 seconds"], Wait(30)),
            (["99999999999999999999999"], Wait(LONGEST)),
            (["9" * 10_000], Wait(LONGEST)),
            (["Sun, 06 Nov 1994 08:49:37 GMT"], then),
            (["Sunday, 06-Nov-94 08:49:37 GMT"], then),
            (["Sun Nov  6 08:49:37 1994"], then),
            (["5", "120", "x"], Wait(120)),
            (["5, 120"], Wait(120)),
            (["Sun, 06 Nov 1994 08:49:37 GMT", "7"], Wait(7)),
            (["Sun, 06 Nov 1994 08:49:37 GMT", "Sat, 05 Nov 1994 08:49:37 GMT"], then),
            (["-5"], None),
            (["soon"], None),
            ([""], None),
            (["1e3"], None),
            (["٣"], None),
            ([], None),
            # Of another day of the week, on no day of the month, at no time of the day, before all clocks.
            (["Mon, 06 Nov 1994 08:49:37 GMT"], None),
            (["Wed, 31 Feb 2026 08:49:37 GMT"], None),
            (["Sun, 06 Nov 1994 24:00:00 GMT"], None),
            (["Sun, 06 Nov 1994 08:49:60 GMT"], None),
            (["Monday, 32-Nov-94 08:49:37 GMT"], None),
            (["Mon, 01 Jan 0001 00:00:00 GMT"], None),
        ):
            with self.subTest(values=[value[:40] for value in values]):
                self.assertEqual(self.read(*values), expected)

    def test_every_day_of_a_year_in_every_form(self):
        for day in range(366):
            date = datetime(2028, 1, 1, 12, 30, 1, tzinfo=timezone.utc) + timedelta(days=day)
            short, month, number = date.strftime("%a"), date.strftime("%b"), date.day
            for text in (
                f"{short}, {number:02} {month} 2028 12:30:01 GMT",
                f"{date.strftime('%A')}, {number:02}-{month}-28 12:30:01 GMT",
                f"{short} {month} {number:2} 12:30:01 2028",
            ):
                self.assertEqual(self.read(text), Wait(until=date), text)

    def test_a_date_that_has_passed_is_no_wait(self):
        self.assertEqual(self.read("Sun, 06 Nov 1994 08:49:37 GMT").after(self.NOW), 0)
        self.assertEqual(self.read("Thu, 01 Jan 2026 00:01:00 GMT").after(self.NOW), 60)
        self.assertEqual(self.read("7").after(self.NOW), 7)


class Parts(unittest.TestCase):
    def test_hosts_without_their_ports(self):
        for target, host in (("a.example:443", "a.example"), ("[::1]:80", "::1"), ("::1", "::1"), ("a", "a"), ("", "")):
            self.assertEqual(host_of(target), host)

    def test_fields_are_found_in_any_case_and_form(self):
        fields = Fields.of([("Retry-After", " 5"), (b"retry-after", b"7\xff")])
        self.assertEqual(fields.all("RETRY-AFTER"), ["5", "7\ufffd"])
        self.assertEqual(Fields.of({"A": "b"}).first("a"), "b")
        self.assertFalse(Fields.of(None).has("Retry-After"))

    def test_a_wrong_word_is_told_at_once(self):
        for wrong in (
            lambda: Evidence("connected"),
            lambda: SocksSaid("hello"),
            lambda: Breakage("dns", "broken"),
            lambda: Breakage("name", "reset"),
            lambda: Breakage("ask", "foreign", "gopher"),
        ):
            self.assertRaises(ValueError, wrong)

    def test_first_bytes_name_the_protocol(self):
        for first, protocol in (
            (b"\x15\x03\x01\x00\x02\x02\x46", "tls"),
            (b"\x05\xff", "socks5"),
            (b"\x05", "socks5"),
            (b"\x00\x5b\x00\x00", "socks4"),
            (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "http2"),
            (b"SSH-2.0-OpenSSH_9.2", "ssh"),
            (b"220 mail.example ESMTP", "greeting"),
            (b"HTTP/1.1 400 Bad Request", "http"),
            (b"hello", "unknown"),
        ):
            self.assertEqual(Breakage.foreign("ask", first), Breakage("ask", "foreign", protocol))
        self.assertEqual(Breakage.foreign("ask", b""), Breakage("ask", "closed"))

    def test_something_is_told_of_every_breakage(self):
        for phase in PHASES:
            for manner in MANNERS:
                for way in WAYS:
                    broken = Breakage(phase, manner, "tls" if manner == "foreign" else "why", 1.5)
                    verdict = classify(Evidence(way, cases.NOBODYS, "a.example:443", breakage=broken))
                    self.assertIn(verdict.provenance, ("transport", "origin"))
                    self.assertNotIn("{", verdict.fault.sentence())
                    # Every fact of the sentence is filled.
                    self.assertTrue(all(value for _, value in verdict.fault.facts), verdict.fault)

    def test_hostile_values_become_one_harmless_line(self):
        for given, expected in (
            ("plain text, 80", "plain text, 80"),
            ("a\r\nSet-Cookie: x=1", "a??Set-Cookie: x=1"),
            ('say "hi" \\', "say 'hi' ?"),
            ("café 🦀\0\x7f", "caf? ???"),
            ("x" * 120, "x" * 120),
            ("x" * 121, "x" * 117 + "..."),
        ):
            self.assertEqual(render(given), expected)

    def test_seconds_are_as_short_as_they_can_be(self):
        shown = [(0.3, "0.3"), (0.0, "0"), (10, "10"), (1.04, "1"), (1.25, "1.2"), (12.7, "12")]
        for wait, text in shown:
            self.assertEqual(seconds(wait), text)

    def test_a_fault_says_what_is_known(self):
        self.assertEqual(Fault.raised("no_exit", wanted="de").sentence(), "no exit is connected for de")
        self.assertEqual(Fault.raised("no_exit").sentence(), "no exit is connected")
        # Braces inside a fact mean nothing.
        self.assertEqual(Fault.raised("no_exit", wanted="{a}").sentence(), "no exit is connected for {a}")

    def test_every_sentence_leads_back_to_its_slug(self):
        for row in ROWS.values():
            self.assertEqual(sentence.told_by(row.example), row.slug)
            self.assertEqual(sentence.told_by(f"{row.example} (3 attempts)\n"), row.slug)
        self.assertEqual(sentence.told_by('unknown modifier "contry"'), "modifier_unknown")
        for text in ("", "Bad Gateway", "Access denied", "a.example:80", "not found", "exceeded bandwidth limit"):
            self.assertIsNone(sentence.told_by(text), text)

    def test_makers_of_challenges_are_known_by_their_marks(self):
        for status, field, page, maker in (
            (403, ("CF-Mitigated", "challenge"), "", "Cloudflare"),
            (202, ("x-amzn-waf-action", "challenge"), "", "AWS WAF"),
            (403, None, '<script src="https://ct.CAPTCHA-delivery.com/c.js">', "DataDome"),
            (200, None, "<title>Just a moment...</title><script>window._cf_chl_opt={}", "Cloudflare"),
            (503, None, "<html>Checking your browser before accessing a.example", "a browser check"),
            # What was asked for, and has a CAPTCHA in it.
            (200, None, '<form><div class="g-recaptcha"></div>', None),
            (200, ("x-datadome", "protected"), "<p>content", None),
            (200, None, "An article about /cdn-cgi/challenge-platform/ and verify you are human", None),
            (404, None, '<div class="g-recaptcha">', None),
            (403, None, "<h1>Forbidden</h1>", None),
        ):
            evidence = Evidence("tunnelled", headers=[field] if field else [], body=page.encode())
            sign = challenge.sign(evidence, status)
            self.assertEqual(sign and sign.maker, maker, page)


class ProxyStatus(unittest.TestCase):
    def read(self, value):
        return proxy_status.members(Fields([("Proxy-Status", value)]))

    def test_well_formed_members(self):
        told = r'exit-1; error=dns_error; rcode="NXDOMAIN"; details="no, \"such; a, \" name; really"'
        exit, gw = self.read(f"{told}, gw;received-status=502")
        self.assertEqual((exit.hop, exit.error, exit.parameter("rcode")), ("exit-1", "dns_error", "NXDOMAIN"))
        self.assertEqual(exit.parameter("details"), 'no, "such; a, " name; really')
        self.assertEqual((gw.hop, gw.error, gw.received_status), ("gw", None, 502))

    def test_what_is_really_sent(self):
        told = 'brd.superproxy.io; received-status=407; error="http_request_denied"; details="client_10000: Invalid"'
        (brd,) = self.read(told)
        self.assertEqual((brd.error, brd.received_status), ("http_request_denied", 407))
        self.assertEqual(self.read('gw ; Error = dns_timeout ;details="never closed')[0].error, "dns_timeout")
        self.assertEqual(self.read("gw; error=dns_timeout;; ;x")[0].parameter("x"), "?1")
        self.assertEqual(self.read('"a hop"; error="x\\"y"')[0].error, 'x"y')
        self.assertEqual(self.read("") + self.read(" , ,"), [])

    def test_floods_are_bounded(self):
        self.assertEqual(len(self.read("a," * 10_000)), proxy_status.MOST_MEMBERS)
        self.assertEqual(len(self.read("a" + ";b=1" * 10_000)[0].parameters), proxy_status.MOST_PARAMETERS)

    def test_every_type_of_ours_stands_for_something(self):
        for row in ROWS.values():
            if row.rfc9209 is None:
                continue
            fits = error_types.meant_by(proxy_status.Member("gw", (("error", row.rfc9209),)), row.status)
            self.assertTrue(fits, row.slug)
            self.assertLessEqual(set(fits), set(ROWS))


class Hostile(unittest.TestCase):
    """What a proxy or a target may send to harm who reads it: a verdict comes of everything, soon, bounded and harmless."""

    NAMES = (
        "Proxy-Status X-Proxy-Error Retry-After x-brd-err-code X-Squid-Error X-Error-Description Server Via "
        "X-Crawlera-Error X-Outgate-Request-Id cf-mitigated"
    ).split() + ["Proxy Connection", ""]
    PIECES = (
        ["gw", ";", ",", "=", '"', "\\", " error=", "dns_error", 'details="', "received-status=", "99999999999", "-1", " ("]
        + [")", "port_denied", "{", "}", "<html>", "\r\n", "\0", "é", "🦀", "client_10000:", "Sun, 06 Nov 1994 08:49:37 GMT"]
        + ["1e9", "the exit was lost", " attempts)", "too many connections", "X-Proxy-Error: internal", "HTTP/1.1 ", "200"]
    )

    def test_a_verdict_comes_of_everything(self):
        chance = random.Random(7)

        def text():
            return "".join(chance.choices(self.PIECES, k=chance.randrange(12)))

        for _ in range(3_000):
            headers = [(chance.choice(self.NAMES), text()) for _ in range(chance.randrange(6))]
            status = chance.choice([None, *[chance.randrange(1000) for _ in range(3)]])
            socks = SocksSaid("reply", chance.randrange(256))
            evidence = Evidence(chance.choice(WAYS), text(), text(), status, text(), headers, text().encode(), socks)
            verdict = classify(evidence)
            self.assertEqual(verdict.fits[:1], (verdict.slug,) if verdict.slug else ())
            self.assertIn(verdict.provenance, PROVENANCES)
            self.assertIn(verdict.confidence, CONFIDENCES)
            self.assertIn(verdict.scope, SCOPES)
            shown = (verdict.said, verdict.exit, verdict.request_id, verdict.fault and verdict.fault.sentence())
            for line in filter(None, shown):
                self.assertRegex(line, r"\A[ -~]*\Z")
                self.assertLessEqual(len(line), 300)

    def test_floods_are_bounded(self):
        for flood in ("a, ", "(", '"', "the ", "{", " (1"):
            text = flood * (65_536 // len(flood))
            headers = [(name, text) for name in ("Proxy-Status", "Retry-After", "X-Squid-Error")]
            for way in WAYS:
                evidence = Evidence(way, cases.NOBODYS, "a.example:443", 502, text[:BODY], headers, text.encode() * 16)
                self.assertIsNotNone(classify(evidence).slug)


if __name__ == "__main__":
    unittest.main()
