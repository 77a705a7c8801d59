"""Shows the rows of a comparison: as lines, and as docs/retries.md."""


def line(row):
    """One row for a terminal."""
    share = 100 * row["done"] / row["feasible"]
    where = f"{row['mix']}/{row['seed']}" if row["mix"] else "all"
    why = ", ".join(f"{count} {why}" for why, count in sorted(row["why"].items()))
    return (
        f"{where:16} {row['client']:18} {share:6.2f} % of {row['feasible']:6}  attempts {row['attempts']:6}  "
        f"wasted {row['wasted']:6}  duplicates {row['duplicates']:3}  {row['seconds']:6.1f} s  {why}"
    )


def total(client, rows):
    """The sum of a client's rows."""
    mine = [row for row in rows if row["client"] == client]
    names = ("feasible", "done", "attempts", "wasted", "duplicates", "seconds")
    return {"client": client, "mix": "", "why": {}} | {name: sum(row[name] for row in mine) for name in names}


HEAD = """# Retries, compared

Written by `tests/provider/run.py --write-docs`; nothing here is written by hand.

A simulated provider with two accounts, 150 exits and 40 targets fails in the ways that the mixes below describe
(`tests/provider/mixes.py`). Every client sends the same {requests} requests with {workers} workers, 30 % of them https, 10 %
POST. *Feasible* is what some client could have got; a POST without an `Idempotency-Key` whose answer was lost is not counted,
because nobody can know whether it may be repeated. *Wasted* is an attempt that an earlier answer had told to be in vain:
repeating what is deterministic, coming before `Retry-After`, or asking a target that fails more than 30 % of the time
(`tests/provider/world.py`). *Duplicates* are POSTs that a target did twice.

| client | what it is |
|---|---|
{clients}
"""


def document(rows, requests, workers):
    """The page."""
    from clients import CLIENTS

    clients = "\n".join(f"| {client.name} | {client.what} |" for client in CLIENTS)
    parts = [HEAD.format(requests=f"{requests:,}", workers=workers, clients=clients)]
    for tuned, title in ((True, "Mixes that the engine was tuned on"), (False, "Mixes that it was not tuned on")):
        some = [row for row in rows if row["tuned"] is tuned]
        if not some:
            continue
        parts.append(f"## {title}\n\n{head()}\n" + "\n".join(map(cells, some)) + "\n")
    names = list(dict.fromkeys(row["client"] for row in rows))
    parts.append(f"## All runs together\n\n{head()}\n" + "\n".join(cells(total(name, rows)) for name in names) + "\n")
    return "\n".join(parts)


def head():
    """The table's head."""
    return (
        "| mix, seed | client | of the feasible | attempts | wasted | duplicates | seconds |\n|---|---|---|---|---|---|---|"
    )


def cells(row):
    """One row of the table."""
    where = f"{row['mix']}, {row['seed']}" if row["mix"] else "all"
    return (
        f"| {where} | {row['client']} | {100 * row['done'] / row['feasible']:.2f} % | {row['attempts']:,} | {row['wasted']:,} | "
        f"{row['duplicates']} | {row['seconds']:.0f} |"
    )
