"""Evidence of an attempt in, a verdict out: which fault of the catalogue, who told it, how sure that is."""

from .breakage import Breakage
from .evidence import Evidence, SocksSaid
from .fault import Fault
from .fields import Fields
from .verdict import Verdict, Wait

__all__ = ["Breakage", "Evidence", "Fault", "Fields", "SocksSaid", "Verdict", "Wait"]
