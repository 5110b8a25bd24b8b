"""Up to how many workers and trials one server does, from what was measured and, beyond, on paper."""

from __future__ import annotations

import numpy as np
from measure import table
from storage_growth import Grown
from storage_load import Cost

from hpopt_lib.cluster.server_process import MAX_CONNECTIONS
from hpopt_lib.tuning.storage import SERVER_OPTIONS

#: Of a core that serves the database, so that waits stay short.
LOAD = 0.5
#: Kept for the server's owner, dumps and looks at the study.
SPARE = 12
SHARE, LENGTHS_S = 0.03, (5, 60, 1200)


def limits(costs: dict[tuple[str, int], list[Cost]], grown: Grown) -> str:
    """Sizes of studies on the server.

    Parameters
    ----------
    costs : dict
        Of trials that train nothing, by name of the storage and number of workers.
    grown : dict
        Of trials in studies that have many, by name of the storage and number of trials.
    """
    [name] = {name for name in grown if name.startswith("hpopt, M")}
    alone = costs[name, 1]
    server_s = float(np.median([cost.server_s for cost in alone]))
    worker_s = float(np.median([cost.cpu_s for cost in alone]))
    most = max(workers for place, workers in costs if place == name)
    connections = (MAX_CONNECTIONS - SPARE) // int(SERVER_OPTIONS["pool_size"])
    rows = []
    for length in LENGTHS_S:
        served = LOAD * length / server_s
        share = 100 * worker_s / length
        rows.append([f"{length:,} s", f"{served:,.0f}", f"{min(served, connections):,.0f}", f"{share:.2g}"])
    sizes = np.array(sorted(grown[name]))
    later = np.array([np.median(grown[name][size].overhead_s[1:]) for size in sizes])
    first = np.array([grown[name][size].overhead_s[0] for size in sizes])
    slope, start = np.polyfit(sizes, later, 1)
    slope_first, start_first = np.polyfit(sizes, first, 1)
    allowed = SHARE * LENGTHS_S[0]
    text = [
        f"Measured here: {most} workers, studies of {sizes[-1]:,} trials. What limits it is the time of "
        f"processors: a trial takes {1e3 * worker_s:.0f} ms of one in its worker and {1e3 * server_s:.0f} ms "
        "in the server; on this machine both share the same two.",
        f"On paper, with the workers elsewhere and one core for the server, {100 * LOAD:.0f} % of it used; a "
        f"worker holds {SERVER_OPTIONS['pool_size']} of the server's {MAX_CONNECTIONS} connections, so that "
        f"{connections} workers can connect:",
        table(["length of a trial", "workers for the core", "workers", "worker's own share, %"], rows),
    ]
    if slope > 0:
        reached, percent = max(0.0, (allowed - start) / slope), 100 * SHARE
        text.append(
            f"A trial gets {1e6 * slope:.1f} µs longer with each trial that the study has, the first of a "
            f"worker {1e6 * slope_first:.0f} µs. By these straight lines a trial costs "
            f"{1e3 * allowed:.0f} ms, {percent:g} % of five seconds, in a study of {reached:,.0f} trials, "
            f"and a worker of a study of 100,000 waits {start_first + 1e5 * slope_first:.0f} s at first."
        )
    else:
        text.append("A trial did not get longer with the trials that the study has, within the scatter.")
    return "\n\n".join(text)
