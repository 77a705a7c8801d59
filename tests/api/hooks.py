"""What Schemathesis is told of rules that a schema can't say, so that its requests get beyond them."""

import itertools
import re

import schemathesis
from schemathesis import GenerationMode

VALID_KEY = re.compile(r'("[!#-~]{1,253}"|[!#-~]{1,255})')
number = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    # A key stands for one request: with the same one on all, nearly every body would be refused for that alone.
    if VALID_KEY.fullmatch(str((case.headers or {}).get("Idempotency-Key", ""))):
        case.headers["Idempotency-Key"] = f"request-{next(number)}"
    positive = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    mend = MENDS.get(case.operation.definition.raw["operationId"])
    if positive and mend and isinstance(case.body, dict):
        mend(case.body)


def new_plan(plan):
    """There is one of a name."""
    plan["name"] = f"plan-{next(number)}"


def new_key(key):
    """There is one of an id."""
    if key.get("id") is not None:
        key["id"] = f"key{next(number):05}"


def somewhere(exit):
    """A state is one of its country, a city has a name in Latin letters, and neither is said without a country."""
    said = [field for field in ("state", "city") if exit.get(field) is not None]
    exit.update({field: {"state": "be", "city": "Berlin"}[field] for field in said})
    if said:
        exit["country"] = "de"


MENDS = {"createPlan": new_plan, "createKey": new_key, "enrollExit": somewhere}
