"""The sessions over real sockets: the same cases for requests, httpx and httpx's async client."""

import asyncio
import logging
import pickle
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor

from scripted import CLOSE, GARBAGE, RESET, Certificate, Time, answer, scripted

import outgate
from outgate import Failed, Upstream

try:
    import httpx
    import requests
except ImportError as missing:
    raise unittest.SkipTest(f"{missing.name} is not here") from None

RATE_LIMITED = answer(429, b"slow down", [("X-Proxy-Error", "rate_limited"), ("Retry-After", "7")])
WRONG_LOGIN = answer(407, b"no such key", [("X-Proxy-Error", "credentials_wrong"), ("X-Seen", "yes")])


class Shell:
    """One library, spoken to in one way."""

    def __init__(self, name, proxies, certificate, seed=1, **given):
        self.name = name
        self.loop = asyncio.new_event_loop() if name == "async" else None
        if name == "requests":
            self.client = outgate.Session(proxies, seed=seed, **given)
            self.client.verify, self.client.trust_env = str(certificate.file), False
            self.core = self.client._core
        else:
            kind = outgate.AsyncClient if name == "async" else outgate.Client
            self.client = kind(proxies, seed=seed, verify=certificate.client, **given)
            self.core = self.client._transport._core
        self.error = requests.exceptions.ProxyError if name == "requests" else httpx.ProxyError
        self.time = Time(self.core)

    def request(self, method, url, body=None, session=None, **given):
        follow = "allow_redirects" if self.name == "requests" else "follow_redirects"
        given[follow] = given.pop("follow", False)
        if body is not None:
            given["data" if self.name == "requests" else "content"] = body
        if self.name == "requests":
            client = self.client
            if session is not None:
                client = client.keeping(session)
                client.verify, client.trust_env = self.client.verify, False
            return client.request(method, url, **given)
        if session is not None:
            given["extensions"] = {"outgate": {"session": session}}
        if self.loop is None:
            return self.client.request(method, url, **given)
        return self.loop.run_until_complete(self.client.request(method, url, **given))

    def get(self, url="https://shop.example/", **given):
        return self.request("GET", url, **given)

    def post(self, body=b"order", url="https://shop.example/", **given):
        return self.request("POST", url, body, **given)

    def pieces(self, url="https://shop.example/"):
        """The body as it comes."""
        if self.name == "requests":
            with self.client.get(url, stream=True) as response:
                return response.outgate, list(response.iter_content(1000))
        if self.loop is None:
            with self.client.stream("GET", url) as response:
                return response.outgate, list(response.iter_bytes(1000))

        async def read():
            async with self.client.stream("GET", url) as response:
                return response.outgate, [piece async for piece in response.aiter_bytes(1000)]

        return self.loop.run_until_complete(read())

    def close(self):
        if self.loop is None:
            self.client.close()
        else:
            self.loop.run_until_complete(self.client.aclose())
            self.loop.close()


class Cases:
    """What holds for each of them."""

    shell = ""

    @classmethod
    def setUpClass(cls):
        cls.certificate = Certificate()

    @classmethod
    def tearDownClass(cls):
        cls.certificate.remove()

    def open(self, proxies, **given):
        shell = Shell(self.shell, proxies, self.certificate, **given)
        self.addCleanup(shell.close)
        return shell

    def scripted(self, proxy=(), target=(), scheme="http"):
        context = scripted(self.certificate, proxy, target, scheme)
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def fails(self, shell, call, *args, **given):
        with self.assertRaises(Failed) as caught:
            call(*args, **given)
        self.assertIsInstance(caught.exception, shell.error)
        return caught.exception

    def slugs(self, told):
        return [attempt.slug for attempt in told.attempts]

    def test_an_answer_says_how_it_came(self):
        proxy = self.scripted()
        shell = self.open(proxy.url())
        for url in ("https://shop.example/a", "http://shop.example/b"):
            response = shell.get(url)
            self.assertEqual((response.status_code, response.content), (200, b"hello"))
            self.assertEqual(self.slugs(response.outgate), [None])
            self.assertIsNone(response.outgate.verdict)
            self.assertNotIn("Proxy-Authorization", response.request.headers)
        self.assertEqual(shell.get().outgate.reply.header("x-outgate-exit"), "exit-7")
        self.assertEqual(shell.get().outgate.exit, "exit-7")
        self.assertEqual(proxy.requests[1][1], "http://shop.example/b")
        self.assertEqual(set(proxy.logins), {"user"})

    def test_a_connection_is_used_again(self):
        proxy = self.scripted()
        shell = self.open(proxy.url())
        for _ in range(5):
            self.assertEqual(shell.get().content, b"hello")
        self.assertEqual(proxy.connections, 1)

    def test_a_reset_is_tried_again_on_a_fresh_connection(self):
        for proxy_says, target_says in (([RESET, CLOSE], []), ([], [RESET]), ([], [CLOSE])):
            proxy = self.scripted(proxy_says, target_says)
            shell = self.open(proxy.url())
            response = shell.get()
            failed = max(len(proxy_says), len(target_says))
            self.assertEqual(response.content, b"hello")
            self.assertEqual(len(response.outgate.attempts), failed + 1)
            self.assertEqual(proxy.connections, failed + 1)

    def test_what_is_tried_again_gets_a_fresh_connection(self):
        proxy = self.scripted(target=[answer(429, headers=[("Retry-After", "3")])])
        shell = self.open(proxy.url())
        response = shell.get()
        self.assertEqual(self.slugs(response.outgate), ["target_rate_limited", None])
        self.assertAlmostEqual(sum(shell.time.slept), 3, delta=0.5)
        # The connection that was told so is still open, and would have been the quickest.
        self.assertEqual(proxy.connections, 2)

    def test_a_body_that_breaks_off_is_asked_for_again(self):
        for status in (200, 404):
            proxy = self.scripted(target=[answer(status, b"hal", length=1000)])
            response = self.open(proxy.url()).get()
            self.assertEqual(response.content, b"hello")
            self.assertEqual(len(response.outgate.attempts), 2)

    def test_a_wrong_login_is_asked_once_and_then_answered_here(self):
        proxy = self.scripted([WRONG_LOGIN] * 9)
        shell = self.open(proxy.url())
        error = self.fails(shell, shell.get)
        self.assertEqual((error.slug, error.why), ("credentials_wrong", "class"))
        self.assertEqual(error.verdict.provenance, "proxy")
        for _ in range(5):
            error = self.fails(shell, shell.get, "https://other.example/")
            self.assertEqual((error.slug, error.why, error.attempts), ("credentials_wrong", "remembered", ()))
            self.assertGreater(error.retry_after, 0)
        self.assertEqual(len(proxy.logins), 1)
        self.assertEqual(shell.time.slept, [])

    def test_the_answer_to_connect_is_visible(self):
        proxy = self.scripted([WRONG_LOGIN])
        shell = self.open(proxy.url())
        error = self.fails(shell, shell.get)
        self.assertEqual((error.reply.status, error.reply.body), (407, b"no such key"))
        self.assertEqual(error.reply.reason, "Proxy Authentication Required")
        self.assertEqual(error.reply.header("x-seen"), "yes")
        self.assertEqual(error.attempts[0].status, 407)

    def test_a_forwarded_refusal_is_an_error_too(self):
        proxy = self.scripted([WRONG_LOGIN])
        shell = self.open(proxy.url())
        error = self.fails(shell, shell.get, "http://shop.example/")
        self.assertEqual((error.slug, error.reply.status, error.reply.body), ("credentials_wrong", 407, b"no such key"))

    def test_a_limit_is_waited_for(self):
        proxy = self.scripted([RATE_LIMITED])
        shell = self.open(proxy.url())
        response = shell.get()
        self.assertEqual(self.slugs(response.outgate), ["rate_limited", None])
        self.assertAlmostEqual(sum(shell.time.slept), 7, delta=0.5)

    def test_a_limit_that_ends_too_late_is_an_error_at_once(self):
        proxy = self.scripted([RATE_LIMITED] * 3)
        shell = self.open(proxy.url())
        error = self.fails(shell, shell.get, timeout=3)
        self.assertEqual((error.slug, error.why), ("rate_limited", "too_long"))
        self.assertEqual(error.reply.status, 429)
        self.assertEqual(len(proxy.logins), 1)

    def test_a_post_is_not_repeated_after_it_was_sent(self):
        for end in (RESET, CLOSE, answer(body=b"hal", length=1000)):
            proxy = self.scripted(target=[end])
            shell = self.open(proxy.url())
            error = self.fails(shell, shell.post)
            self.assertEqual(error.why, "not_repeatable")
            self.assertEqual([request[0] for request in proxy.requests], ["POST"])

    def test_a_post_is_repeated_before_it_was_sent(self):
        proxy = self.scripted([RESET])
        self.assertEqual(self.open(proxy.url()).post().content, b"hello")
        self.assertEqual(proxy.requests, [("POST", "/", b"order")])

    def test_a_post_with_an_idempotency_key_is_repeated(self):
        proxy = self.scripted(target=[RESET])
        response = self.open(proxy.url()).post(headers={"Idempotency-Key": '"k1"'})
        self.assertEqual(response.content, b"hello")
        self.assertEqual([request[2] for request in proxy.requests], [b"order", b"order"])

    def test_a_streamed_body_is_sent_once(self):
        proxy = self.scripted(target=[RESET])
        shell = self.open(proxy.url())
        if self.shell == "async":

            async def body():
                yield b"or"
                yield b"der"

        else:

            def body():
                yield b"or"
                yield b"der"

        error = self.fails(shell, shell.request, "PUT", "https://shop.example/", body())
        self.assertEqual(error.why, "not_repeatable")
        self.assertEqual([request[2] for request in proxy.requests], [b"order"])

    def test_a_refusal_of_the_target_takes_another_session(self):
        proxy = self.scripted(target=[answer(403, b"<html>no</html>"), answer(403, b"<html>no</html>")])
        shell = self.open(Upstream(proxy.url(), provider="outgate"))
        response = shell.get()
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.slugs(response.outgate), ["target_forbidden", "target_forbidden", None])
        self.assertEqual(len(set(proxy.logins)), 3)
        self.assertTrue(all(login.startswith("user-session-") for login in proxy.logins))

    def test_a_refusal_that_stands_is_an_answer(self):
        proxy = self.scripted(target=[answer(403, b"<html>no</html>")])
        response = self.open(proxy.url()).get()
        self.assertEqual((response.status_code, response.content), (403, b"<html>no</html>"))
        self.assertEqual(response.outgate.verdict.slug, "target_forbidden")
        self.assertEqual(response.outgate.verdict.provenance, "origin")

    def test_a_kept_session_stays(self):
        proxy = self.scripted(target=[answer(403)])
        shell = self.open(Upstream(proxy.url(), provider="oxylabs"))
        self.assertEqual(shell.get(session="cart17").status_code, 403)
        self.assertEqual(shell.get(session="cart17").status_code, 200)
        self.assertEqual(set(proxy.logins), {"user-sessid-cart17"})

    def test_another_account_takes_over(self):
        first, second = self.scripted([WRONG_LOGIN]), self.scripted()
        shell = self.open([Upstream(first.url()), Upstream(second.url("other"), tier=1)])
        for _ in range(3):
            self.assertEqual(shell.get().content, b"hello")
        self.assertEqual((len(first.logins), second.logins), (1, ["other"]))

    def test_redirects_and_cookies_work(self):
        cookie = ("Set-Cookie", "seen=1; Path=/")
        moved = answer(302, b"", [("Location", "https://other.example/there"), cookie])
        proxy = self.scripted(target=[RESET, moved])
        shell = self.open(proxy.url())
        response = shell.get(follow=True)
        self.assertEqual((str(response.url), response.content), ("https://other.example/there", b"hello"))
        self.assertEqual(len(response.history), 1)
        self.assertEqual(len(response.history[0].outgate.attempts), 2)
        self.assertEqual(shell.client.cookies.get("seen"), "1")

    def test_a_streamed_answer_comes_whole(self):
        body = bytes(range(256)) * 400
        for status in (200, 404):
            proxy = self.scripted(target=[answer(status, body)])
            story, pieces = self.open(proxy.url()).pieces()
            self.assertGreater(len(pieces), 10)
            self.assertEqual(b"".join(pieces), body)
            self.assertEqual(len(story.attempts), 1)

    def test_a_proxy_that_is_not_there(self):
        proxy = self.scripted()
        proxy.close()
        shell = self.open(proxy.url())
        error = self.fails(shell, shell.get)
        self.assertEqual((error.slug, error.verdict.provenance, error.reply), ("proxy_refused", "transport", None))
        self.assertEqual(len(error.attempts), 2)

    def test_a_proxy_that_is_spoken_to_in_tls(self):
        proxy = self.scripted([WRONG_LOGIN], scheme="https")
        shell = self.open(proxy.url())
        error = self.fails(shell, shell.get)
        self.assertEqual((error.slug, error.reply.body), ("credentials_wrong", b"no such key"))
        proxy = self.scripted(scheme="https")
        self.assertEqual(self.open(proxy.url()).get("http://shop.example/").content, b"hello")

    def test_a_proxy_with_a_certificate_that_is_not_trusted(self):
        proxy = self.scripted(scheme="https")
        shell = self.open(proxy.url().replace("127.0.0.1", "localhost"))
        for url in ("https://shop.example/", "http://shop.example/"):
            error = self.fails(shell, shell.get, url)
            self.assertEqual((error.slug, error.verdict.provenance), ("proxy_tls_failed", "transport"))

    def test_a_proxy_that_is_wrongly_spoken_to_in_tls(self):
        proxy = self.scripted()
        shell = self.open(proxy.url().replace("http:", "https:"))
        error = self.fails(shell, shell.get)
        self.assertEqual(error.verdict.provenance, "transport")
        self.assertEqual(error.attempts[0].status, None)

    def test_something_else_than_a_proxy(self):
        proxy = self.scripted([GARBAGE] * 9)
        shell = self.open(proxy.url())
        self.assertEqual(self.fails(shell, shell.get).slug, "proxy_not_a_proxy")

    def test_a_certificate_that_is_not_trusted(self):
        proxy = self.scripted()
        shell = self.open(proxy.url())
        error = self.fails(shell, shell.get, "https://strange.example/")
        self.assertEqual(error.slug, "tls_certificate_invalid")
        self.assertEqual(error.reply.status, 200)
        tls = requests.exceptions.SSLError if self.shell == "requests" else httpx.ConnectError
        self.assertIsInstance(error, tls)
        self.assertEqual(proxy.requests, [])

    def test_nothing_secret_shows(self):
        proxy = self.scripted([WRONG_LOGIN, RESET] * 4)
        with self.assertLogs(level=logging.DEBUG) as logs:
            logging.getLogger().debug("begin")
            upstream = Upstream(proxy.url(password="hunter2"), provider="outgate")
            shell = self.open(upstream)
            error = self.fails(shell, shell.get)
            again = self.fails(shell, shell.get)
        shown = [repr(upstream), repr(shell.client), repr(shell.core.engine.proxies)]
        for one in (error, again):
            shown += [str(one), repr(one), repr(one.failure), repr(one.attempts), repr(vars(one.failure)), repr(one.request.headers)]
        self.assertNotIn("hunter2", "\n".join(shown + logs.output))
        copy = pickle.loads(pickle.dumps(error))
        self.assertEqual((copy.slug, copy.reply), (error.slug, error.reply))


class WithRequests(Cases, unittest.TestCase):
    shell = "requests"

    def test_threads_share_what_was_learned(self):
        proxy = self.scripted([RATE_LIMITED])
        shell = self.open(proxy.url())
        begin = threading.Barrier(8)

        def get(_):
            begin.wait()
            return shell.get().content

        with ThreadPoolExecutor(8) as pool:
            self.assertEqual(list(pool.map(get, range(8))), [b"hello"] * 8)

    def test_hooks_see_the_answer(self):
        seen = []
        proxy = self.scripted(target=[answer(503), answer(503)])
        shell = self.open(proxy.url())
        shell.client.hooks["response"].append(lambda response, **_: seen.append(response.outgate.verdict))
        shell.get()
        self.assertEqual(seen, [None])


class WithHttpx(Cases, unittest.TestCase):
    shell = "httpx"

    def test_what_has_no_place(self):
        with self.assertRaises(TypeError):
            outgate.Client("http://127.0.0.1:1", proxy="http://127.0.0.1:2")


class WithAsyncHttpx(Cases, unittest.TestCase):
    shell = "async"

    def test_a_cancelled_request_gives_its_attempt_up(self):
        proxy = self.scripted()
        shell = self.open(proxy.url())
        asked = asyncio.Event()

        async def slow(choice):
            asked.set()
            await asyncio.Event().wait()

        async def cancelled():
            shell.client._transport._attempt = lambda flight, choice, request: slow(choice)
            task = asyncio.ensure_future(shell.client.get("https://shop.example/"))
            await asked.wait()
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        abandoned = []
        engine = shell.core.engine
        shell.core.engine = type("Seen", (), {"__getattr__": lambda _, name: getattr(engine, name)})()
        shell.core.engine.abandon = lambda *given: abandoned.append(engine.abandon(*given))
        shell.loop.run_until_complete(cancelled())
        self.assertEqual(len(abandoned), 1)


if __name__ == "__main__":
    unittest.main()
