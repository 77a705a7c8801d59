"""Evidence of an attempt in, a verdict out: which fault of the catalogue, who told it, how sure that is.

It decides as the Rust crate outgate-client does, module by module, and is held against the same cases
(crates/client/vectors/classify.json and foreign.json). In this order, and the first that knows decides:

1. what broke without an answer (`transport`), and what SOCKS said (`socks`);
2. Outgate's own word: its field, its reason phrase, its sentence (`own`);
3. the rules of the provider, if it is configured, known by its host, or shows itself (`foreign`, over `providers`);
4. `Proxy-Status` of anybody (`proxy_status`);
5. who can have said it on this way and shows signs of it: the target (`origin`, `challenge`) or a proxy (`generic`).

    evidence = Evidence("connect", "proxy.example:8080", "site.example:443", status=502, headers=answer.headers)
    verdict = classify(evidence)
    print(verdict.slug, verdict.confidence, verdict.why)
"""

from .breakage import Breakage
from .deciding import classify
from .evidence import Evidence, SocksSaid
from .fault import Fault
from .fields import Fields
from .provider import Provider
from .providers import Providers
from .verdict import Verdict, Wait

__all__ = [
    "Breakage",
    "Evidence",
    "Fault",
    "Fields",
    "Provider",
    "Providers",
    "SocksSaid",
    "Verdict",
    "Wait",
    "classify",
]
