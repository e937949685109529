"""The parts of flows_2d: energies in the plane, and the flows that are fitted there."""
