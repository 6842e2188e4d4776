"""Look inside a trained model: what each part adds, what happens without it, and how that came about in training.

Every probe is one registered class in a file of this package, and returns a small table. In Python:

    from tlab import Checkpoint
    from tlab.inside import probe
    probe("lens", Checkpoint.load("runs/mine"), "To be or not")

On the command line: `tlab probe lens runs/mine --text "To be or not"`. Over the snapshots of a run, kept by
`tlab train --snapshots 24`: `tlab.inside.over_time.over_time(...)`, or `tlab probe induction runs/mine --over-time`.
"""

import tlab.inside.bugs
import tlab.inside.interventions
import tlab.inside.probes  # noqa: F401, what they define registers itself
from tlab.inside.probing import PROBES, Probe, ProbeError, Subject, probe

__all__ = ["PROBES", "Probe", "ProbeError", "Subject", "probe"]
