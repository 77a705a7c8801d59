"""What the engine keeps in mind of one request between its attempts."""

from collections import Counter


class Request:
    """One request on its way through its attempts."""

    def __init__(self, ask):
        self.ask = ask
        self.domain = ask.domain()
        self.target = ask.target()
        self.attempts = []
        # When it first asked to be admitted for the attempt to come, and when it first asked at all.
        self.asked = None
        self.begun = None
        # Retries made, by class.
        self.retries = Counter()
        # Its places in the queues of limits: one who waits for two does not lose the one while it waits for the other.
        self.places = {}
        self.flying = 0
        # Proxies and made-up sessions that failed it, exits that its target refused.
        self.failed = []
        self.spent = []
        self.banned = []
        # What its last attempt blames the domain for, and whether its end was counted.
        self.blamed = None
        self.counted = False

    def number(self):
        """The number of the next attempt to end or begin."""
        return len(self.attempts) + 1
