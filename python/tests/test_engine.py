"""The scenes of crates/client/vectors: the engine decides as the Rust one does."""

import json
import unittest
from pathlib import Path

from outgate.catalogue import ROWS
from outgate.classify.scope import scope_of
from outgate.engine import (
    Ask,
    Done,
    Engine,
    Finding,
    GiveUp,
    Go,
    Outcome,
    Pending,
    Proxy,
    Refused,
    Request,
    Retry,
    Rules,
    Wait,
)
from outgate.engine.repeat import safe
from outgate.engine.rules import MILLI, SECOND

VECTORS = Path(__file__).resolve().parents[2] / "crates/client/vectors"


def finding_of(given):
    """A finding as the scenes write it: what is not given is what the catalogue says."""
    if given is None:
        return None
    row = ROWS[given["slug"]]
    provenance = {"transport": "transport", "exit": "exit", "target": "exit", "origin": "origin"}.get(row.layer, "proxy")
    wait = given.get("wait_s")
    return Finding(
        slug=given["slug"],
        retry=given.get("retry", row.retry),
        provenance=given.get("provenance", provenance),
        scope=given.get("scope") or scope_of(given["slug"]),
        wait=None if wait is None else wait * SECOND,
        why=given.get("why", "as it was said"),
    )


def ask_of(given):
    given = given or {}
    return Ask(
        method=given.get("method", "GET"),
        host=given.get("host", "x.example"),
        port=given.get("port", 443),
        deadline=given.get("deadline", 120_000) * MILLI,
        targeting=given.get("targeting", ""),
        session=given.get("session"),
        repeat=given.get("repeat", "by_method"),
        body=given.get("body", "kept"),
    )


def proxy_of(given):
    exits = given.get("exits", "one")
    return Proxy(
        given["name"], exits=exits, account=given.get("account"), tier=given.get("tier", 0), weight=given.get("weight", 1)
    )


class Stage:
    """One scene on its way."""

    def __init__(self, test, scene, seed):
        self.test, self.name = test, f"{scene['name']} (seed {seed})"
        rules = scene.get("rules") or {}
        given = {}
        if "budget" in rules:
            given = {"budget_per_request": 0, "budget_per_second": 0, "budget_most": rules["budget"]}
        proxies = [proxy_of(proxy) for proxy in scene.get("proxies") or [{"name": "a"}]]
        self.engine = Engine(proxies, Rules(**given), seed)
        self.requests, self.tickets, self.taken = {}, {}, {}
        self.fresh = 0

    def play(self, number, step):
        place, at = f"{self.name}, step {number + 1}", step["at"] * MILLI
        if "admit" in step:
            self.admit(place, at, step["admit"], step)
        elif "report" in step:
            self.report(place, at, step["report"], step)
        elif "abandon" in step:
            name = step["abandon"]
            self.engine.abandon(at, self.requests[name], self.tickets.pop(name))
        elif "opened" in step:
            self.engine.opened(at, self.requests[step["opened"]], self.tickets[step["opened"]])
        elif "many" in step:
            for _ in range(step["many"]):
                self.fresh += 1
                self.admit(place, at, f"fresh {self.fresh}", step | {"expect": {"go": {}}})
                self.report(place, at, f"fresh {self.fresh}", step | {"expect": None})
        else:
            self.engine.changed(step["changed"])

    def admit(self, place, at, name, step):
        if name not in self.requests:
            self.requests[name] = Request(ask_of(step.get("ask")))
        admission, expect = self.engine.admit(at, self.requests[name]), step["expect"]
        if isinstance(admission, Go):
            self.test.assertIn("go", expect, f"{place}: went")
            self.went(place, admission.choice, expect["go"])
            self.taken[name] = admission.choice
            self.tickets[name] = admission.choice.ticket
            return
        if isinstance(admission, Wait):
            self.test.assertIn("wait", expect, f"{place}: {admission}")
            self.within(place, admission.until, expect["wait"])
            self.equal(place, admission.whose, expect.get("whose"))
        else:
            self.test.assertIsInstance(admission, Refused)
            self.test.assertEqual(expect.get("refused"), admission.why, f"{place}: {admission}")
            self.within(place, admission.until, expect.get("until"))
            self.equal(place, admission.cause, expect.get("cause"))
        self.equal(place, admission.slug, expect.get("slug"))

    def went(self, place, choice, expect):
        self.equal(place, self.engine.proxies[choice.proxy].name, expect.get("proxy"))
        self.equal(place, choice.session, expect.get("session"))
        self.equal(place, choice.connection, expect.get("connection"))
        self.equal(place, choice.number, expect.get("number"))
        if other := expect.get("other_session_than"):
            self.test.assertNotEqual(choice.session, self.taken[other].session, place)

    def report(self, place, at, name, step):
        finding = finding_of(step.get("finding"))
        outcome = Outcome(finding=finding, sent=step.get("sent") == "something")
        next_ = self.engine.report(at, self.requests[name], self.tickets.pop(name), outcome)
        expect = step.get("expect")
        if expect is None:
            return
        word = {Done: "done", Pending: "pending", Retry: "retry", GiveUp: "give_up"}[type(next_)]
        self.test.assertEqual(expect["next"], word, f"{place}: {next_}")
        if isinstance(next_, Retry):
            self.within(place, next_.at, expect.get("at"))
            self.equal(place, next_.fresh, expect.get("fresh"))
        elif isinstance(next_, GiveUp):
            self.equal(place, next_.why, expect.get("why"))

    def equal(self, place, given, expected):
        if expected is not None:
            self.test.assertEqual(given, expected, place)

    def within(self, place, moment, span):
        if span is not None:
            self.test.assertTrue(span[0] * MILLI <= moment <= span[1] * MILLI, f"{place}: {moment / MILLI} ms, not in {span}")


class Scenes(unittest.TestCase):
    def test_every_scene_goes_as_written(self):
        scenes = json.loads((VECTORS / "engine.json").read_text())
        self.assertGreaterEqual(len(scenes), 30)
        played = 0
        for scene in scenes:
            # Hedging takes two attempts at once, which the sessions of this package never make.
            if any("hedge" in step for step in scene["steps"]):
                continue
            played += 1
            for seed in (1, 7, 1234):
                with self.subTest(scene["name"], seed=seed):
                    stage = Stage(self, scene, seed)
                    for number, step in enumerate(scene["steps"]):
                        stage.play(number, step)
        self.assertGreaterEqual(played, 30)

    def test_what_is_safe_to_repeat(self):
        cases = json.loads((VECTORS / "repeat.json").read_text())
        self.assertGreaterEqual(len(cases), 20)
        for case in cases:
            with self.subTest(case):
                sent = case["sent"] == "something"
                self.assertEqual(case["repeated"], safe(ask_of(case["ask"]), sent, finding_of(case["finding"])))


if __name__ == "__main__":
    unittest.main()
