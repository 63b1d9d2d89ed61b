"""Domain shift on VCR: files without what lets text alone answer them, and measures of how much it does.

`mitigate_vcr` writes shortcut-mitigated (SM), explicitly (EM) and implicitly (IM) mitigated files; `vcr_bias` is
CLIP-TD's table 9.
"""

from clipdistill.mitigate.mitigating import mitigate_vcr
from clipdistill.mitigate.text_bias import vcr_bias

__all__ = ["mitigate_vcr", "vcr_bias"]
